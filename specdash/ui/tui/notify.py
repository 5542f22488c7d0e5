"""How a terminal is told that a run has ended: the bell, or a desktop notification (OSC 9).

tmux swallows OSC sequences unless they are wrapped for it and `allow-passthrough` is on, so the bell goes with them
there; it marks the window. (iTerm2's proprietary escape codes; tmux(1), "allow-passthrough".)
"""

from __future__ import annotations

from collections.abc import Mapping

from specdash.core.text import one_line
from specdash.remote.feed import RunFeed
from specdash.ui.narration import counted
from specdash.ui.tui.panes.header import run_name

BELL = "\a"
TEXT_LIMIT = 120


def announcement(text: str, kind: str, environment: Mapping[str, str]) -> str:
    """What to send to the terminal: `kind` is "bell", "osc9" or "off"; `text` may hold anything."""
    if kind == "off":
        return ""
    if kind != "osc9":
        return BELL
    said = f"\x1b]9;{one_line(text, TEXT_LIMIT)}\x1b\\"
    if not environment.get("TMUX"):
        return said
    return "\x1bPtmux;" + said.replace("\x1b", "\x1b\x1b") + "\x1b\\" + BELL


def ending(before: RunFeed, after: RunFeed) -> str | None:
    """What to say when a run that was watched has just ended, well or not; None otherwise, and for a replay."""
    if not before.is_live:
        return None
    count = counted(after.view.table.tally)
    name = run_name(after.view)
    if after.view.finished is not None:
        return f"specdash: {name} {one_line(after.view.finished.state, 20)}, {count}"
    if after.gone is not None and not after.gone.lost:
        return f"specdash: {name}: the engine has gone, {count}"
    return None
