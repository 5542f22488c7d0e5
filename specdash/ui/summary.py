"""The end of a headless run: what to use, what came out as a table and a chart, and what failed and why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from specdash.analysis.build_result import result_of
from specdash.analysis.pair_summary import REFUTED
from specdash.analysis.result import RATE, Arm, CurvePoint, Measurement, Recommendation
from specdash.analysis.stats import Interval, Speedup
from specdash.core.measure import DESCRIPTION, Verdict
from specdash.core.numbers import finite
from specdash.core.profile import ALL
from specdash.core.state import RunState
from specdash.core.text import one_line, plural
from specdash.report import text
from specdash.report.arms import ResultOverview, k_of, measured_n
from specdash.report.text import ASCII, TERMINAL, Style
from specdash.ui.charts import ChartPoint, chart_legend, k_curves

CHART_HEIGHT = 16
CHART_MOST_COLUMNS = 100
FAILURES_SHOWN = 20
LEAST_NAME_COLUMNS = 8
CATEGORIES_SHOWN = 6
TO_READ = ("report.md", "report.html")
GAP = 2  # cells that a column takes beside its own: one of padding, one of the box
FASTER = "x baseline (95 %)"

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


def print_summary(console: Console, view: RunState, path: Path, reports: Iterable[Path], *, with_table: bool) -> None:
    """Prints what to use, the arms over all categories, their curve (on a terminal), and what does not count.

    `reports`: the files that there are of the run; those to read are named.
    """
    if view.run is None:
        return
    style = TERMINAL if "utf" in (console.encoding or "").lower() else ASCII
    result = result_of(view)
    shown = ResultOverview.of(result)
    arms = [arm for arm in shown.arms if arm.categories]
    _print_recommendations(console, result.recommendations, with_table=with_table)
    if with_table and arms:
        for target in dict.fromkeys(arm.step.target for arm in arms):
            mine = [arm for arm in arms if arm.step.target == target]
            console.print()
            console.print(Text(one_line(target), style="bold"), soft_wrap=True)
            console.print(_table(mine, shown, console.width, style))
            curves = [point for point in result.curves if point.step.target == target]
            _print_chart(console, mine, curves, ascii_only=style is ASCII)
        if any(arm.missing for arm in arms):
            console.print(Text("* lacks categories that others have, so its tok/s is of another mix of prompts"))
    else:
        for arm in arms:
            console.print(Text(_sentence(arm, shown, style)), soft_wrap=True)
    for line in _failures(result.measurements):
        console.print(Text(line, style="yellow"), soft_wrap=not with_table)
    for said in text.disturbances(result):
        console.print(Text(said), soft_wrap=not with_table)
    if result.unfinished:
        steps = plural(len(result.unfinished), "step is", "steps are")
        kept = sum(len(found.good) for found in view.table.opened())
        also = f" ({plural(kept, 'sample')} kept)" if kept else ""
        console.print(Text(f"{steps} not finished yet{also}: specdash resume {one_line(path.name)}"), soft_wrap=True)
    for report in reports:
        if report.name in TO_READ:
            console.print(Text(f"report: {one_line(near(report), 1000)}"), soft_wrap=True)


def _print_recommendations(console: Console, found: Sequence[Recommendation], *, with_table: bool) -> None:
    """What to use for each target, why, and the command line, which is never broken so that it can be pasted."""
    for each in text.for_all(found):
        if with_table:
            console.print()
        line = f"{text.recommendation_heading(each)}: {text.choice(each)}"
        console.print(Text(line, style="bold green" if each.speculates else "bold"), soft_wrap=not with_table)
        for said in _reasons(found, each):
            console.print(Text(f"  {said}"), soft_wrap=not with_table)
        if words := text.command(each):
            console.print(Text(words), soft_wrap=True)


def _reasons(found: Sequence[Recommendation], each: Recommendation) -> list[str]:
    """What there is to say of a recommendation: its reason, ties, regret, and the categories where another one is."""
    others = [f"{one_line(other.category, 30)}: {text.short(other)}" for other in text.others(found, each)]
    more = f" and {len(others) - CATEGORIES_SHOWN} more" if len(others) > CATEGORIES_SHOWN else ""
    apart = f"another choice on {', '.join(others[:CATEGORIES_SHOWN])}{more}" if others else ""
    said = (text.reason_text(each), text.ties(each), text.regret(each), apart)
    return [sentence for sentence in said if sentence]


def near(path: Path) -> str:
    """A path as it is typed from here: relative where it lies below the working folder."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _name(row: Arm | CurvePoint) -> str:
    """An arm without its target and K, in words."""
    return one_line(text.arm_name(row.step, "no draft"), 60)


def _speedup(arm: Arm, shown: ResultOverview, style: Style) -> str:
    """The speedup with its interval; "equal" where the interval holds 1, since that is noise; or why it is void."""
    if word := shown.refuted(arm):
        return "output differs" if word == REFUTED[Verdict.OUTPUT_DIFFERS] else word
    faster = arm.speedup
    if faster is None:
        return style.unknown
    if faster.ci95 is None:
        return f"{text.ratio(faster.value)} (one sample)"
    low, high = text.bounds(faster.ci95)
    if low is None or high is None:
        return f"{text.ratio(faster.value)} (too noisy)"
    verdict = " equal" if low <= 1 <= high else " slower" if high < 1 else ""
    return f"{text.ratio(faster.value)} ({text.interval(faster.ci95, to='-')}){verdict}"


def _rate(arm: Arm, style: Style) -> str:
    """Mean and standard deviation; a star where categories are missing."""
    found = arm.summary.get(RATE)
    return text.mean(found, style) + ("*" if found is not None and arm.missing else "")


def _sentence(arm: Arm, shown: ResultOverview, style: Style) -> str:
    """One arm on a line, for a log."""
    k = f" K={arm.step.k}" if arm.step.k is not None else ""
    faster = f", x baseline {_speedup(arm, shown, style)}" if arm.speedup is not None else ""
    faster = f", {_speedup(arm, shown, style)}" if shown.refuted(arm) else faster
    accepted = f", {text.accepted(arm, style)} accepted" if arm.acceptance_rate is not None else ""
    prefill, ttft, total = text.answer_times(arm.summary, style)
    times = f", prefill {prefill} tok/s, first token {ttft}, whole answer {total}"
    name = f"result {one_line(arm.step.target)} | {_name(arm)}{k}"
    return f"{name}: {_rate(arm, style)} tok/s{faster}{times}{accepted}, n = {measured_n(arm) or 0}"


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


def _columns(arms: Sequence[Arm], shown: ResultOverview, width: int, style: Style) -> list[_Column]:
    """The columns that go into so many cells, behind the name of the arm; no figure in them is ever cut."""
    prefill, ttft, total = (
        list(each) for each in zip(*(text.answer_times(arm.summary, style) for arm in arms), strict=True)
    )
    rates, faster = [_rate(arm, style) for arm in arms], [_speedup(arm, shown, style) for arm in arms]
    found = [
        _Column("K", 0, [text.count_text(arm.step.k, style) for arm in arms]),
        _Column("tok/s", 0, rates, [re.sub(rf" {re.escape(style.plus_minus)} [\d.]+", "", each) for each in rates]),
        _Column(FASTER, 0, faster, [each.partition(" (")[0] for each in faster]),
        _Column("prefill", 3, prefill),
        _Column("ttft", 2, ttft),
        _Column("total", 1, total),
        _Column("accepted", 5, [text.accepted(arm, style) for arm in arms]),
        _Column("tok/step", 6, [text.ratio(arm.tokens_per_step, style) for arm in arms]),
        _Column("n", 4, [str(measured_n(arm) or 0) for arm in arms]),
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


def _table(arms: Sequence[Arm], shown: ResultOverview, width: int, style: Style) -> Table:
    """The arms of one target; a name stands once, and folds where the terminal is narrow."""
    table = Table(box=box.ASCII2 if style is ASCII else box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("draft", overflow="fold", min_width=LEAST_NAME_COLUMNS)
    columns = _columns(arms, shown, width, style)
    for column in columns:
        table.add_column(column.name, justify="left" if column.name.startswith("x") else "right", no_wrap=True)
    above = ""
    for number, arm in enumerate(arms):
        name = _name(arm)
        cells = [Text(column.cells[number], style=_cell_style(arm, shown, column.name)) for column in columns]
        table.add_row(Text("" if name == above else name), *cells)
        above = name
    return table


def _cell_style(arm: Arm, shown: ResultOverview, column: str) -> str:
    """Only the speedup has a colour."""
    if not column.startswith("x"):
        return ""
    return "yellow" if shown.refuted(arm) else _style(arm.speedup)


def _style(faster: Speedup | None) -> str:
    """Green for what is faster beyond the noise, red for what is slower."""
    low, high = text.bounds(faster.ci95 if faster is not None else None)
    if low is None or high is None:
        return ""
    return "green" if low > 1 else "red" if high < 1 else ""


def _print_chart(console: Console, arms: Iterable[Arm], points: Iterable[CurvePoint], *, ascii_only: bool) -> None:
    """The curve of every draft that was measured or predicted at two Ks or more."""
    measured: dict[str, list[ChartPoint]] = {}
    baseline: float | None = None
    for arm in arms:
        found = arm.summary.get(RATE)
        if found is None:
            continue
        if arm.step.k is None:
            baseline = baseline if baseline is not None else found.mean
            continue
        measured.setdefault(_name(arm), []).append(ChartPoint(arm.step.k, found.mean, _ends(found.ci95)))
    predicted = _predicted(points)
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
    console.print(Text(f"{chart_legend(curves, ascii_only=ascii_only, predicted=both)}{dotted}"))
    console.print()


def _predicted(points: Iterable[CurvePoint]) -> dict[str, list[ChartPoint]]:
    """The predicted points over all categories, by the name of their arm."""
    found: dict[str, list[ChartPoint]] = {}
    for point in points:
        tok_s = finite(point.predicted_tok_s)
        if point.step.category == ALL and tok_s is not None:
            found.setdefault(_name(point), []).append(ChartPoint(k_of(point), tok_s, _ends(point.predicted_ci95)))
    return {name: sorted(points, key=lambda point: point.k) for name, points in found.items()}


def _ends(ci95: Interval | None) -> tuple[float | None, float | None] | None:
    """The ends of an interval as a chart takes them."""
    return text.bounds(ci95) if ci95 is not None else None


def _failures(measurements: Iterable[Measurement]) -> list[str]:
    """Every step that does not count or lacks samples, with the reason; then what to do about each verdict."""
    reasons: dict[tuple[str, str], list[str]] = {}
    verdicts: dict[str, None] = {}
    for each in measurements:
        if each.status == "ok" and not each.verdicts:
            continue
        said = each.error or "; ".join(dict.fromkeys(each.details))
        why = ": ".join(part for part in (", ".join(each.verdicts), said) if part)
        short = "noted" if REMARKS.issuperset(each.verdicts) else "incomplete"
        status = short if each.status == "ok" else each.status
        reasons.setdefault((status, why), []).append(each.name or each.id)
        verdicts |= dict.fromkeys(each.verdicts)
    lines = []
    for (status, why), steps in list(reasons.items())[:FAILURES_SHOWN]:
        more = f" and {len(steps) - 1} more" if len(steps) > 1 else ""
        lines.append(f"{status}: {one_line(steps[0], 120)}{more}: {one_line(why, 300)}")
    if len(reasons) > FAILURES_SHOWN:
        lines.append(f"... and {len(reasons) - FAILURES_SHOWN} more reasons; see the report")
    return lines + [f"  {name}: {DESCRIPTION[Verdict(name)]}" for name in verdicts if name in _VERDICTS]
