"""What both ends of the wire between an engine process and its clients share: framing, the pointer to it, log pieces.

Protocol 1: one JSON object a line, both ways. A client begins with {"hello":1,"since":N}, where N is the number of the
last fact that it has; the answer is {"welcome":1,"path","pid","host","specdash"}, or {"gone":"sentence"}. Then come the
lines of the journal as they are in the file, {"caught_up":true}, and from then on further lines of the journal and
ticks ({"tick":kind,...}) as they come, and {"moved":"path"} where the run folder is somewhere else now.
{"gone":"sentence"} says that nothing more will happen. A client may ask:

    {"id":n,"command":{...}}                    store.codec.encode_command
    {"id":n,"log":load,"offset":o,"size":s}     a negative offset counts from the end of the log

and is told {"reply":n,...}, for a log with "offset", "size" (of the file) and "data" (base64), or
{"reply":n,"error":"sentence"}. The first member of a server's line says what it is: "v" for a line of the journal.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from specdash.core.state import RunState
from specdash.remote.run_source import LogPiece, SourceError
from specdash.store.disk import write_atomic

PROTOCOL = 1
MOST_CLIENT_BYTES = 1024 * 1024  # a line of a client's
# A line of the journal is as long as the list of steps in it: 100,000 steps have some 25 MB.
MOST_SERVER_BYTES = 64 * 1024 * 1024
MOST_LOG_BYTES = 256 * 1024
POINTER_NAME = "engine.json"

NOBODY = "no engine is at work on this run; go on with it: specdash resume {}"

FACT = b'{"v":'
REPLY = b'{"reply":'


class BadLine(ValueError):
    """A line that the protocol does not know; the message is for the one who sent it."""


class Lines:
    """Lines out of a stream of bytes, however it is cut; holds at most one unfinished line."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held: list[bytes] = []
        self._held_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end in `data`, without their line feeds; raises BadLine for one that is too long."""
        first, *more = data.split(b"\n")
        self._held.append(first)
        self._held_bytes += len(first)
        lines: list[bytes] = []
        if more:
            lines = [b"".join(self._held), *more[:-1]]
            self._held, self._held_bytes = [more[-1]], len(more[-1])
        if self._held_bytes > self._most_bytes or any(len(line) > self._most_bytes for line in lines):
            raise BadLine(f"a line has more than {self._most_bytes} bytes")
        return lines


def encode_message(body: dict[str, Any]) -> bytes:
    """A message as a line, in ASCII."""
    return json.dumps(body, separators=(",", ":")).encode("ascii") + b"\n"


def decode_message(line: bytes) -> dict[str, Any]:
    """The message of a line; raises BadLine."""
    try:
        body = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadLine("a line is no JSON") from error
    if not isinstance(body, dict):
        raise BadLine("a line is no JSON object")
    return body


@dataclass(frozen=True, slots=True)
class Pointer:
    """What a run folder says of the engine process at work on it: `started` is ISO 8601, UTC."""

    pid: int
    host: str
    socket: str
    started: str


def write_pointer(run: Path, pointer: Pointer) -> None:
    """Puts the pointer into a run folder; raises StoreError."""
    write_atomic(run / POINTER_NAME, json.dumps(asdict(pointer)) + "\n")


def read_pointer(run: Path) -> Pointer | None:
    """The pointer of a run folder; None where there is none that can be read."""
    try:
        body = json.loads((run / POINTER_NAME).read_bytes())
        return Pointer(int(body["pid"]), str(body["host"]), str(body["socket"]), str(body["started"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def remove_pointer(run: Path, pointer: Pointer) -> None:
    """Removes the pointer of a run folder, unless another engine has put its own there."""
    if read_pointer(run) == pointer:
        with suppress(OSError):
            (run / POINTER_NAME).unlink()


def read_log(run: Path, name: str, offset: int, size: int) -> LogPiece:
    """A part of the log `name` of a run, at most MOST_LOG_BYTES; nothing outside the run folder is ever read.

    Raises SourceError where there is no such log.
    """
    try:
        inside = run.resolve()
        path = (inside / name).resolve()
        if not path.is_relative_to(inside):
            raise SourceError(f"{name} is not in the run folder")
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise SourceError(f"{name} is no file")
            begin = min(offset, found.st_size) if offset >= 0 else max(0, found.st_size + offset)
            data = os.pread(descriptor, max(0, min(size, MOST_LOG_BYTES)), begin)
            return LogPiece(begin, found.st_size, data)
        finally:
            os.close(descriptor)
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SourceError(f"{name} cannot be read: {reason}") from error


def log_name(view: RunState, load_id: str) -> str:
    """The file name of a load's log in the run folder; raises SourceError for a load that the run does not have."""
    found = view.loads.get(load_id)
    if found is None:
        raise SourceError(f"there is no load {load_id[:40]!r} in this run")
    return found.log


def reason_run_ended(view: RunState, name: str) -> str:
    """Why nothing more will come from a run folder that no engine is at work on, in a sentence."""
    if view.finished is None:
        return f"its engine is gone; go on with: specdash resume {name}"
    if view.finished.state == "finished":
        return "this run is finished"
    return f"this run was stopped; go on with: specdash resume {name}"
