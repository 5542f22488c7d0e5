"""The way in: a dashboard from the first check of the terminal to the last line in the scrollback.

Nothing of the screen library is imported before the environment says how it is to behave.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from typing import TYPE_CHECKING

from specdash.errors import Exit
from specdash.ui.tui.terminal.facts import UNATTENDED, require_terminal, screen_environment, terminal_of

if TYPE_CHECKING:
    from specdash.config.settings import Settings
    from specdash.ui.tui.app import Dashboard
    from specdash.ui.tui.context import SourceFactory


def show_run(
    opening: SourceFactory | None, *, ssh: str | None = None, settings: Settings | None = None, own: bool = False
) -> Exit:
    """Show a run, or the start screen (None), until the user leaves; the exit code.

    `ssh` is the host that the run is watched on, as the user named it. `settings` are read from the user's file where
    none are given. `own`: this command has started the run, which counts as watched even if it is over before it is
    shown. Raises SpecdashError where there is no terminal to draw on. The code is the run's own when it ended while it
    was watched, 129, 130 or 143 after a signal, 1 after a bug of the dashboard.
    """
    require_screen()
    from specdash.config.settings import load_settings

    for name, value in screen_environment().items():
        os.environ.setdefault(name, value)
    # All that is made before the first frame is kept: looking through it for garbage takes a fifth of that time.
    gc.disable()
    from specdash.ui.tui.app import Dashboard

    chosen = settings if settings is not None else load_settings()
    terminal = terminal_of(os.environ, sys.stdout.encoding or "ascii", chosen.glyphs)
    app = Dashboard(opening, terminal, chosen)
    app.on_shown = _settle
    app.is_own = own
    code = app.run(mouse=chosen.mouse)
    return _after(app, code, ssh)


async def _settle() -> None:
    """Do what the first frame did not wait for.

    The other screens are loaded now, not when they are wanted: by then, in two days, another version may be installed.
    """
    from specdash.ui.tui.screen_registry import screen_kinds

    for _ in screen_kinds():
        await asyncio.sleep(0)
    gc.freeze()
    gc.enable()


def require_screen(unattended: str = UNATTENDED) -> None:
    """Raise SpecdashError where there is no terminal that a dashboard could be drawn on.

    `unattended` is the command that does without one.
    """
    is_tty = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    require_terminal(os.environ, is_tty=is_tty, unattended=unattended)


def _after(app: Dashboard, code: int | None, ssh: str | None) -> Exit:
    """Print the exit message, once the terminal is given back."""
    if app.crash is not None or code is None:
        from specdash.crash import bug_report

        error = app.crash if app.crash is not None else RuntimeError("the dashboard ended without a word")
        print(f"specdash: {bug_report(error, 'dashboard')}", file=sys.stderr)
        return Exit.INCOMPLETE
    if app.gave_back:
        _say(app, ssh)
    finished = app.feed.view.finished
    if code == Exit.OK and app.saw_end and finished is not None:
        return Exit(finished.exit_code) if finished.exit_code in set(Exit) else Exit.INCOMPLETE
    return Exit(code)


def _say(app: Dashboard, ssh: str | None) -> None:
    from specdash.ui.tui.exit_message import farewell, is_for_summary

    for line in farewell(app.feed, asked=app.asked, ssh=ssh):
        print(line)
    if app.saw_end and app.feed.origin is not None and is_for_summary(app.feed):
        from pathlib import Path

        from rich.console import Console

        from specdash.ui.summary import TO_READ, print_summary

        path = Path(app.feed.origin.path)
        there = [report for name in TO_READ if os.path.isfile(report := path / name)]
        print_summary(Console(), app.feed.view, path, there, with_table=True)
    sys.stdout.flush()
