"""Reads a profile from its TOML file and finds everything that is wrong with it at once.

Nothing here runs a program or opens a model. What another machine may have and this one has not (models, programs,
prompt files) is told apart from what is wrong.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from specdash.analysis.k_search import FIRST_ROUND
from specdash.analysis.sequential import least_samples
from specdash.analysis.strategy import CURVE, SEARCH
from specdash.config.engine_table import read_engine, require_server, warn_of_port
from specdash.config.entries import absence, path_key, read_models, same_label_two_files
from specdash.config.fields import TomlTable, unknown_keys
from specdash.config.left_out import warn_of_methods
from specdash.config.lines import KeyPath
from specdash.config.mlx_folder import is_mlx_folder
from specdash.config.problems import Findings, escaped, toml_text
from specdash.config.queue_table import Known, read_queue
from specdash.config.sections import (
    read_configs,
    read_limits,
    read_measure,
    read_results_dir,
    read_sweep,
)
from specdash.config.toml_file import read_toml
from specdash.core.engine_kinds import KINDS, Kind
from specdash.core.measure import expected_k_seen
from specdash.core.methods import is_draftless, needs_draft_model
from specdash.core.model import MLX
from specdash.core.process_spec import mentions, variable
from specdash.core.profile import Launch, ModelRef, Profile, ServerConfig, for_method
from specdash.core.text import SLUG_LIMIT, slug
from specdash.errors import Problem, ProfileError

_CURVE_TOKENS = 96
_SCRIPT_BYTES = 1 << 20
_PROMPTS = 3  # of a category, the fewest that the contract asks for


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What `check` found. `profile` is None when there are problems; `missing` is absent from this machine only.

    `findings` is the same with the lines of the file, for who looks closer.
    """

    profile: Profile | None
    problems: list[Problem]
    warnings: list[Problem]
    missing: list[Problem]
    findings: Findings


def check_profile(path: Path | str) -> CheckResult:
    """Reads the profile at `path`; every problem is in the result, in the order of the file, and none is raised."""
    file = Path(path)
    findings = Findings(escaped(str(path)))
    raw = read_toml(file, findings, "a profile") if _is_there(file, findings) else None
    return sorted_result(
        read_profile(TomlTable(findings, (), raw), file, findings) if raw is not None else None, findings
    )


def sorted_result(profile: Profile | None, findings: Findings) -> CheckResult:
    """What was found of a profile, in the order of its file."""
    for found in (findings.problems, findings.warnings, findings.missing):
        found.sort(key=lambda problem: (problem.where != findings.where, problem.line or 0))
    usable = None if findings.problems else profile
    return CheckResult(usable, findings.problems, findings.warnings, findings.missing, findings)


def load_profile(path: Path | str) -> Profile:
    """The profile at `path`. Raises ProfileError with every problem; what is merely missing here raises nothing."""
    result = check_profile(path)
    if result.profile is None:
        raise ProfileError(result.problems)
    return result.profile


def _is_there(file: Path, findings: Findings) -> bool:
    """Whether there is a file to read, or the reason is filed."""
    try:
        if os.path.isdir(file):
            inside = ", ".join(escaped(found.name) for found in sorted(file.glob("*.toml"))[:5])
            findings.problem((), "is a folder, not a profile", f"Profiles in it: {inside}" if inside else "")
            return False
        if (reason := absence(file.absolute())) is not None:
            findings.problem((), *reason)
            return False
    except (OSError, ValueError):
        return True  # reading it says what is wrong
    return True


def read_profile(top: TomlTable, file: Path, findings: Findings) -> Profile:
    """Reads all tables. What could not be read has its default, and a problem filed."""
    source = Path(os.path.abspath(file))
    base = source.parent
    name = _folder_name(top, "name", slug(source.stem, "profile"))
    hardware = _folder_name(top, "hardware", "auto")
    family = top.text("model_family", "")
    engine_table = top.table("engine")
    engine = read_engine(engine_table, base)
    kind = KINDS[engine.kind]
    warn_of_port(engine_table, engine, engine.launch)
    target_tables, draft_tables, config_tables = top.tables("targets"), top.tables("drafts"), top.tables("configs")
    targets, target_groups = read_models(target_tables, base, are_targets=True, by_name=kind.by_name)
    drafts, draft_groups = read_models(draft_tables, base, are_targets=False, by_name=kind.by_name)
    targets, drafts = (_fitting(findings, models, kind) for models in (targets, drafts))
    same_label_two_files(findings, targets, drafts)
    configs = read_configs(config_tables, engine, base)
    in_every = bool(configs) and all(config.launch or config.url for config in configs)
    require_server(engine_table, engine, in_every_config=in_every)
    sweep_table = top.table("sweep")
    queue_tables = top.tables("queue")
    is_listed = "queue" in top.raw
    sweep = read_sweep(sweep_table, target_groups, draft_groups, kind=kind, is_listed=is_listed)
    measure, categories = read_measure(top.table("measure"), base, targets)
    queue = read_queue(queue_tables, Known(target_groups, draft_groups, configs, categories, measure, kind))
    limits = read_limits(top.table("limits"))
    results_table = top.table("results")
    results_dir, shared = read_results_dir(results_table, base), results_table.boolean("shared", False)
    unknown_keys(top.family)
    if "targets" not in top.raw or top.raw["targets"] == []:
        key = "model" if kind.by_name else "path"
        findings.problem(("targets",), "no target model", f'Add [[targets]] with {key} = "…"')
    if top.raw.get("queue") == []:
        findings.problem(("queue",), "lists no step", "Leave it out, and [sweep] says what is measured")
    wanting = [method for method in sweep.methods if needs_draft_model(method)]
    if not is_listed and wanting and not kind.by_name and not top.raw.get("drafts"):
        what = f'no draft model, though sweep.methods has "{wanting[0]}"'
        todo = 'Add [[drafts]] with path = "…", or set sweep.methods = [] to measure the baseline alone'
        findings.problem(("drafts",) if "drafts" in top.raw else sweep_table.at("methods"), what, todo)
    profile = Profile(
        name=name,
        hardware=hardware,
        model_family=family,
        engine=engine,
        targets=tuple(targets),
        drafts=tuple(drafts),
        configs=configs,
        sweep=sweep,
        measure=measure,
        limits=limits,
        results_dir=results_dir,
        source=source,
        queue=queue,
        results_shared=shared,
    )
    _warn(findings, profile)
    return profile


def _fitting(findings: Findings, models: list[ModelRef], kind: Kind) -> list[ModelRef]:
    """The models of the form that a kind of engine takes: of a pattern those alone, and a problem for any other one."""
    if kind.by_name:
        return models
    fit: list[ModelRef] = []
    for model in models:
        is_folder = model.path is not None and is_mlx_folder(model.path)
        is_file = model.path is not None and os.path.isfile(model.path)
        if not (is_file if kind.model_format == MLX else is_folder):
            fit.append(model)
        elif not model.from_pattern:
            what = "is a folder as MLX loads it" if is_folder else "is a file"
            wanted = "a .gguf file" if is_folder else "the folder of a model, with config.json and safetensors"
            findings.problem(
                path_key(model), f'{what}, and kind = "{kind.name}" takes {wanted}', "Set engine.kind to fit it"
            )
    return fit


def _warn(findings: Findings, profile: Profile) -> None:
    """Files what is allowed and still will not be measured."""
    sweep, measure = profile.sweep, profile.measure
    if profile.engine.is_embedded and profile.asked("moe_experts"):
        what = (
            "the built-in llama.cpp has no way to set expert counts: llama-cli takes these steps, where it is on PATH"
        )
        path: KeyPath = ("queue",) if profile.queue else ("sweep", "moe_experts")
        findings.warn(path, what, "Set engine.program to a llama-server")
    at: dict[int, KeyPath] = {}
    if profile.queue:
        at = {k: ("queue",) for entry in profile.queue for k in entry.k}
    elif isinstance(sweep.k, tuple):
        at = dict.fromkeys(sweep.k, ("sweep", "k"))
    _warn_of_few_samples(findings, profile)
    _warn_of_unused_drafts(findings, profile)
    _warn_of_a_fixed_k(findings, profile)
    warn_of_methods(findings, profile)
    largest = max(at, default=0)
    is_drafted = profile.queue or profile.drafts or any(is_draftless(method) for method in sweep.methods)
    if is_drafted and expected_k_seen(largest, measure.max_tokens) < largest:
        what = f"K = {largest} cannot take effect in answers of {measure.max_tokens} tokens, so nothing can prove it"
        todo = f"Set measure.max_tokens to {largest + 2} or more, and rather to ten times K"
        findings.warn(at[largest], what, todo)


def _warn_of_unused_drafts(findings: Findings, profile: Profile) -> None:
    """Files drafts that no method of the sweep is for, as far as the profile itself tells."""
    if profile.queue:
        return
    for draft in profile.drafts:
        used = any(needs_draft_model(method) for method in profile.sweep.methods)
        if not used or draft.method not in ("auto", *profile.sweep.methods):
            asked = "draft" if draft.method == "auto" else draft.method
            findings.warn(path_key(draft), "is used by no method of the sweep", f'Add "{asked}" to sweep.methods')


def _warn_of_a_fixed_k(findings: Findings, profile: Profile) -> None:
    """Files launch commands of the user's that several draft lengths are asked of, and that are not told which."""
    ks: dict[str, set[int]] = {}
    for entry in profile.queue:
        ks.setdefault(entry.method, set()).update(entry.k)
    if not profile.queue:
        chosen = profile.sweep.k if isinstance(profile.sweep.k, tuple) else (1, 2)  # which ones is found out later
        ks = {method: set(chosen) for method in profile.sweep.methods}
    several = [method for method, of_it in ks.items() if len(of_it) > 1]
    commands: dict[KeyPath, Launch] = {
        ("configs", at, "launch") if each.launch else ("engine", "launch"): each.launch or profile.engine.launch
        for at, each in enumerate(profile.configs or (ServerConfig(""),))
    }
    for path, launches in commands.items():
        told = {method: command for method in several if (command := for_method(launches, method))}
        deaf = next((method for method in told if not _is_told_k(told[method], profile.source.parent)), None)
        if deaf is not None:
            what = f"does not say K for {toml_text(deaf)}: the same server is started for each draft length"
            findings.warn(path, what, f"Write {{k}} in launch, or read ${variable('k')} in the script")


def _is_told_k(command: Sequence[str], base: Path) -> bool:
    """Whether a launch command says K, or has a script in it that reads it from its environment."""
    return mentions(command, "k") or any(_reads_k(base / word) for word in command)


def _reads_k(file: Path) -> bool:
    with suppress(OSError, ValueError):
        if os.path.isfile(file):
            with file.open("rb") as script:
                return variable("k").encode() in script.read(_SCRIPT_BYTES)
    return False


def _warn_of_few_samples(findings: Findings, profile: Profile) -> None:
    """Files where more samples are needed for what is asked to do anything."""
    measure = profile.measure
    needed = least_samples(_PROMPTS)
    if measure.precision is not None and measure.iterations < needed:
        what = f"never stops a step before {needed} samples of {_PROMPTS} prompts; iterations is {measure.iterations}"
        findings.warn(("measure", "precision"), what, f"Set measure.iterations to {needed} or more, such as 30")
    if profile.sweep.k == CURVE and not profile.queue and profile.drafts and measure.max_tokens < _CURVE_TOKENS:
        what = f"answers of {measure.max_tokens} tokens are short for a K curve, whose largest K is 16 to 48"
        findings.warn(("measure", "max_tokens"), what, f"Set measure.max_tokens to {_CURVE_TOKENS} or more")
    if "content" not in measure.workloads and (profile.sweep.k in (CURVE, SEARCH) or measure.passes > 1):
        what = "no speed is measured, so K curves, searches and passes have nothing to go by"
        findings.warn(("measure", "workloads"), what, 'Set measure.workloads to ["content", "lossless"]')
    if profile.sweep.k == SEARCH and not profile.queue and measure.iterations <= FIRST_ROUND:
        what = f"search has nothing to decide on: all of the {measure.iterations} samples are taken in its first round"
        findings.warn(("sweep", "k"), what, "Set measure.iterations to 24 or more; few steps take them all")


def _folder_name(top: TomlTable, key: str, default: str) -> str:
    """A name that becomes part of the run folder's name."""

    def convert(value: object) -> str | None:
        if not isinstance(value, str) or not value.isprintable() or len(value) > SLUG_LIMIT:
            return None
        return value if slug(value, "") and not re.search(r"[/\\]|\.\.", value) else None

    wanted = "a name for folders: letters and digits in it, at most 80 characters, no slash, no '..'"
    return top.get(key, default, wanted, convert, f'For example {key} = "{default}"', {"type": "string"})
