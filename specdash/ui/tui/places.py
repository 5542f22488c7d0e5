"""The screens by their names. Each is loaded when it is wanted first: a first frame waits for no other screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

from textual.screen import Screen

Kind = type[Screen[Any]]

# Each is `NameScreen` of the module of that name.
SCREENS = ("main", "queue", "results", "logs", "runs", "start")
STEPS = ("wizard", "plan")  # on top of the start screen
_FOLDER = "specdash.ui.tui.screens"


def kind_of(name: str) -> Kind:
    """The class of a screen."""
    kind: Kind = getattr(import_module(f"{_FOLDER}.{name}"), f"{name.title()}Screen")
    return kind


def kinds() -> Iterator[tuple[str, Kind]]:
    """All screens and their names, loaded one by one."""
    for name in (*SCREENS, *STEPS):
        yield name, kind_of(name)


def makers() -> dict[str, Callable[[], Screen[Any]]]:
    """What makes a screen of each name, as Textual wants it."""
    return {name: partial(_make, name) for name in SCREENS}


def _make(name: str) -> Screen[Any]:
    return kind_of(name)()


def name_of(screen: Screen[Any]) -> str | None:
    """The name of a screen; None for a dialog. Loads nothing."""
    for kind in type(screen).__mro__:
        folder, _, name = kind.__module__.rpartition(".")
        if folder == _FOLDER and name in (*SCREENS, *STEPS) and kind.__name__ == f"{name.title()}Screen":
            return name
    return None
