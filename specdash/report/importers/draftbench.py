"""draftbench's result files: one row for each target and draft, means only.

{"timestamp", "name", "hardware", "backend", "model_family", "settings": {…}, "results": [{"target", "draft" (null: the
baseline), "mean_tps", "median_tps", "mean_ttft", "mean_total_time", "wall_time" (seconds), "acceptance_rate"}]}; a row
of a server that did not start has "error" instead of figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from specdash.analysis.result import RATE, Result
from specdash.analysis.stats import Speedup, Summary
from specdash.core.numbers import finite
from specdash.core.text import plural
from specdash.errors import SpecdashError
from specdash.report.importers.document import (
    ImportedArm,
    ImportOrigin,
    imported_result,
    moment,
    positive_number,
    scalars,
    short_text,
    value_text,
)

Json = Mapping[str, Any]

TOOL = "draftbench"

_ALWAYS = (
    "mean_tps stands as decode_tok_s: the file does not tell how many answers it is the mean of, so no figure has an"
    " interval, and small differences may be noise",
    "acceptance_rate is that of the last prompt only, as the server's log told it",
    "outputs were not compared, and the K that was drafted is not in the file",
)
_UNDRAFTED = (
    "without an acceptance_rate: the server may have loaded the draft and never used it (newer builds of llama.cpp do"
    " not draft with -md alone)"
)


def is_draftbench(content: object) -> bool:
    """Whether a JSON value looks like draftbench's, by its shape; it may still be broken."""
    return isinstance(content, dict) and "results" in content and "schema" not in content


def from_draftbench(content: Json, file: str) -> Result:
    """The result of a draftbench file; `file` is its name, for messages.

    Rows that are broken are left out and said in `imported.notes`. Raises SpecdashError where nothing is left.
    """
    rows = content["results"]
    if not isinstance(rows, list):
        raise SpecdashError(
            f'{file}: "results" is {value_text(type(rows).__name__)}, not a list',
            "A draftbench file has a list of rows there, with target, draft and mean_tps.",
        )
    read = _Rows([], [], set())
    for index, row in enumerate(rows, start=1):
        read.take(f"results[{index}]", row)
    if not any(found.error is None for found in read.findings):
        todo = "\n  ".join(read.notes[:5]) or "Its list of results is empty: let draftbench finish a sweep first."
        raise SpecdashError(f"{file}: no row of it can be used", todo)
    settings = scalars(content.get("settings"))
    origin = ImportOrigin(
        tool=TOOL,
        file=file,
        name=short_text(content.get("name")) or file,
        hardware=short_text(content.get("hardware")),
        backend=short_text(content.get("backend")),
        program=short_text(settings.get("llama_bin")),
        model_family=short_text(content.get("model_family")),
        moment=moment(content.get("timestamp")),
        settings=settings,
    )
    return imported_result(origin, _with_speedups(read.findings), [*read.notes, *_doubts(read.findings), *_ALWAYS])


@dataclass(frozen=True, slots=True)
class _Rows:
    """What has been read so far."""

    findings: list[ImportedArm]
    notes: list[str]
    seen: set[tuple[str, str | None]]

    def take(self, place: str, row: object) -> None:
        """One more row: a finding, or a note on why there is none."""
        found = _finding(row, self.notes, place)
        if isinstance(found, str):
            self.notes.append(f"{place} is left out: {found}")
        elif (found.target, found.draft) in self.seen:
            self.notes.append(f"{place} is left out: {_named(found)} stands before it already")
        else:
            self.findings.append(found)
            self.seen.add((found.target, found.draft))


def _named(found: ImportedArm) -> str:
    return f"{value_text(found.target)} with {value_text(found.draft) if found.draft is not None else 'no draft'}"


def _finding(row: object, notes: list[str], place: str) -> ImportedArm | str:
    """A row as a finding, or what is wrong with it; figures that are wrong beside a good rate become unknown."""
    if not isinstance(row, dict):
        return "it is no table"
    target, draft = short_text(row.get("target")), short_text(row.get("draft"))
    if target is None:
        return f"target is {value_text(row.get('target'))}"
    if draft is None and row.get("draft") is not None:
        return f"draft is {value_text(row['draft'])}, neither a label nor null"
    if "error" in row:
        return ImportedArm(target, draft, error=short_text(row["error"]) or "it failed")
    mean = positive_number(row.get("mean_tps"))
    if mean is None:
        return f"mean_tps is {value_text(row.get('mean_tps'))}, not a number above 0"
    figures = {
        name: positive_number(row.get(name)) for name in ("median_tps", "mean_ttft", "mean_total_time", "wall_time")
    }
    rate = finite(row.get("acceptance_rate"))
    figures["acceptance_rate"] = rate if rate is not None and 0 <= rate <= 1 else None
    notes += [
        f"{place}: {name} is {value_text(row[name])}, taken as unknown"
        for name, value in figures.items()
        if value is None and row.get(name) is not None
    ]
    times = {"ttft_s": figures["mean_ttft"], "total_time_s": figures["mean_total_time"]}
    summary = {RATE: Summary(mean=mean, median=figures["median_tps"])}
    summary |= {name: Summary(mean=value) for name, value in times.items() if value is not None}
    return ImportedArm(
        target,
        draft,
        summary=summary,
        acceptance_rate=figures["acceptance_rate"],
        wall_time_s=figures["wall_time"],
    )


def _with_speedups(findings: Sequence[ImportedArm]) -> list[ImportedArm]:
    """The findings with their factor over the baseline of the same target: a quotient of means, without an interval."""
    bases = {found.target: found for found in findings if found.draft is None}
    return [_with_speedup(found, bases.get(found.target)) for found in findings]


def _with_speedup(found: ImportedArm, base: ImportedArm | None) -> ImportedArm:
    if found.draft is None or found.error is not None:
        return found
    if base is None or base.error is not None:
        why = "no baseline of this target is in the file" if base is None else "its baseline failed"
        return replace(found, speedup_reason=why)
    return replace(found, speedup=Speedup(found.summary[RATE].mean / base.summary[RATE].mean))


def _doubts(findings: Sequence[ImportedArm]) -> list[str]:
    """What a reader has to know of this file."""
    good = [found for found in findings if found.error is None]
    based = {found.target for found in good if found.draft is None}
    notes = [
        f"{value_text(target)} has no baseline in the file, so nothing is said of its speedup"
        for target in dict.fromkeys(found.target for found in good)
        if target not in based
    ]
    undrafted = sum(found.draft is not None and not found.acceptance_rate for found in good)
    if undrafted:
        notes.append(f"{plural(undrafted, 'pair is', 'pairs are')} {_UNDRAFTED}")
    return notes
