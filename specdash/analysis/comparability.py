"""What makes two results incomparable, and what else is not the same about them, in words. Pure.

`reasons` are those not to compare; a machine or build that differs is no reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from specdash.analysis.result import GpuInfo, Result

_SAMPLING = ("max_tokens", "temperature", "seed")
_EFFORT = ("warmup", "iterations", "passes", "precision")
_HARDWARE = ("label", "cpu", "cores", "ram_bytes", "gpus")
_FILE = ("size_bytes", "quantisation", "architecture")


def reasons(a: Result, b: Result) -> tuple[str, ...]:
    """Why the numbers of two results do not compare."""
    found = []
    ours, theirs = _origin(a), _origin(b)
    if ours != theirs:
        found.append(f"A was {ours}, B was {theirs}")
    if a.settings.prompts_digest != b.settings.prompts_digest:
        found.append("they were asked different prompts")
    found += _told(_both(_SAMPLING, a.settings, b.settings))
    found += _told([("workloads", _workloads(a), _workloads(b))])
    return tuple(found + _other_files(a, b))


def _both(names: Iterable[str], a: object, b: object) -> list[tuple[str, object, object]]:
    """These fields of two tables of one type: name, in A, in B."""
    return [(name, getattr(a, name), getattr(b, name)) for name in names]


def _origin(result: Result) -> str:
    return "measured by specdash" if result.imported is None else f"imported from {result.imported.tool}"


def _workloads(result: Result) -> str:
    """Journals of before there was a choice do not name theirs."""
    named = result.settings.workloads
    return ", ".join(sorted(named)) if named is not None else "content"


def _other_files(a: Result, b: Result) -> list[str]:
    """Models of one label that are not the same file, as far as the headers tell."""
    theirs = {(model.role, model.label): model for model in b.models}
    found = []
    for model in a.models:
        other = theirs.get((model.role, model.label), model)
        if told := _told(_both(_FILE, model, other)):
            found.append(f"the {model.role} {model.label} is another file in B: {'; '.join(told)}")
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
    if isinstance(value, tuple):
        return ", ".join(gpu.name if isinstance(gpu, GpuInfo) else str(gpu) for gpu in value) or "none"
    return f"{value:,} bytes" if name.endswith("_bytes") and isinstance(value, int) else str(value)


def machines(a: Result, b: Result) -> tuple[str, ...]:
    """How the hardware differs."""
    found = _told(_both(_HARDWARE, a.run.hardware, b.run.hardware))
    if not found:
        return ()
    return ("other hardware: tok/s compare the machines, speedups are each over its own baseline", *found)


def builds(a: Result, b: Result) -> tuple[str, ...]:
    """How the programs, hosts and the effort spent differ."""
    told = [
        ("server", a.engine.version, b.engine.version),
        ("program", a.engine.program, b.engine.program),
        ("host", a.run.host, b.run.host),
        ("specdash", a.run.specdash_version, b.run.specdash_version),
        *_both(_EFFORT, a.settings, b.settings),
    ]
    is_same = (a.run.id, a.run.started) == (b.run.id, b.run.started)
    same = ["A and B are the same run"] if is_same else []
    return (*(f"{name}: {_said('', x)} in A, {_said('', y)} in B" for name, x, y in told if x != y), *same)
