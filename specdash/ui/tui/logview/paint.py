"""The lines around a log: its title, the notes below it, and on wide screens the loads and transitions beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from specdash.core.state import LoadState, RunState
from specdash.core.text import human_bytes, one_line
from specdash.ui.tui.lines import Line, around, fitted, rule
from specdash.ui.tui.logview.entries import FILTER_WORDS, Filter, Mark
from specdash.ui.tui.logview.search import Scanner
from specdash.ui.tui.logview.window import KEPT_LINES, Window
from specdash.ui.tui.styles import StyleName
from specdash.ui.tui.terminal import Glyphs


@dataclass(frozen=True, slots=True)
class Status:
    """What is true of the log on the screen beside its lines."""

    window: Window
    level: Filter
    follow: bool
    shown_end: int | None  # where the last line on the screen ends, in the file
    scan: Scanner | None
    scanning: bool
    found: int | None


def title(load: LoadState | None, number: int, count: int, status: Status, width: int, glyphs: Glyphs) -> list[Line]:
    """Which log this is, and where in it the screen is."""
    if load is None:
        return [rule("log", "", width, glyphs.rule)]
    follow = "follow on" if status.follow else "follow off"
    size = status.window.size
    right = f"{follow}   {human_bytes(size)}"
    if status.shown_end is not None and size > 0:
        right = f"{follow}   {100 * status.shown_end // size:3d}% of {human_bytes(size)}"
    name = f"{one_line(load.log, 60)}  load {number} of {count}  {load.state.upper()}"
    label: Line = ((f" {one_line(load.key.label, 60)}", ""), (_left_out(status), "dim"))
    return [rule(name, right, width, glyphs.rule), fitted(label, width, glyphs.ellipsis)]


def searched(status: Status, width: int, ellipsis: str) -> list[Line]:
    """What is below the log: the search, while there is one."""
    return [fitted(_search(status), width, ellipsis)] if status.scan is not None else []


def _search(status: Status) -> Line:
    scan = status.scan
    if scan is None:
        return ()
    case = "" if scan.ignore_case else " (case matters)"
    text: Line = ((" /", "key"), (one_line(scan.text, 60), "title"), (case, "dim"), ("   ", ""))
    size = status.window.size
    number = scan.number(status.found) if status.found is not None else None
    if scan.count:
        which = f"match {number:,} of {scan.count:,}" if number is not None else f"{scan.count:,} lines have it"
        text = (*text, (which, "good"))
    elif not status.scanning:
        text = (*text, ("not in this log", "warn"))
    if status.scanning:
        share = 100 * scan.end // size if size else 0
        text = (*text, (f"   searching, {share}% of {human_bytes(size)}; esc stops", "dim"))
    elif scan.end < size:
        text = (*text, (f"   stopped at {100 * scan.end // size}%", "dim"))
    return text


def _left_out(status: Status) -> str:
    """What the view leaves out of the file."""
    parts = []
    window = status.window
    below = window.size - status.shown_end if status.shown_end is not None else 0
    if below > 0 and not status.follow:
        parts.append(f"{human_bytes(below)} below (G: to the end)")
    if status.level:
        parts.append(f"only {FILTER_WORDS[status.level]}, of the {len(window.lines):,} lines in view")
    if not (window.at_start and window.at_end):
        parts.append(f"the view keeps {KEPT_LINES:,} lines, the file has all")
    return "".join(f"   {part}" for part in parts)


def beside(view: RunState, load: str, marks: Sequence[Mark], width: int, height: int, glyphs: Glyphs) -> list[Line]:
    """The loads of the run and the transitions of this one, for the right side of a wide screen."""
    room = max(3, height - min(len(marks) + 2, height // 2) - 1)
    lines: list[Line] = [rule("loads", "[ and ] switch", width, glyphs.rule)]
    loads = list(view.loads.values())
    at = next((index for index, each in enumerate(loads) if each.id == load), len(loads) - 1)
    first = around(at, room, len(loads))
    for each in loads[first : first + room]:
        sign = glyphs.cursor if each.id == load else " "
        style: StyleName = "bad" if each.state == "failed" else "title" if each.id == load else ""
        lines.append(
            fitted(((f"{sign}{one_line(each.id, 8)} {each.state:<9}", style), (one_line(each.key.label), "dim")), width)
        )
    lines += [(), rule("transitions", "", width, glyphs.rule)]
    left = max(0, height - len(lines))
    for mark in marks[len(marks) - left :] if left else ():
        lines.append(fitted(((f" {mark.clock} ", "dim"), (mark.text, "")), width, glyphs.ellipsis))
    return lines[:height]
