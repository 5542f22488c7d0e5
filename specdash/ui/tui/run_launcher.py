"""The ways from one run to another: open it, go on with it, start a profile.

Each gives None once the dashboard shows the run, or a sentence of what is wrong, to be shown in place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from specdash.core.text import one_line
from specdash.errors import SpecdashError
from specdash.remote.run_source import Source, SourceError
from specdash.ui.tui.context import DashboardContext

SENTENCE = 600

Way = Callable[[DashboardContext, Path], Awaitable[str | None]]


async def open_path(dashboard: DashboardContext, path: Path, *, own: bool = False) -> str | None:
    """Show the run of a folder: the one that is going on there, or what its journal tells.

    `own`: the dashboard has just started it.
    """
    from specdash.remote.sources import open_run

    try:
        source = await open_run(path)
    except (SourceError, SpecdashError, OSError) as error:
        return one_line(str(error), SENTENCE)

    async def opening() -> Source:
        return source

    dashboard.open_run(opening, own=own)
    # Dialogs and wizards that led here are done with.
    while len(dashboard.screen_stack) > 2:
        dashboard.pop_screen()
    dashboard.action_show("main")
    return None


async def resume_path(dashboard: DashboardContext, path: Path) -> str | None:
    """Resume an interrupted run, and show it."""
    from specdash.remote.detached import resume_run

    return await _begun(dashboard, resume_run(path))


async def start_path(dashboard: DashboardContext, profile: Path) -> str | None:
    """Start a profile, and show its run."""
    from specdash.remote.detached import start_profile

    return await _begun(dashboard, start_profile(profile))


async def start_demo(dashboard: DashboardContext) -> str | None:
    """Write the demo's models and profile, start it, and show its run."""
    from specdash.ui.tui.discovery import FindError, demo_profile

    try:
        profile = await demo_profile()
    except FindError as error:
        return one_line(str(error), SENTENCE)
    return await start_path(dashboard, profile)


async def _begun(dashboard: DashboardContext, beginning: Awaitable[Path]) -> str | None:
    """Show the run that has begun once `beginning` gives its folder."""
    try:
        path = await beginning
    except (SpecdashError, OSError) as error:
        return one_line(str(error), SENTENCE)
    return await open_path(dashboard, path, own=True)
