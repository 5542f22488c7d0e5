"""The screens by their names. Each is loaded when it is wanted first: a first frame waits for no other screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

from textual.screen import Screen

Kind = type[Screen[Any]]

SCREENS: dict[str, tuple[str, str]] = {  # name: module and class
    "main": ("specdash.ui.tui.screens.main", "MainScreen"),
    "queue": ("specdash.ui.tui.screens.queue", "QueueScreen"),
    "results": ("specdash.ui.tui.screens.results", "ResultsScreen"),
    "logs": ("specdash.ui.tui.screens.logs", "LogsScreen"),
    "runs": ("specdash.ui.tui.screens.runs", "RunsScreen"),
    "start": ("specdash.ui.tui.screens.start", "StartScreen"),
}
STEPS: dict[str, tuple[str, str]] = {  # on top of the start screen
    "wizard": ("specdash.ui.tui.screens.wizard", "WizardScreen"),
    "plan": ("specdash.ui.tui.screens.plan", "PlanScreen"),
}
_NAMES = {where: name for name, where in (SCREENS | STEPS).items()}


def kind_of(name: str) -> Kind:
    """Return the class of a screen."""
    module, kind_name = (SCREENS | STEPS)[name]
    kind: Kind = getattr(import_module(module), kind_name)
    return kind


def screen_kinds() -> Iterator[tuple[str, Kind]]:
    """Yield all screens and their names, loading one after the other."""
    for name in SCREENS | STEPS:
        yield name, kind_of(name)


def makers() -> dict[str, Callable[[], Screen[Any]]]:
    """Return what makes a screen of each name, as Textual wants it."""
    return {name: partial(_make, name) for name in SCREENS}


def _make(name: str) -> Screen[Any]:
    return kind_of(name)()


def name_of(screen: Screen[Any]) -> str | None:
    """Return the name of a screen; None for a dialog. Loads nothing."""
    kinds = ((kind.__module__, kind.__name__) for kind in type(screen).__mro__)
    return next((_NAMES[kind] for kind in kinds if kind in _NAMES), None)
