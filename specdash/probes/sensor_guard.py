"""Sensors that may be missing, raise or come back later: each is asked in a way that never costs the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

RETRY_S = 60.0  # a driver that is installed or comes back is seen within a minute; one that is broken costs nothing

T = TypeVar("T")


class SensorUnavailable(Exception):
    """A sensor has no value: `note` is the sentence for a person, `retry_s` how long it is not asked again."""

    def __init__(self, note: str, retry_s: float = RETRY_S) -> None:
        super().__init__(note)
        self.note = note
        self.retry_s = retry_s


class SensorGuard:
    """Asks sensors; one that fails is left alone for a while, and its note stands for it meanwhile."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._silent: dict[str, tuple[float, str]] = {}

    def ask(self, name: str, sensor: Callable[[], T], notes: list[str]) -> T | None:
        """What `sensor` tells; None, with a sentence added to `notes`, while it does not. Raises nothing of its own."""
        until_s, note = self._silent.get(name, (0.0, ""))
        if note and self._clock() < until_s:
            notes.append(note)
            return None
        self._silent.pop(name, None)
        try:
            return sensor()
        except SensorUnavailable as reason:
            note, retry_s = reason.note, reason.retry_s
        except Exception as error:  # noqa: BLE001 - drivers raise what they like, and no pane is worth a sweep
            note, retry_s = f"{name}: could not be read ({str(error) or type(error).__name__}).", RETRY_S
        self._silent[name] = (self._clock() + retry_s, note)
        notes.append(note)
        return None
