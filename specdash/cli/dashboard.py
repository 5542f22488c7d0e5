"""`specdash PROFILE`, `specdash resume RUN` and `specdash` alone: the dashboard on a run, or the start screen."""

from __future__ import annotations

import sys
from pathlib import Path

from specdash.errors import EngineError, Exit, ProfileError


def profile(path: str) -> Exit:
    """Starts the engine process of a new run, detached, and shows it; leaving the dashboard leaves the run going."""
    from specdash.ui.tui.run import require_screen, show_run

    require_screen()
    from specdash.config.load import check_profile
    from specdash.core.text import plain

    found = check_profile(Path(path))
    if found.profile is None or found.problems:
        raise ProfileError(found.problems)
    if found.missing:
        raise EngineError("\n".join(str(problem) for problem in found.missing))
    for warning in found.warnings:
        print(plain(f"specdash: warning: {warning}"), file=sys.stderr)
    from specdash.remote.detached import start_engine
    from specdash.remote.sources import open_run

    run = start_engine(Path(path)).run
    return show_run(lambda: open_run(run), own=True)


def resume_and_show(path: Path) -> Exit:
    """Starts the engine process that goes on with a run, detached, and shows it. What is wrong is said before that."""
    from specdash.ui.tui.run import require_screen, show_run

    require_screen("specdash resume --headless RUN")
    from specdash.core.text import one_line
    from specdash.remote.detached import start_engine
    from specdash.remote.sources import open_run

    started = start_engine(path, resumes=True)
    if started.over is not None:
        name = one_line(started.run.name)
        print(f"specdash: nothing is left to measure in {name}; look at it: specdash attach {name}", file=sys.stderr)
        return started.over
    return show_run(lambda: open_run(started.run), own=True)


def show_start_screen() -> Exit:
    """The start screen: models, engines and runs found, a new profile, the demo."""
    from specdash.ui.tui.run import show_run

    return show_run(None)
