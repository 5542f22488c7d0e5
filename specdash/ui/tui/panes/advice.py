"""What to use for each target, or how far a run is from saying so: a pane, a strip of lines, and everything about one.

Pure functions of the advice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, chop_cells

from specdash.core.text import one_line
from specdash.report import text as words
from specdash.ui.narration import counted
from specdash.ui.tui.lines import Line, fitted, width_of
from specdash.ui.tui.panes.pane import Pane, paragraph, short_rate
from specdash.ui.tui.recommendations import Recommendations, TargetRecommendations
from specdash.ui.tui.terminal import Glyphs
from specdash.ui.tui.terminal.theme import StyleName

if TYPE_CHECKING:
    from specdash.analysis.result import Recommendation

MORE = "a: more"
_NAME = 24  # columns of a target's name in a strip


def advice_pane(found: Recommendations, width: int, rows: int, glyphs: Glyphs) -> Pane:
    """The pane of the main screen: each target with what to use, on as many lines as there is room for."""
    if not found.groups:
        none: list[Line] = [((f" {_why_none(found, glyphs)}", "dim"),)]
        return Pane("Recommendation", (), tuple(none[: max(0, rows)]))
    lines: list[Line] = []
    several = len(found.groups) > 1
    for group in found.groups:
        text, style = recommendation_text(group, is_over=found.is_over)
        said = f"{group.name}: {text}" if several or rows < 3 else text
        lines += [((f" {group.name}", "title"),)] if not several and rows >= 3 else []
        lines += paragraph(said, width - 1, style)
    if len(lines) > rows:
        lines = _briefs(found.groups, found, width, glyphs)
    if len(lines) > rows > 0:
        lines = [*lines[: rows - 1], ((f" and {len(lines) - rows + 1} more", "dim"),)]
    return Pane("Recommendation", ((MORE, "dim"),), tuple(lines[: max(0, rows)]))


def strip(found: Recommendations, target: str, most: int, width: int, glyphs: Glyphs) -> list[Line]:
    """One line for each target, at most so many; where there is room for fewer, that of `target` is the first."""
    if most <= 0:
        return []
    if not found.groups:
        return [((f" {_why_none(found, glyphs)}", "dim"),)]
    groups = list(found.groups)
    if len(groups) > most:
        groups.sort(key=lambda group: group.target != target)
    lines = _briefs(groups[:most], found, width, glyphs)
    hint = f"1 of {len(groups)}  {MORE}" if len(groups) > most else MORE
    room = width - width_of(lines[0]) - len(hint) - 1
    return [(*lines[0], (" " * room, ""), (hint, "dim")), *lines[1:]] if room > 1 else lines


def _briefs(groups: Sequence[TargetRecommendations], found: Recommendations, width: int, glyphs: Glyphs) -> list[Line]:
    """Each target on one line, the figures shortened where it is narrow."""
    most = min(max(cell_len(group.name) for group in groups), max(8, min(_NAME, width // 3)))
    lines: list[Line] = []
    for group in groups:
        name = fitted(((group.name, "title"),), most, glyphs.ellipsis)
        gap = " " * (2 + most - width_of(name))
        text, style = recommendation_text(group, is_over=found.is_over)
        if cell_len(text) > width - most - 3:
            text, style = recommendation_text(group, is_over=found.is_over, brief=True)
        lines.append(fitted(((" ", ""), *name, (gap, ""), (text, style)), width, glyphs.ellipsis))
    return lines


def recommendation_text(group: TargetRecommendations, *, is_over: bool, brief: bool = False) -> tuple[str, StyleName]:
    """What is recommended for a target, with its style; while steps are open, how many are done and what leads."""
    overall = group.overall
    count = counted(group.tally)
    if group.tally.open and not is_over:
        leads = overall is not None and overall.speculates
        return f"not yet: {count}{f'; so far {words.brief(overall)}' if leads and overall else ''}", "dim"
    if overall is None:
        return f"nothing can be recommended ({count})", "dim"
    said = words.brief(overall) if brief else words.choice(overall)
    part = f" ({count})" if group.tally.open else ""
    return said + part, "faster" if overall.speculates else ""


def _why_none(found: Recommendations, glyphs: Glyphs) -> str:
    """Why there is no recommendation at all."""
    if found.problem:
        return f"it could not be worked out: {one_line(found.problem, 300)}"
    return "no step is planned yet" if found.is_known else f"working it out{glyphs.ellipsis}"


def recommendation_details(group: TargetRecommendations, width: int, *, is_over: bool) -> list[Line]:
    """All that is known of a target's recommendation: reason, ties, regret, categories, and the whole command line."""
    room = max(20, width)
    text, style = recommendation_text(group, is_over=is_over)
    lines: list[Line] = [((f" {group.name}", "title"),), *paragraph(text, room, style)]
    overall = group.overall
    if overall is None:
        return lines
    for said in (words.reason_text(overall), words.ties(overall), words.regret(overall)):
        lines += paragraph(said, room, "") if said else []
    single = [each for each in group.choices if each is not overall]
    if single:
        lines += [(), ((" by kind of text", "title"),)]
        name = max(len(one_line(each.category, 20)) for each in single)
        lines += [_category(each, name) for each in single]
    lines += [(), ((" command line", "title"), ("   y copies it", "dim"))]
    command = words.command(overall)
    if not command:
        return [*lines, ((" none: its server was not started by this run, or nothing is recommended", "dim"),)]
    return [*lines, *(((f" {piece}", "accent"),) for piece in chop_cells(command, room - 1))]


def _category(each: Recommendation, name: int) -> Line:
    """One kind of text on a line."""
    style: StyleName = "faster" if each.speculates else ""
    return ((f" {one_line(each.category, 20):<{name}}  ", "dim"), (words.brief(each), style))


_AGREEMENT: dict[str, tuple[str, StyleName]] = {
    "identical": ("identical", ""),
    "near_tie": ("near tie", ""),
    "output_differs": ("DIFFERS", "bad"),
    "unknown": ("not known whether it differs", "dim"),
}


def measurement_remarks(entry: Mapping[str, Any] | None) -> list[tuple[str, str, StyleName]]:
    """Whether a measurement's text is the baseline's, and how near its rate is to what memory can deliver.

    Each with a name and a style; none where nothing is known.
    """
    found: list[tuple[str, str, StyleName]] = []
    lossless = (entry or {}).get("lossless")
    if lossless is not None:
        words, style = _AGREEMENT.get(str(lossless.get("state")), (one_line(str(lossless.get("state")), 40), ""))
        reason = one_line(str(lossless.get("reason") or ""), 300)
        found.append(("text", f"{words}{f': {reason}' if reason else ''}", style))
    roofline = (entry or {}).get("roofline")
    if roofline is not None:
        bound, part = roofline.get("bound_tok_s"), roofline.get("share")
        if bound is None:
            found.append(("bound", f"none: {one_line(str(roofline.get('reason') or 'unknown'), 300)}", "dim"))
        else:
            of = f"; the rate is {part * 100:.0f}% of that" if part is not None else ""
            over: StyleName = "bad" if part is not None and part > 1 else ""
            found.append(("bound", f"{short_rate(bound)} tok/s by memory bandwidth{of}", over))
    return found
