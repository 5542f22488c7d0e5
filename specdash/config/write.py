"""Writes profiles: a commented one to start from, and an explicit one of what was run."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import tomli_w

from specdash.config.discover import model_stem
from specdash.core.axes import SWEPT
from specdash.core.engine_kinds import DEFAULT, Kind
from specdash.core.methods import BASELINE, DRAFT
from specdash.core.profile import (
    EVERY_METHOD,
    KMode,
    Launch,
    ModelRef,
    Profile,
    QueueEntry,
    ServerConfig,
    Urls,
)
from specdash.core.text import slug

_TEMPLATE = """\
# A specdash profile: which models to measure, and how. Look at it with `specdash plan {file}`,
# run it with `specdash --headless {file}`. Everything that is left out has a default.

name = {name}  # names the results folder
hardware = {hardware}  # "auto", or your own label for this machine, such as "rtx4090-24gb"

[engine]
{engine}
wrap = []  # put before the server's own command, such as ["numactl", "--interleave=all"]

[[targets]]  # the model to make faster; repeat the block for more
label = {target_label}  # its name in tables and charts
path = {target_path}  # a file, a pattern such as "~/models/*72B*.gguf", or a folder
class = {model_class}  # dense-small (<32B), dense-mid, dense-large (70B+), moe, or auto: read from the file

{drafts}
[sweep]
methods = {methods}  # what drafts: "draft" is a small model; [] measures the target alone
# K, the tokens drafted in one step: "auto" measures the usual ones ({k_meant});
# "curve" predicts all of them from one load at the largest, and measures the best again; "search" spends
# samples where two Ks cannot be told apart yet; or a list such as [2, 4, 8]
k = {k_value}  # the fewest loads: "curve"
baseline = true  # the target without a draft, which every speedup is told against
pairs = "all"  # every draft on every target, or [["target label", "draft label"], …]

[measure]
prompts = "builtin"  # nine categories of prompts, or the path of your own .jsonl file
categories = {categories}  # "all", or some of them, such as ["coding", "math"]
max_tokens = 256  # the length of each answer
temperature = 0.0  # 0: always the likeliest token, so that answers can be compared
warmup = 1  # requests before the first one that counts
iterations = {iterations}  # how often each step is measured; more makes the intervals narrower

[limits]
# max_time = "8h"  # stops cleanly after so long; `specdash resume` goes on
on_failure = "continue"  # what fails is recorded and the rest still measured; or "stop"

[results]
dir = "results"  # relative to this file
"""

_DRAFT = """\
[[drafts]]  # a small model of the same family, with the same vocabulary
label = {label}  # its name in tables and charts
path = {path}  # a file, a pattern or a folder
"""

_NO_DRAFT = """\
# No draft model yet, so only the target itself is measured. To add one, take away the # in front of
# the lines below, and set methods = ["draft"] further down:
# [[drafts]]
# label = "0.5B Q8_0"
# path = "~/models/a-small-model-of-the-same-family.gguf"
"""


def literal(value: object) -> str:
    """`value` as TOML on one line."""
    if isinstance(value, list):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    return tomli_w.dumps({"v": value}).removeprefix("v = ").strip()


def new_profile(
    target: Path,
    drafts: Sequence[Path],
    *,
    kind: Kind = DEFAULT,
    program: str = DEFAULT.programs[0].name,
    hardware: str = "auto",
    model_class: str = "auto",
    k: Sequence[int] = (),
    file_name: str = "profile.toml",
    sweep_k: Sequence[int] | KMode = "auto",
    categories: Sequence[str] | None = None,
    iterations: int = 5,
) -> str:
    """A commented profile for `target` and `drafts`, ready to run.

    `program` of the engine `kind` is what serves ("llama-server", "embedded", a path); `k` are the values that "auto"
    stands for with this target, for a comment; `file_name` is how the comments call the file. `sweep_k` are the Ks to
    try or how they are found, `categories` the prompts to send (None: all), `iterations` the samples of each step.
    Paths are written absolute. Labels are the names of the files; files of one name in different folders get their
    folder's name too.
    """
    paths = [Path(path).expanduser().absolute() for path in dict.fromkeys([target, *drafts])]
    labels = _labels(paths)
    draft_paths = [Path(path).expanduser().absolute() for path in dict.fromkeys(drafts)]
    blocks = [_DRAFT.format(label=literal(labels[path]), path=literal(str(path))) for path in draft_paths]
    meant = f"here {literal(list(k))}" if k else "by the class of the target"
    return _TEMPLATE.format(
        file=slug(file_name, "profile.toml"),
        name=literal(slug(labels[paths[0]], "profile")),
        hardware=literal(hardware),
        engine=kind.new_profile.format(program=literal(program)),
        target_label=literal(labels[paths[0]]),
        target_path=literal(str(paths[0])),
        model_class=literal(model_class),
        drafts="\n".join(blocks) if blocks else _NO_DRAFT,
        methods=literal(["draft"] if blocks else []),
        k_value=literal(sweep_k if isinstance(sweep_k, str) else list(sweep_k)),
        categories=literal("all" if categories is None else list(categories)),
        iterations=iterations,
        k_meant=meant,
    )


def _labels(paths: Sequence[Path]) -> dict[Path, str]:
    """A label for each path, different for different files."""
    labels: dict[Path, str] = {}
    for path in paths:
        stem = model_stem(path)
        candidates = [stem, f"{model_stem(path.parent)} {stem}", *(f"{stem} {number}" for number in range(2, 99))]
        taken = set(labels.values())
        labels[path] = labels.get(path) or next(name for name in candidates if name not in taken)
    return labels


def dump_profile(profile: Profile) -> str:
    """`profile` as TOML, everything explicit and every path absolute; `load_profile` of it gives an equal profile."""
    tables: dict[str, Any] = {
        "name": profile.name,
        "hardware": profile.hardware,
        "model_family": profile.model_family,
        "engine": _engine(profile),
        "targets": [_model(model, target=True) for model in profile.targets],
        "drafts": [_model(model, target=False) for model in profile.drafts],
        "configs": [_config(config) for config in profile.configs if not config.engine],
        **({} if profile.queue else {"sweep": _sweep(profile)}),
        "measure": _measure(profile),
        "limits": _limits(profile),
        "results": {"dir": str(profile.results_dir), **({"shared": True} if profile.results_shared else {})},
        **({"queue": [_entry(entry) for entry in profile.queue]} if profile.queue else {}),
    }
    return tomli_w.dumps(tables)


def _engine(profile: Profile) -> dict[str, Any]:
    engine = profile.engine
    table: dict[str, Any] = {
        "kind": engine.kind,
        "program": engine.program,
        "k_scope": engine.k_scope,
        "grace_s": engine.grace_s,
        "stall_s": engine.stall_s,
        "args": list(engine.args),
        "env": dict(engine.env),
        "wrap": list(engine.wrap),
        "port": engine.port,
        "load_timeout_s": engine.load_timeout_s,
        "launch": _by_method(engine.launch),
        "stop": list(engine.stop),
        "health": engine.health,
        "ready": engine.ready,
        "metrics": engine.metrics,
        "pid_file": str(engine.pid_file or ""),
        "cool_down_s": engine.cool_down_s,
        "url": _by_method(engine.url),
        "api_key_env": engine.api_key_env,
        "body": dict(engine.body),
    }
    always = {"kind", "k_scope", "grace_s", "stall_s", "args", "env", "wrap", "port", "load_timeout_s"}
    return {key: value for key, value in table.items() if key in always or value}


def _config(config: ServerConfig) -> dict[str, Any]:
    table: dict[str, Any] = {"label": config.label, "args": list(config.args)}
    more = {"launch": _by_method(config.launch), "stop": list(config.stop), "url": _by_method(config.url)}
    return table | {key: value for key, value in more.items() if value}


def _by_method(found: Launch | Urls) -> Any:
    """A command or an address as a profile has it: alone where it is for every method, else a table."""
    plain = {name: value if isinstance(value, str) else list(value) for name, value in found.items()}
    return plain.get(EVERY_METHOD, plain) if len(plain) == 1 else plain


def _model(model: ModelRef, *, target: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"label": model.label}
    if model.path is not None:
        entry["path"] = str(model.path)
    if model.model:
        entry["model"] = model.model
    if not target:
        return entry | {"method": model.method}
    return entry | {"mmproj": str(model.mmproj or ""), "class": model.model_class}


def _sweep(profile: Profile) -> dict[str, Any]:
    sweep = profile.sweep
    stages = {method: {name: list(each) for name, each in lists.items()} for method, lists in sweep.stages.items()}
    return {
        "methods": list(sweep.methods),
        "k": sweep.k if isinstance(sweep.k, str) else list(sweep.k),
        **{axis.name: list(each) for axis in SWEPT if (each := sweep.listed(axis.name)) or not axis.is_sparse},
        "depth": list(profile.depths),
        "baseline": sweep.baseline,
        "pairs": sweep.pairs if isinstance(sweep.pairs, str) else [list(pair) for pair in sweep.pairs],
        **({"stages": stages} if stages else {}),
    }


def _entry(entry: QueueEntry) -> dict[str, Any]:
    """One `[[queue]]`; what a key cannot say by a value is left out."""
    table = {
        "target": entry.target,
        **entry.values,
        "method": None if entry.method == (BASELINE if entry.draft is None else DRAFT) else entry.method,
        "k": list(entry.k) or None,
        "categories": entry.categories if isinstance(entry.categories, str) else list(entry.categories),
        "depth": list(entry.depth),
        "iterations": entry.iterations,
        "copy": entry.copy or None,
    }
    return {key: value for key, value in table.items() if value is not None}


def _measure(profile: Profile) -> dict[str, Any]:
    measure = profile.measure
    table = {
        "workloads": list(measure.workloads),
        "prompts": str(measure.prompts),
        "categories": measure.categories if isinstance(measure.categories, str) else list(measure.categories),
        "max_tokens": measure.max_tokens,
        "temperature": measure.temperature,
        "seed": measure.seed,
        "warmup": measure.warmup,
        "iterations": measure.iterations,
        "timeout_s": measure.timeout_s,
        "passes": measure.passes,
    }
    return table if measure.precision is None else {**table, "precision": measure.precision}


def _limits(profile: Profile) -> dict[str, Any]:
    limits = profile.limits
    table = {
        "memory": limits.memory if isinstance(limits.memory, str) else f"{limits.memory}B",
        "on_failure": limits.on_failure,
        "inhibit_sleep": limits.inhibit_sleep,
    }
    # Decimal: never an exponent, which a duration cannot have.
    return table if limits.max_time is None else {**table, "max_time": f"{Decimal(repr(limits.max_time)):f}s"}
