"""The secrets of one run: kept out of its facts, its servers' logs and its own log.

A run's profile.toml holds them, since `resume` starts servers with them. Nothing else in the run folder does: words of
commands are mended where a fact is made of them (`core.secrets.public_words`), and what a server or a client has
written in free text is mended here, before it is recorded.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from specdash.core import events as ev
from specdash.core.measure import Verdict
from specdash.core.profile import Profile
from specdash.core.secrets import Redactor, is_secret_name, secret_values
from specdash.errors import unwritten
from specdash.store.disk import file_mode

# The fields of facts that quote what a program said. All others are ours: ids, names and numbers stay as they are.
QUOTING: Mapping[type[ev.Fact], tuple[str, ...]] = {
    ev.LoadStarted: ("argv", "command"),
    ev.StateChanged: ("detail",),
    ev.VerdictRaised: ("detail",),
    ev.StepFinished: ("error",),
    ev.LoadFinished: ("error", "hint", "log_tail"),
    ev.Noted: ("text",),
    ev.PlanChanged: ("reason",),
    ev.RunFinished: ("reason",),
    ev.EngineFound: ("version",),
}
_VERDICTS = frozenset(Verdict)
_PIECE_BYTES = 2**20
_INHERITED_CHARS = 8  # a shorter value of the user's environment is more likely a word than a secret


def secrets_of(profile: Profile, environment: Mapping[str, str]) -> frozenset[str]:
    """The secrets that a profile names, and those that its servers inherit from the user's environment."""
    engine = profile.engine
    commands = [engine.args, engine.wrap, engine.stop, tuple(engine.url.values()), *engine.launch.values()]
    for config in profile.configs:
        commands += [config.args, config.stop, tuple(config.url.values()), *config.launch.values()]
    commands.append((json.dumps(dict(engine.body), default=str),))
    found = secret_values((), engine.env).union(*(secret_values(words) for words in commands))
    if engine.api_key_env and (key := environment.get(engine.api_key_env)):
        found |= {key}
    inherited = (
        value
        for name, value in environment.items()
        if is_secret_name(name) and len(value) >= _INHERITED_CHARS and not _is_place(value)
    )
    return found.union(inherited)


def _is_place(value: str) -> bool:
    """Whether a value is a path or an address, as that of PWD or of an agent's socket is."""
    return value.startswith(("/", "~", "./", "../")) or "://" in value


class RunSecrets:
    """Takes the secrets of a run out of what is kept of it."""

    def __init__(self, profile: Profile, logs: Callable[[], Path]) -> None:
        """`logs` gives the folder of the logs, which may be moved while the run goes on."""
        self._redactor = Redactor(secrets_of(profile, os.environ))
        self._logs = logs
        self._clean_bytes: dict[tuple[int, int], int] = {}  # by file

    def without(self, fact: ev.Fact) -> ev.Fact:
        """The fact with every secret masked in what it quotes; a load's log is cleaned when the load begins or ends."""
        if not self._redactor:
            return fact
        if isinstance(fact, ev.LoadReady | ev.LoadFinished):
            self.clean_log(self._logs() / f"{fact.load}.log")
        if isinstance(fact, ev.SampleTaken):
            reasons = tuple(each if each in _VERDICTS else self._redactor.text(each) for each in fact.sample.reasons)
            return replace(fact, sample=replace(fact.sample, reasons=reasons))
        changed = {name: self._masked(getattr(fact, name)) for name in QUOTING.get(type(fact), ())}
        return replace(fact, **changed) if changed else fact

    def clean_log(self, path: Path) -> None:
        """Masks the secrets that a server has written to its log since the last call, in place and byte for byte."""
        if not self._redactor:
            return
        with suppress(OSError), path.open("r+b", buffering=0) as file:
            found = os.fstat(file.fileno())
            this = found.st_dev, found.st_ino
            # A secret may stand across the end of what was there the last time.
            start = max(0, self._clean_bytes.get(this, 0) - self._redactor.longest_bytes)
            while data := os.pread(file.fileno(), _PIECE_BYTES, start):
                clean = self._redactor.data(data)
                if clean != data:
                    os.pwrite(file.fileno(), clean, start)
                self._clean_bytes[this] = start + len(data)
                if len(data) < _PIECE_BYTES:
                    break
                start += len(data) - self._redactor.longest_bytes

    def clean_logs(self) -> None:
        """Masks what servers have written to all logs of the run, those of an earlier process too."""
        if self._redactor:
            for path in self._logs().glob("*.log"):
                self.clean_log(path)

    def formatter(self, template: str) -> logging.Formatter:
        """A formatter for specdash's own log of the run."""
        return _MaskingFormatter(template, self._redactor)

    def _masked(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._redactor.text(value)
        return tuple(self._redactor.text(each) for each in value) if isinstance(value, tuple) else value


class _MaskingFormatter(logging.Formatter):
    """Formats records of a log without the secrets of the run, those in tracebacks among them."""

    def __init__(self, template: str, redactor: Redactor) -> None:
        super().__init__(template)
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        return self._redactor.text(super().format(record))


LOG_NAME = "specdash.log"


class RunLog(logging.FileHandler):
    """Takes in all that specdash logs; nothing of it belongs on the user's terminal."""

    def __init__(self, folder: Path, secrets: RunSecrets) -> None:
        """Opens the log in this folder, which is made where it is missing. Raises StoreError."""
        try:
            folder.mkdir(mode=folder.parent.stat().st_mode & 0o777, exist_ok=True)
            (folder / LOG_NAME).touch(file_mode(folder))
            super().__init__(folder / LOG_NAME, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise unwritten(f"{folder / LOG_NAME} cannot be written", error) from error
        self.setFormatter(secrets.formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """Says nothing: the disk is full, or the folder gone for a moment."""

    def keep(self, folder: Path) -> None:
        """From now on the log is there; it is opened again where the file was moved or deleted."""
        path = folder / LOG_NAME
        if self.baseFilename == str(path.absolute()) and os.path.exists(path):
            return
        with suppress(OSError):
            self.close()
            self.baseFilename = str(path.absolute())
            folder.mkdir(mode=folder.parent.stat().st_mode & 0o777, exist_ok=True)
            path.touch(file_mode(folder))
            self.stream = self._open()
