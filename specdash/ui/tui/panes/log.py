"""The end of the server's log."""

from __future__ import annotations

from specdash.core.text import plain
from specdash.ui.tui.lines import Line, fitted
from specdash.ui.tui.panes.pane import Look, Pane


def log(look: Look, width: int, rows: int) -> Pane:
    """The last lines of the log of the load that runs now, as text and nothing else."""
    tick = look.feed.live.log
    if tick is None:
        load = look.feed.view.loads.get(look.feed.view.current_load or "")
        why = "a finished run: 4 shows the logs that are kept" if look.feed.gone is not None else "no line yet"
        said: Line = ((" " + why, "dim"),)
        return Pane("Log", ((shown(load.log, 60), "dim"),) if load is not None else (), (said,)[: max(0, rows)])
    lines = tuple(
        fitted(((" " + shown(text, 500), ""),), width, look.glyphs.ellipsis) for text in tick.lines[-rows:] if rows > 0
    )
    return Pane("Log", ((shown(tick.log, 60), "dim"),), lines)


def shown(text: str, limit: int) -> str:
    """A line from outside, harmless, its blanks as they are."""
    return plain(text.expandtabs(4), limit).replace("\n", " ")
