"""The end of a headless run: what to use, what came out as a table and a chart, and what failed and why."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from specdash.analysis.result import build_result
from specdash.core import axes
from specdash.core.measure import DESCRIPTION, Verdict
from specdash.core.text import one_line
from specdash.core.view import View
from specdash.store.arms import REFUTED, content_arms, refuted
from specdash.store.wording import DASH, answer_times, disturbances, is_inferred
from specdash.ui import recommended
from specdash.ui.charts import Point, k_curves, legend
from specdash.ui.narration import percent, rate

CHART_HEIGHT = 16
CHART_MOST_COLUMNS = 100
FAILURES_SHOWN = 20
LEAST_NAME_COLUMNS = 8
CATEGORIES_SHOWN = 6
TO_READ = ("report.md", "report.html")
GAP = 2  # cells that a column takes beside its own: one of padding, one of the box
FASTER = "x baseline (95 %)"

Json = Mapping[str, Any]
REMARKS = frozenset(
    {
        Verdict.NOISY,
        Verdict.OUTPUT_DIFFERS,
        Verdict.IMPOSSIBLE,
        Verdict.OFF_THE_CURVE,
        Verdict.DRIFTED,
        Verdict.K_UNPROVEN,
        Verdict.DRAFTED_NOTHING,
        Verdict.DRAFTED_IN_SOME,
        Verdict.ALL_THOUGHTS,
        Verdict.SAME_DRAFTS,
    }
)
"""What is said of a step that has all its samples."""
_VERDICTS = frozenset(verdict.value for verdict in Verdict)


def print_summary(console: Console, view: View, path: Path, reports: Iterable[Path], *, with_table: bool) -> None:
    """Prints what to use, the arms over all categories, their curve (on a terminal), and what does not count.

    `reports`: the files that there are of the run; those to read are named.
    """
    if view.run is None:
        return
    ascii_only = "utf" not in (console.encoding or "").lower()
    result = build_result(view)
    arms = [arm for arm in content_arms(result) if arm["categories"]]
    _print_recommendations(console, result.get("recommendations") or (), with_table=with_table)
    if with_table and arms:
        for target in dict.fromkeys(arm["target"] for arm in arms):
            mine = [arm for arm in arms if arm["target"] == target]
            console.print()
            console.print(Text(one_line(target), style="bold"), soft_wrap=True)
            console.print(_table(mine, console.width, ascii_only=ascii_only))
            curves = [each for each in result.get("curves") or () if each["target"] == target]
            _print_chart(console, mine, curves, ascii_only=ascii_only)
        if any(arm["missing"] for arm in arms):
            console.print(Text("* lacks categories that others have, so its tok/s is of another mix of prompts"))
    else:
        for arm in arms:
            console.print(Text(_sentence(arm, ascii_only=ascii_only)), soft_wrap=True)
    for line in _failures(result["measurements"]):
        console.print(Text(line, style="yellow"), soft_wrap=not with_table)
    for said in disturbances(result):
        console.print(Text(said), soft_wrap=not with_table)
    if result["unfinished"]:
        count = len(result["unfinished"])
        steps = f"{count} {'step is' if count == 1 else 'steps are'}"
        kept = sum(len(found.good) for found in view.table.opened())
        also = f" ({kept} {'sample' if kept == 1 else 'samples'} kept)" if kept else ""
        console.print(Text(f"{steps} not finished yet{also}: specdash resume {one_line(path.name)}"), soft_wrap=True)
    for report in reports:
        if report.name in TO_READ:
            console.print(Text(f"report: {one_line(near(report), 1000)}"), soft_wrap=True)


def _print_recommendations(console: Console, found: Sequence[Json], *, with_table: bool) -> None:
    """What to use for each target, why, and the command line, which is never broken so that it can be pasted."""
    for each in recommended.for_all(found):
        if with_table:
            console.print()
        style = "bold green" if recommended.is_choice(each) else "bold"
        line = f"{recommended.subject(each)}: {recommended.choice(each)}"
        console.print(Text(line, style=style), soft_wrap=not with_table)
        for said in _reasons(found, each):
            console.print(Text(f"  {said}"), soft_wrap=not with_table)
        if words := recommended.command(each):
            console.print(Text(words), soft_wrap=True)


def _reasons(found: Sequence[Json], each: Json) -> list[str]:
    """What there is to say of a recommendation: its reason, ties, regret, and the categories where another one is."""
    others = [f"{one_line(str(other['category']), 30)}: {recommended.short(other)}"
              for other in recommended.unlike(found, each)]  # fmt: skip
    more = f" and {len(others) - CATEGORIES_SHOWN} more" if len(others) > CATEGORIES_SHOWN else ""
    apart = f"another choice on {', '.join(others[:CATEGORIES_SHOWN])}{more}" if others else ""
    said = (recommended.why(each), recommended.ties(each), recommended.regret(each), apart)
    return [sentence for sentence in said if sentence]


def near(path: Path) -> str:
    """A path as it is typed from here: relative where it lies below the working folder."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _name(arm: Json) -> str:
    """An arm without its target and K, in words."""
    parts = [axes.drafter_label(arm) or "no draft"]
    return one_line(", ".join([*parts, *axes.said(arm)]), 60)


def _interval(arm: Json) -> str:
    """The speedup with its interval; "equal" where the interval holds 1, since that is noise; or why it is void."""
    if refuted(arm):
        return "output differs" if refuted(arm) == REFUTED[Verdict.OUTPUT_DIFFERS] else refuted(arm)
    faster = arm["speedup"]
    if faster is None:
        return "-"
    if faster["ci95"] is None:
        return f"{faster['value']:.2f} (one sample)"
    low, high = faster["ci95"]
    if low is None or high is None:
        return f"{faster['value']:.2f} (too noisy)"
    verdict = " equal" if low <= 1 <= high else " slower" if high < 1 else ""
    return f"{faster['value']:.2f} ({low:.2f}-{high:.2f}){verdict}"


def _rate(arm: Json, *, ascii_only: bool) -> str:
    """Mean and standard deviation; a star where categories are missing."""
    found = arm["summary"].get("decode_tok_s")
    if found is None:
        return "-"
    sign = "+-" if ascii_only else "±"
    mean = rate(found["mean"])
    digits = len(mean.partition(".")[2])
    spread = f" {sign} {found['stddev']:.{digits}f}" if found["stddev"] is not None else ""
    return f"{mean}{spread}{'*' if arm['missing'] else ''}"


def _count(arm: Json) -> str:
    found = arm["summary"].get("decode_tok_s")
    return str(found["n"]) if found is not None else "0"


def _sentence(arm: Json, *, ascii_only: bool) -> str:
    """One arm on a line, for a log."""
    k = f" K={arm['k']}" if arm["k"] is not None else ""
    faster = f", x baseline {_interval(arm)}" if arm["speedup"] is not None else ""
    faster = f", {_interval(arm)}" if refuted(arm) else faster
    accepted = f", {_accepted(arm)} accepted" if arm["acceptance_rate"] is not None else ""
    tok_s = _rate(arm, ascii_only=ascii_only)
    prefill, ttft, total = map(_dashed, answer_times(arm))
    times = f", prefill {prefill} tok/s, first token {ttft}, whole answer {total}"
    name = f"result {one_line(arm['target'])} | {_name(arm)}{k}"
    return f"{name}: {tok_s} tok/s{faster}{times}{accepted}, n = {_count(arm)}"


def _accepted(arm: Json) -> str:
    """The share of drafted tokens that was accepted; "~" where that is inferred from how tokens arrived."""
    return ("~" if is_inferred(arm) else "") + percent(arm["acceptance_rate"])


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of figures: its cells, and in fewer characters where that is possible, and when it goes.

    Where the terminal is narrow, the columns with the highest `rank` go first; 0 stays, and is shortened in the end.
    """

    name: str
    rank: int
    cells: list[str]
    short: list[str] | None = None

    @property
    def width(self) -> int:
        return max(map(cell_len, (self.name, *self.cells)))


def _columns(arms: Sequence[Json], width: int, *, ascii_only: bool) -> list[_Column]:
    """The columns that go into so many cells, behind the name of the arm; no figure in them is ever cut."""
    prefill, ttft, total = zip(*(answer_times(arm) for arm in arms), strict=True)
    sign = "+-" if ascii_only else "±"
    rates, faster = [_rate(arm, ascii_only=ascii_only) for arm in arms], [_interval(arm) for arm in arms]
    found = [
        _Column("K", 0, ["-" if arm["k"] is None else str(arm["k"]) for arm in arms]),
        _Column("tok/s", 0, rates, [re.sub(rf" {re.escape(sign)} [\d.]+", "", each) for each in rates]),
        _Column(FASTER, 0, faster, [each.partition(" (")[0] for each in faster]),
        _Column("prefill", 3, [_dashed(each) for each in prefill]),
        _Column("ttft", 2, [_dashed(each) for each in ttft]),
        _Column("total", 1, [_dashed(each) for each in total]),
        _Column("accepted", 5, [_accepted(arm) for arm in arms]),
        _Column(
            "tok/step", 6, ["-" if arm["tokens_per_step"] is None else f"{arm['tokens_per_step']:.2f}" for arm in arms]
        ),
        _Column("n", 4, [_count(arm) for arm in arms]),
    ]
    room = width - LEAST_NAME_COLUMNS - 1
    while sum(each.width + GAP for each in found) > room:
        least = max(found, key=lambda each: each.rank)
        if least.rank > 0:
            found.remove(least)
            continue
        wide = next((each for each in reversed(found) if each.short is not None), None)
        if wide is None:
            break
        name = "x" if wide.name == FASTER else wide.name
        found[found.index(wide)] = _Column(name, 0, wide.short or [])
    return found


def _dashed(text: str) -> str:
    """Unknown as a hyphen, as the rest of the table has it."""
    return "-" if text == DASH else text


def _table(arms: Sequence[Json], width: int, *, ascii_only: bool) -> Table:
    """The arms of one target; a name stands once, and folds where the terminal is narrow."""
    table = Table(box=box.ASCII2 if ascii_only else box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("draft", overflow="fold", min_width=LEAST_NAME_COLUMNS)
    columns = _columns(arms, width, ascii_only=ascii_only)
    for column in columns:
        table.add_column(column.name, justify="left" if column.name.startswith("x") else "right", no_wrap=True)
    above = ""
    for number, arm in enumerate(arms):
        name = _name(arm)
        cells = [Text(column.cells[number], style=_cell_style(arm, column.name)) for column in columns]
        table.add_row(Text("" if name == above else name), *cells)
        above = name
    return table


def _cell_style(arm: Json, column: str) -> str:
    """Only the speedup has a colour."""
    if not column.startswith("x"):
        return ""
    return "yellow" if refuted(arm) else _style(arm["speedup"])


def _style(faster: Json | None) -> str:
    """Green for what is faster beyond the noise, red for what is slower."""
    low, high = (faster["ci95"] or (None, None)) if faster is not None else (None, None)
    if low is None or high is None:
        return ""
    return "green" if low > 1 else "red" if high < 1 else ""


def _print_chart(console: Console, arms: Iterable[Json], rows: Iterable[Json], *, ascii_only: bool) -> None:
    """The curve of every draft that was measured or predicted at two Ks or more; `rows` are those of "curves"."""
    measured: dict[str, list[Point]] = {}
    baseline: float | None = None
    for arm in arms:
        found = arm["summary"].get("decode_tok_s")
        if found is None:
            continue
        if arm["k"] is None:
            baseline = baseline if baseline is not None else found["mean"]
            continue
        measured.setdefault(_name(arm), []).append(Point(arm["k"], found["mean"], _ends(found["ci95"])))
    predicted = _predicted(rows)
    names = [name for name in dict.fromkeys((*measured, *predicted))
             if len({point.k for point in (*measured.get(name, ()), *predicted.get(name, ()))}) > 1]  # fmt: skip
    if not names:
        return
    curves = {name: sorted(measured.get(name, ()), key=lambda point: point.k) for name in names}
    both = {name: predicted[name] for name in names if name in predicted}
    width = min(console.width, CHART_MOST_COLUMNS)
    chart = Text.from_ansi(k_curves(curves, baseline, width, CHART_HEIGHT, ascii_only=ascii_only, predicted=both))
    console.print()
    console.print(chart, no_wrap=True)
    dotted = "" if baseline is None else "   dotted: no draft"
    console.print(Text(f"{legend(curves, ascii_only=ascii_only, predicted=both)}{dotted}"))
    console.print()


def _predicted(rows: Iterable[Json]) -> dict[str, list[Point]]:
    """The predicted points over all categories, by the name of their arm."""
    found: dict[str, list[Point]] = {}
    for each in rows:
        value, ends = each.get("predicted_tok_s"), each.get("predicted_ci95")
        if each.get("category") != recommended.ALL or value is None or not math.isfinite(value):
            continue
        found.setdefault(_name(each), []).append(Point(each["k"], value, _ends(ends)))
    return {name: sorted(points, key=lambda point: point.k) for name, points in found.items()}


def _ends(ci95: Sequence[float | None] | None) -> tuple[float | None, float | None] | None:
    """The ends of an interval as a chart takes them."""
    return (ci95[0], ci95[1]) if ci95 is not None else None


def _failures(measurements: Iterable[Json]) -> list[str]:
    """Every step that does not count or lacks samples, with the reason; then what to do about each verdict."""
    reasons: dict[tuple[str, str], list[str]] = {}
    verdicts: dict[str, None] = {}
    for each in measurements:
        if each["status"] == "ok" and not each["verdicts"]:
            continue
        said = each["error"] or "; ".join(dict.fromkeys(each["details"]))
        why = ": ".join(part for part in (", ".join(each["verdicts"]), said) if part)
        short = "noted" if REMARKS.issuperset(each["verdicts"]) else "incomplete"
        status = short if each["status"] == "ok" else each["status"]
        reasons.setdefault((status, why), []).append(each["step"])
        verdicts |= dict.fromkeys(each["verdicts"])
    lines = []
    for (status, why), steps in list(reasons.items())[:FAILURES_SHOWN]:
        more = f" and {len(steps) - 1} more" if len(steps) > 1 else ""
        lines.append(f"{status}: {one_line(steps[0], 120)}{more}: {one_line(why, 300)}")
    if len(reasons) > FAILURES_SHOWN:
        lines.append(f"... and {len(reasons) - FAILURES_SHOWN} more reasons; see the report")
    return lines + [f"  {name}: {DESCRIPTION[Verdict(name)]}" for name in verdicts if name in _VERDICTS]
