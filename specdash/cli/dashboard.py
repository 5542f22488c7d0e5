"""`specdash PROFILE` and `specdash` alone: the dashboard, on a new run or on the start screen."""

from __future__ import annotations

import sys
from pathlib import Path

from specdash.errors import EngineError, Exit, ProfileError


def profile(path: str) -> Exit:
    """Starts the engine process of a new run, detached, and shows it; leaving the dashboard leaves the run going."""
    from specdash.ui.tui.run import require_screen, show

    require_screen()
    import asyncio

    from specdash.config.load import check
    from specdash.core.text import plain

    found = check(Path(path))
    if found.profile is None or found.problems:
        raise ProfileError(found.problems)
    if found.missing:
        raise EngineError("\n".join(str(problem) for problem in found.missing))
    for warning in found.warnings:
        print(plain(f"specdash: warning: {warning}"), file=sys.stderr)
    from specdash.ui.detached import start_profile
    from specdash.ui.sources import open_run

    run = asyncio.run(start_profile(Path(path)))
    return show(lambda: open_run(run), own=True)


def start() -> Exit:
    """The start screen: models, engines and runs found, a new profile, the demo."""
    from specdash.ui.tui.run import show

    return show(None)
