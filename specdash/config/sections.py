"""The tables of a profile other than its models, each checked key by key.

The defaults are those of `specdash.core.profile`. What the contract names and this version has not is recognised and
said to be so, rather than called unknown.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from specdash.config.engine_table import (
    read_args,
    read_command,
    read_launch,
    read_url,
    refuse_keys_of_others,
    warn_of_port,
)
from specdash.config.entries import absence, absolute, impossible, read_pairs
from specdash.config.fields import ALL_OR_NAMES, Schema, TomlTable, parse_duration, parse_size
from specdash.config.problems import guess, nearest, toml_text
from specdash.config.prompts import CATEGORIES, load_jsonl
from specdash.core.axes import AXES, PARAMS, SWEPT, Part
from specdash.core.engine_kinds import KINDS, Kind
from specdash.core.methods import METHODS, method_named
from specdash.core.profile import BUILTIN, LOSSLESS, EngineConfig, KMode, Limits, Measure, ModelRef, ServerConfig, Sweep

_LARGEST_SEED = 2**32 - 2  # the largest 32-bit value means "random" to llama.cpp
_FEWEST_TOKENS = 16
_LATER_WORKLOADS = ("single", "batch", "concurrent", "cache", "memory", "api", "leak")


def read_configs(tables: Sequence[TomlTable], engine: EngineConfig, base: Path) -> tuple[ServerConfig, ...]:
    """`[[configs]]`, each with a label of its own; launch commands and addresses only where the engine has them."""
    configs: list[ServerConfig] = []
    kind = KINDS[engine.kind]
    for table in tables:
        label = table.text("label", "")
        if not label and table.raw.get("label", "") == "":
            table.findings.problem(table.path, "has no label", 'Add label = "…"; results are listed by it')
        elif label and label in {config.label for config in configs}:
            what = f"label {toml_text(label)} is that of an earlier configuration"
            table.findings.problem(table.at("label"), what, "Give each its own label")
        refuse_keys_of_others(table, kind)
        config = ServerConfig(
            label,
            read_args(table, kind),
            launch=read_launch(table, base),
            stop=read_command(table, "stop", base),
            url=read_url(table),
        )
        warn_of_port(table, engine, config.launch)
        configs.append(config)
    return tuple(configs)


def read_sweep(
    table: TomlTable, targets: dict[str, list[str]], drafts: dict[str, list[str]], *, kind: Kind, is_listed: bool
) -> Sweep:
    """`[sweep]`; where `[[queue]]` lists the steps (`is_listed`), a key here would mean nothing."""
    if is_listed and table.raw:
        what = "is a matrix of steps, but [[queue]] lists them one by one"
        table.findings.problem(table.path, what, "Leave out [sweep], or the [[queue]] entries")
    methods = _methods(table, kind)
    baseline = table.boolean("baseline", True)
    if not methods and not baseline:
        table.findings.problem(table.at("methods"), "nothing to measure: no method and no baseline")
    found = {axis.name: table.axis_list(axis) for axis in SWEPT}
    lists = {name: listed for name, listed in found.items() if listed and listed != (AXES[name].default,)}
    for name in lists:
        if AXES[name].part is Part.STAGE and not any(AXES[name].is_of(method) for method in methods):
            what = f"is {AXES[name].what}, and no method here has one"
            names = ", ".join(sorted(method for method in METHODS if AXES[name].is_of(method)))
            table.findings.problem(table.at(name), what, f"Methods with one: {names}; or leave {name} out")
        _refuse_by_kind(table, name, kind)
    pairs = read_pairs(table, targets, drafts)
    k = _k(table, needed=bool(methods))
    stages = _stages(table.table("stages"), methods, kind)
    shortened = [name for each in (lists, *stages.values()) for name in each if AXES[name].shortens]
    if k == "curve" and shortened:
        what = f"a curve is told by drafts of exactly K tokens, and {shortened[0]} ends them before"
        table.findings.problem(table.at("k"), what, "List the Ks, such as k = [2, 4, 8]")
    return Sweep(
        methods=methods,
        k=k,
        lists=lists,
        stages=stages,
        baseline=baseline,
        pairs="all" if pairs is None else pairs,
    )


def _refuse_by_kind(table: TomlTable, name: str, kind: Kind) -> None:
    """Files an axis that this kind of engine has no way to set."""
    if not kind.sets(AXES[name]):
        able = ", ".join(sorted(each.name for each in KINDS.values() if each.sets(AXES[name])))
        what = f'kind = "{kind.name}" has no way to set it'
        table.findings.problem(table.at(name), what, f"Kinds that can: {able}; or leave {name} out")


def _stages(table: TomlTable, methods: Sequence[str], kind: Kind) -> dict[str, dict[str, tuple[Any, ...]]]:
    """`[sweep.stages.METHOD]`: lists of parameters for one method alone."""
    found: dict[str, dict[str, tuple[Any, ...]]] = {}
    for word in table.raw:
        own = table.table(word)
        method = kind.method_named(method_named(word) or word)
        if method not in methods:
            table.findings.problem(
                table.at(word), "is no method of this sweep", guess(word, methods, "Its methods are")
            )
        for name in PARAMS if method in methods else ():
            if name in own.raw and not AXES[name].is_of(method):
                having = ", ".join(sorted(each for each in METHODS if AXES[name].is_of(each)))
                own.findings.problem(own.at(name), f"{method} has none", f"Methods with one: {having}; or leave it out")
        listed = {name: own.axis_list(AXES[name]) for name in PARAMS}
        for name in listed:
            if name in own.raw and AXES[name].is_of(method):
                _refuse_by_kind(own, name, kind)
        if given := {name: values for name, values in listed.items() if values}:
            found[method] = given
    return found


def _methods(table: TomlTable, kind: Kind) -> tuple[str, ...]:
    """`sweep.methods`, by the names that results have on this kind of engine."""
    given = table.strings("methods", 'For example methods = ["draft", "ngram-simple"]')
    named: list[str] = []
    for index, word in enumerate(given):
        method = method_named(word)
        if method is None:
            todo = guess(word, METHODS, "The methods are")
            table.findings.problem((*table.at("methods"), index), f"unknown: {toml_text(word)}", todo)
            continue
        method = kind.method_named(method)
        if method in named:
            table.findings.problem(
                table.at("methods"), f"lists {toml_text(word)} more than once", "Leave one of them out"
            )
        elif method not in METHODS:
            what = f"{toml_text(word)} is not known here: it is measured if the program's --help lists it"
            table.findings.warn((*table.at("methods"), index), what)
        named.append(method)
    for one, other in kind.equal:
        if not {one, other} <= set(named):
            continue
        what = f"{toml_text(one)} and {toml_text(other)} are the same there: --spec-type {other}"
        table.findings.problem(table.at("methods"), what, "Leave one of them out")
    return tuple(dict.fromkeys(named)) if "methods" in table.raw else ("draft",)


def _k(table: TomlTable, *, needed: bool) -> tuple[int, ...] | KMode:
    """`sweep.k`."""
    listed: Schema = {"type": "array", "items": {"type": "integer", "minimum": 1}}
    value = table.ask("k", "auto", {"anyOf": [{"enum": ["auto", "curve", "search"]}, listed]})
    if value == "auto" or value == "curve" or value == "search":
        return value
    close = nearest(value, ("auto", "curve", "search")) if isinstance(value, str) else None
    todo = "For example k = [4, 8, 16]" if close is None else f"Did you mean {toml_text(close)}?"
    ks = table.wholes("k", (), 1, 'a list of whole numbers, "auto", "curve" or "search"', todo)
    if value == [] and needed:
        table.wrong("k", "a list with at least one K", 'For example k = [4, 8, 16], or k = "auto"')
    return ks


def read_measure(table: TomlTable, base: Path, targets: Sequence[ModelRef]) -> tuple[Measure, tuple[str, ...]]:
    """`[measure]`, and the categories that it measures; () where they are in a file that is missing here."""
    findings = table.findings
    prompts, known = _prompts(table, base, targets)
    share: Schema = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
    precision = table.get(
        "precision", None, "a share above 0 and below 1", _share, "For example precision = 0.02: ± 2 %", share
    )
    max_tokens = table.whole("max_tokens", 256, _FEWEST_TOKENS, todo="Shorter answers are too short to count")
    iterations = table.whole("iterations", 5, 1)
    if iterations == 1:
        findings.warn(
            table.at("iterations"), "one sample is never a verdict: no interval can be given", "Use 5 or more"
        )
    measure = Measure(
        workloads=table.words("workloads", ("content",), ("content", LOSSLESS), _LATER_WORKLOADS) or ("content",),
        prompts=prompts,
        categories=_categories(table, known),
        max_tokens=max_tokens,
        temperature=table.number("temperature", 0.0, "a number, 0 or more", zero=True),
        seed=table.whole("seed", 1, 0, _LARGEST_SEED),
        warmup=table.whole("warmup", 1, 0),
        iterations=iterations,
        precision=precision,
        timeout_s=table.number("timeout_s", 600.0, "seconds, more than 0"),
        passes=table.whole("passes", 1, 1, 2, "2 runs the loads once more in mirrored order"),
    )
    return measure, known if isinstance(measure.categories, str) else measure.categories


def _share(value: object) -> float | None:
    """A share above 0 and below 1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < 1 else None


def _prompts(
    table: TomlTable, base: Path, targets: Sequence[ModelRef]
) -> tuple[Path | Literal["builtin"], tuple[str, ...]]:
    """`measure.prompts`, "builtin" or a .jsonl file, and the categories that it has; () for a file missing here.

    Files targets that prompts with images cannot be asked of.
    """
    text = table.text("prompts", BUILTIN)
    if text == BUILTIN:
        return BUILTIN, CATEGORIES
    path = absolute(text, base)
    if not text or (path.suffix != ".jsonl" and not os.path.exists(path)):
        table.wrong("prompts", f'"{BUILTIN}" or the path of a .jsonl file')
    elif (reason := absence(path)) is not None:
        table.findings.lacks(table.at("prompts"), *reason)
    else:
        prompts, problems = load_jsonl(path)
        table.findings.problems += problems
        for target in targets if any(prompt.images for prompt in prompts) else ():
            if target.mmproj is None:
                what = f"has prompts with images, and target {target.label!r} takes none"
                table.findings.problem(table.at("prompts"), what, "Give it its mmproj, or take prompts of text")
        return path, tuple(dict.fromkeys(prompt.category for prompt in prompts))
    return path, ()


def _categories(table: TomlTable, known: Sequence[str]) -> tuple[str, ...] | Literal["all"]:
    """`measure.categories`: "all", or some of the known ones; with none known, any."""
    table.ask("categories", schema=ALL_OR_NAMES)
    if table.raw.get("categories", "all") == "all":
        return "all"
    names = table.words("categories", (), known) if known else table.strings("categories")
    if table.raw["categories"] == []:
        table.wrong("categories", '"all" or a list with at least one category', guess("", known) if known else "")
    return names


def read_limits(table: TomlTable) -> Limits:
    """`[limits]`."""

    def duration(value: object) -> float | None:
        return (parse_duration(value) or None) if isinstance(value, str) else None

    def memory(value: object) -> int | Literal["auto", "off"] | None:
        if value == "auto" or value == "off":
            return value
        return (parse_size(value) or None) if isinstance(value, str) else None

    wanted = 'a size, "auto" or "off"'
    return Limits(
        max_time=table.get(
            "max_time", None, "a time with its unit", duration, 'For example "8h", "90m", "1h30m"', {"type": "string"}
        ),
        memory=table.get("memory", "auto", wanted, memory, 'For example "64GB" or "60GiB"', {"type": "string"}),
        on_failure="stop" if table.choice("on_failure", "continue", ("continue", "stop")) == "stop" else "continue",
        inhibit_sleep=table.boolean("inhibit_sleep", True),
    )


def read_results_dir(table: TomlTable, base: Path) -> Path:
    """`results.dir`, absolute."""
    path = absolute(table.text("dir", "results"), base)
    existing = next(folder for folder in (path, *path.parents) if os.path.exists(folder))
    if (reason := impossible(path)) is not None:
        table.findings.problem(table.at("dir"), f"cannot be a folder: {reason}: {toml_text(str(path))}")
    elif not os.path.isdir(existing):
        table.findings.problem(table.at("dir"), f"is in the way: {toml_text(str(existing))} is not a folder")
    elif not os.access(existing, os.W_OK | os.X_OK):
        table.findings.lacks(
            table.at("dir"), f"cannot be written: {toml_text(str(existing))}", "Choose another results.dir"
        )
    return path
