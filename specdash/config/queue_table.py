"""`[[queue]]` of a profile: the steps one by one, in their order, where a matrix cannot say what is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

from specdash.config.fields import ALL_OR_NAMES, TomlTable, as_whole
from specdash.config.problems import guess, toml_text
from specdash.core.axes import AXES, SWEPT, Part, Values
from specdash.core.engine_kinds import Kind
from specdash.core.methods import BASELINE, DRAFT, METHODS, method_named, needs_draft_model
from specdash.core.plan import entry_steps
from specdash.core.profile import Measure, QueueEntry, ServerConfig

MOST_SAMPLES = 10_000  # of one step, as for edits of a running queue
LISTED_ONE = tuple(axis for axis in SWEPT if axis.name != "depth")  # an entry has one value of each
_SHOWN_TWICE = 3  # steps that are listed twice, named one by one


@dataclass(frozen=True, slots=True)
class Known:
    """What entries may name. Models are by the label of their entry; `categories` is () where they are unknown."""

    targets: Mapping[str, Sequence[str]]
    drafts: Mapping[str, Sequence[str]]
    configs: Sequence[ServerConfig]
    categories: Sequence[str]
    measure: Measure
    kind: Kind


def read_queue(tables: Sequence[TomlTable], known: Known) -> tuple[QueueEntry, ...]:
    """`[[queue]]`; the label of a pattern stands for all that it found."""
    entries: list[QueueEntry] = []
    seen: dict[str, str] = {}
    for table in tables:
        found = _read(table, known)
        twice = []
        for entry in found:
            for step in entry_steps(entry, known.measure.workloads, known.categories or ("all",)):
                if step.id in seen:
                    twice.append(f"{toml_text(step.id)} is listed in {seen[step.id]} already")
                seen.setdefault(step.id, f"queue[{table.path[-1]}]" if len(table.path) > 1 else "queue")
        more = f", and {len(twice) - _SHOWN_TWICE} more" if len(twice) > _SHOWN_TWICE else ""
        if twice:
            what = "; ".join(twice[:_SHOWN_TWICE]) + more
            table.findings.problem(table.path, what, "To measure it once more, give this entry copy = 1 (2, 3, …)")
        entries += found
    return tuple(entries)


def _read(table: TomlTable, known: Known) -> list[QueueEntry]:
    """The entries that one table stands for: one for each target and draft that its labels mean."""
    targets = _labels(table, "target", known.targets)
    has_draft = table.raw.get("draft") is not None
    drafts: list[str | None] = list(_labels(table, "draft", known.drafts)) if has_draft else [None]
    if not has_draft:
        table.ask("draft")
    method = _method(table, has_draft=has_draft)
    values: dict[str, Any] = {axis.name: table.axis(axis) for axis in LISTED_ONE}
    entry = QueueEntry(
        target="",
        values=Values({**values, "method": method, "config": _config(table, known.configs)}),
        k=_k(table, needed=method != BASELINE),
        categories=_categories(table, known.categories),
        depth=table.wholes("depth", (0,), 0) or (0,),
        iterations=_optional(table, "iterations", 1, MOST_SAMPLES),
        copy=table.whole("copy", 0, 0),
    )
    for name in entry.values:
        if AXES[name].part is Part.STAGE and not AXES[name].is_of(method):
            what = f"is {AXES[name].what}, and {toml_text(method)} has none"
            table.findings.problem(table.at(name), what, "Leave it out")
        elif (problem := known.kind.problem_with(AXES[name], method)) is not None:
            table.findings.problem(table.at(name), problem, "Leave it out")
    return [
        replace(entry, target=target, values=entry.values.with_values(draft=draft))
        for target, draft in product(targets, drafts)
    ]


def _method(table: TomlTable, *, has_draft: bool) -> str:
    """`method`: with a draft an ordinary one, else a baseline, where the entry does not say."""
    word = table.text("method", DRAFT if has_draft else BASELINE)
    method = BASELINE if word == BASELINE else method_named(word)
    if method is None:
        todo = guess(word, (BASELINE, *METHODS), "The methods are")
        table.findings.problem(table.at("method"), f"unknown: {toml_text(word)}", todo)
        return DRAFT if has_draft else BASELINE
    if has_draft and not needs_draft_model(method):
        table.findings.problem(table.at("method"), f"{toml_text(word)} takes no draft", "Leave draft out, or method")
    if not has_draft and needs_draft_model(method):
        table.findings.problem(table.at("method"), f"{toml_text(word)} needs a draft", 'Add draft = "…"')
    return method


def _labels(table: TomlTable, key: str, known: Mapping[str, Sequence[str]]) -> list[str]:
    """The labels that the label at `key` stands for; a problem is filed for none."""
    label = table.text(key, "")
    if not label:
        if table.raw.get(key, "") == "":
            path = table.at(key) if key in table.raw else table.path
            table.findings.problem(
                path, f"has no {key}", f"The {key}s are: {', '.join(map(toml_text, known)) or 'none'}"
            )
        return []
    if label not in known:
        what = f"no {key} is called {toml_text(label)}"
        table.findings.problem(table.at(key), what, guess(label, list(known), f"The {key}s are"))
        return []
    return list(known[label])


def _config(table: TomlTable, configs: Sequence[ServerConfig]) -> str | None:
    label = table.text("config", "")
    names = [config.label for config in configs]
    if label and label not in names:
        todo = guess(label, names, "The configurations are")
        table.findings.problem(table.at("config"), f"no configuration is called {toml_text(label)}", todo)
    if not label and names:
        path = table.at("config") if "config" in table.raw else table.path
        table.findings.problem(path, "has no config", f"The configurations are: {', '.join(map(toml_text, names))}")
    return label or None


def _optional(table: TomlTable, key: str, least: int, most: int | None = None) -> int | None:
    """A whole number that may be left out."""
    table.ask(key, schema={"type": "integer", "minimum": least} | ({} if most is None else {"maximum": most}))
    if key not in table.raw:
        return None
    value = as_whole(table.raw[key], least, most)
    if value is None:
        table.wrong(key, f"a whole number, {least} or more" if most is None else f"a whole number, {least} to {most}")
    return value


def _k(table: TomlTable, *, needed: bool) -> tuple[int, ...]:
    """`k`: at least one where something drafts, none for a baseline."""
    ks = table.wholes("k", (), 1, todo="For example k = [4, 8, 16]")
    if needed and not ks and table.raw.get("k", []) == []:
        path = table.at("k") if "k" in table.raw else table.path
        table.findings.problem(path, "drafts and has no K", "For example k = [4, 8, 16]")
    if not needed and ks:
        table.findings.problem(table.at("k"), "needs a draft", 'Add draft = "…", or leave k out')
        return ()
    return ks


def _categories(table: TomlTable, known: Sequence[str]) -> tuple[str, ...] | Literal["all"]:
    """`categories`: "all" that `[measure]` has, or some of them; with none known, any."""
    table.ask("categories", schema=ALL_OR_NAMES)
    if table.raw.get("categories", "all") == "all":
        return "all"
    names = table.words("categories", (), known) if known else table.strings("categories")
    if table.raw["categories"] == []:
        table.wrong("categories", '"all" or a list with at least one category', guess("", known) if known else "")
    return names or "all"
