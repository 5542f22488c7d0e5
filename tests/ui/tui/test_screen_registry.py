"""The screens by their names, and what a first frame does not wait for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from specdash.ui.tui import screen_registry
from specdash.ui.tui.widgets.dialog import LeaveMenu

ROOT = Path(__file__).parents[3]
LOADED = """
import sys
import specdash.cli.attach, specdash.store.runs, specdash.remote.sources, specdash.ui.tui.run, specdash.ui.tui.app
from specdash.ui.tui import screen_registry
if sys.argv[1] == "first":
    screen_registry.kind_of("main")
else:
    list(screen_registry.screen_kinds())
print(*sys.modules)
"""


@pytest.mark.parametrize("name", [*screen_registry.SCREENS, *screen_registry.STEPS])
def test_each_name_has_a_screen_that_is_found_again(name: str) -> None:
    kind = screen_registry.kind_of(name)
    screen = kind() if name in screen_registry.SCREENS else kind.__new__(kind)
    assert screen_registry.name_of(screen) == name


def test_a_dialog_has_no_name() -> None:
    assert screen_registry.name_of(LeaveMenu()) is None


def loaded(what: str) -> set[str]:
    """The modules of a process that has what a first frame needs, or all screens."""
    done = subprocess.run([sys.executable, "-c", LOADED, what], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_first_frame_waits_for_no_other_screen() -> None:
    modules = loaded("first")
    others = {
        f"specdash.ui.tui.screens.{name}"
        for name in (*screen_registry.SCREENS, *screen_registry.STEPS)
        if name != "main"
    }
    assert "specdash.ui.tui.screens.main" in modules
    assert not modules & others
    assert not modules & {"specdash.config.load", "plotext", "tomli_w"}
    # Of analysis no more than the figures in the panes come from.
    needed = {"figures", "grouping", "sequential", "speedups", "stats"}
    analysis = {name.removeprefix("specdash.analysis.") for name in modules if name.startswith("specdash.analysis.")}
    assert analysis <= needed


@pytest.mark.parametrize("what", ["first", "all"])
def test_a_dashboard_has_neither_engines_nor_http(what: str) -> None:
    modules = loaded(what)
    assert not modules & {"aiohttp", "gguf", "numpy", "xllamacpp", "msgspec"}
    assert not [name for name in modules if name.startswith(("specdash.engines", "specdash.session.run"))]
