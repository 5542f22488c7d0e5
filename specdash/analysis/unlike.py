"""What makes two results incomparable, and what else is not the same about them, in words. Pure.

Works on result documents. `reasons` are those not to compare; a machine or build that differs is no reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]

_SAMPLING = ("max_tokens", "temperature", "seed")
_EFFORT = ("warmup", "iterations", "passes", "precision")
_HARDWARE = ("label", "cpu", "cores", "ram_bytes", "gpus")
_FILE = ("size_bytes", "quantisation", "architecture")


def reasons(a: Json, b: Json) -> tuple[str, ...]:
    """Why the numbers of two results do not compare."""
    found = []
    ours, theirs = _origin(a), _origin(b)
    if ours != theirs:
        found.append(f"A was {ours}, B was {theirs}")
    if digest(a) != digest(b):
        found.append("they were asked different prompts")
    found += _told([(name, a["settings"].get(name), b["settings"].get(name)) for name in _SAMPLING])
    found += _told([("workloads", _workloads(a), _workloads(b))])
    return tuple(found + _other_files(a, b))


def _origin(result: Json) -> str:
    imported = result.get("imported")
    return "measured by specdash" if imported is None else f"imported from {imported['tool']}"


def digest(result: Json) -> object:
    """What tells the prompts of a result from others; None where nothing does."""
    return result["settings"].get("prompts_digest")


def _workloads(result: Json) -> str:
    """Journals of before there was a choice do not name theirs."""
    named = result["settings"].get("workloads")
    return ", ".join(sorted(map(str, named))) if isinstance(named, list | tuple) else "content"


def _other_files(a: Json, b: Json) -> list[str]:
    """Models of one label that are not the same file, as far as the headers tell."""
    theirs = {(model.get("role"), model.get("label")): model for model in b["models"]}
    found = []
    for model in a["models"]:
        other = theirs.get((model.get("role"), model.get("label")))
        if other is None:
            continue
        unlike = [name for name in _FILE if model.get(name) != other.get(name)]
        if unlike:
            told = "; ".join(_told([(name, model.get(name), other.get(name)) for name in unlike]))
            found.append(f"the {model.get('role')} {model.get('label')} is another file in B: {told}")
    return found


def _told(values: Sequence[tuple[str, object, object]]) -> list[str]:
    """A sentence for each of (name, in A, in B) that differs."""
    return [
        f"{name.removesuffix('_bytes')} is {_said(name, a)} in A and {_said(name, b)} in B"
        for name, a, b in values
        if a != b
    ]


def _said(name: str, value: object) -> str:
    if value is None:
        return "unknown"
    if name == "gpus" and isinstance(value, list):
        return ", ".join(str(gpu.get("name")) if isinstance(gpu, Mapping) else str(gpu) for gpu in value) or "none"
    return f"{value:,} bytes" if name.endswith("_bytes") and isinstance(value, int) else str(value)


def machines(a: Json, b: Json) -> tuple[str, ...]:
    """How the hardware differs."""
    ours, theirs = a["run"]["hardware"], b["run"]["hardware"]
    found = _told([(name, ours.get(name), theirs.get(name)) for name in _HARDWARE])
    if not found:
        return ()
    return ("other hardware: tok/s compare the machines, speedups are each over its own baseline", *found)


def builds(a: Json, b: Json) -> tuple[str, ...]:
    """How the programs, hosts and the effort spent differ."""
    told = [
        ("server", a["engine"].get("version"), b["engine"].get("version")),
        ("program", a["engine"].get("program"), b["engine"].get("program")),
        ("host", a["run"].get("host"), b["run"].get("host")),
        ("specdash", a["run"].get("specdash_version"), b["run"].get("specdash_version")),
        *((name, a["settings"].get(name), b["settings"].get(name)) for name in _EFFORT),
    ]
    is_same = all(a["run"].get(name) == b["run"].get(name) for name in ("id", "started"))
    same = ["A and B are the same run"] if is_same else []
    return (*(f"{name}: {_said('', x)} in A, {_said('', y)} in B" for name, x, y in told if x != y), *same)
