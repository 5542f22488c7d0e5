"""What is said of a run's end, and left in the scrollback when a dashboard is closed.

A terminal is told that a run has ended by the bell, or by a desktop notification (OSC 9). tmux swallows OSC sequences
unless they are wrapped for it and `allow-passthrough` is on, so the bell goes with them there; it marks the window.
(iTerm2's proprietary escape codes; tmux(1), "allow-passthrough".)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from specdash.core.text import one_line
from specdash.errors import Exit
from specdash.remote.feed import RunFeed
from specdash.ui.narration import counted
from specdash.ui.tui.panes.header import is_replay, run_name

BELL = "\a"
TEXT_LIMIT = 120


def farewell(feed: RunFeed, *, asked: str | None, ssh: str | None) -> list[str]:
    """Return the lines to print. `asked`: the answer of the leave menu; `ssh`: the host as the user named it."""
    origin, view = feed.origin, feed.view
    if origin is None or view.run is None:
        return []
    over = f" --ssh {one_line(ssh, 200)}" if ssh is not None else ""
    place = one_line(PurePosixPath(origin.path).name or origin.path, 200)
    where = (
        one_line(origin.path, 1000)
        if origin.is_local
        else f"{one_line(origin.host, 100)}:{one_line(origin.path, 1000)}"
    )
    lines = [f"specdash: {run_name(view)}: {_state(feed, asked)}, {counted(view.table.tally)}", f"  folder: {where}"]
    if view.finished is not None and view.finished.exit_code == Exit.UNSAFE:
        lines.append(f"  {one_line(view.finished.reason, 400)}")
    if view.finished is None and (feed.gone is None or feed.gone.lost) and not is_replay(feed):
        lines.append(f"  attach again: specdash attach {place}{over}")
    elif view.finished is None or view.finished.state != "finished":
        there = f"on {one_line(ssh or origin.host, 200)}: " if not origin.is_local else ""
        lines.append(f"  go on: {there}specdash resume {place}")
    return lines


def is_for_summary(feed: RunFeed) -> bool:
    """Return whether the run's folder is here, so that its results can be printed."""
    return feed.origin is not None and feed.origin.is_local and os.path.isdir(Path(feed.origin.path))


def _state(feed: RunFeed, asked: str | None) -> str:
    view, gone = feed.view, feed.gone
    if view.finished is not None:
        return one_line(view.finished.state, 40)
    if gone is not None and not gone.lost:
        return "interrupted" if is_replay(feed) else "its engine has gone"
    if gone is not None:
        return "the line to it broke, it may still be running"
    if view.stopping or asked in ("stop", "stop_after_load"):
        return "stopping" if asked != "stop_after_load" else "stops after this load"
    return "paused, its engine goes on" if view.paused else "goes on"


def announcement(text: str, kind: str, environment: Mapping[str, str]) -> str:
    """Return what to send to the terminal: `kind` is "bell", "osc9" or "off"; `text` may hold anything."""
    if kind == "off":
        return ""
    if kind != "osc9":
        return BELL
    said = f"\x1b]9;{one_line(text, TEXT_LIMIT)}\x1b\\"
    if not environment.get("TMUX"):
        return said
    return "\x1bPtmux;" + said.replace("\x1b", "\x1b\x1b") + "\x1b\\" + BELL


def run_ended_message(before: RunFeed, after: RunFeed) -> str | None:
    """Return what to say when a run that was watched has just ended, well or not; None otherwise, and for a replay."""
    if not before.is_live:
        return None
    count = counted(after.view.table.tally)
    name = run_name(after.view)
    if after.view.finished is not None:
        return f"specdash: {name} {one_line(after.view.finished.state, 20)}, {count}"
    if after.gone is not None and not after.gone.lost:
        return f"specdash: {name}: the engine has gone, {count}"
    return None
