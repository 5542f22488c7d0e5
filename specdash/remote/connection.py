"""A client's end of an open wire: what came in waits until somebody asks for the next event.

So a client that is busy reads no more than it has to: the engine keeps the facts on disk for it, and drops the ticks
that have become old. The protocol is described in `remote.protocol`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from specdash.core.commands import Command
from specdash.core.events import Recorded, RunFinished, RunResumed, RunStarted
from specdash.core.text import one_line
from specdash.errors import StoreError
from specdash.remote.protocol import (
    FACT,
    MOST_SERVER_BYTES,
    PROTOCOL,
    REPLY,
    BadLine,
    Lines,
    decode_message,
    encode_message,
)
from specdash.remote.run_source import (
    MODELS,
    CaughtUp,
    CommandRefused,
    Event,
    Gone,
    LogPiece,
    Moved,
    Origin,
    SourceError,
    own_argv,
)
from specdash.store.codec import decode_tick, encode_command
from specdash.store.journal import parse_line

HELD_BYTES = 1024 * 1024  # read ahead of whoever takes the events
NOISE_LINES = 200  # what a login shell at the other end may say before specdash does
EVENTS_AT_ONCE = 200  # then others have their turn, however much there is to replay


class Connection(asyncio.Protocol):
    """An open connection: lines wait for whoever takes them, replies go to whoever asked."""

    def __init__(self) -> None:
        self.ended = False
        self.problem: str | None = None  # what was wrong with what came, where that ended it
        self._lines = Lines(MOST_SERVER_BYTES)
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._taken = 0
        self._news = asyncio.Event()
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last_id = 0
        self._paused = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there (asyncio.Protocol)."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes have come (asyncio.Protocol)."""
        try:
            for line in self._lines.feed(data):
                if line.startswith(REPLY):
                    self._replied(decode_message(line))
                else:
                    self._held.append(line)
                    self._held_bytes += len(line)
        except BadLine as error:
            self.problem = f"what came makes no sense: {error}"
            self.close()
        self._news.set()
        self._flow()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come (asyncio.Protocol)."""
        self.ended = True
        for future in self._asked.values():
            if not future.done():
                future.set_exception(SourceError("the connection ended before the answer came"))
        self._news.set()

    def send(self, body: dict[str, Any]) -> None:
        """Sends a message; into the void once the connection has ended."""
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(encode_message(body))

    async def next(self) -> bytes | None:
        """The next line that is no reply; None once the connection has ended."""
        while not self._held:
            if self.ended:
                return None
            self._news.clear()
            await self._news.wait()
        self._taken += 1
        if self._taken % EVENTS_AT_ONCE == 0:
            await asyncio.sleep(0)
        line = self._held.popleft()
        self._held_bytes -= len(line)
        self._flow()
        return line

    async def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Sends a request and waits for its reply; raises SourceError when the connection ends first."""
        if self.ended:
            raise SourceError("the connection has ended")
        self._last_id += 1
        number = self._last_id
        self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self.send({"id": number, **body})
            self._flow()
            return await self._asked[number]
        finally:
            del self._asked[number]

    def close(self) -> None:
        """Ends the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def _replied(self, body: dict[str, Any]) -> None:
        future = self._asked.get(body.get("reply", 0))
        if future is not None and not future.done():
            future.set_result(body)

    def _flow(self) -> None:
        """Reads no further than needed; but on, while an answer is waited for that may stand behind the rest."""
        full = self._held_bytes > HELD_BYTES and not self._asked
        if full != self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = full
            if full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()


def hello(since: int) -> dict[str, Any]:
    """What a client says first; facts up to number `since` are not told to it."""
    return {"hello": PROTOCOL, "since": since}


async def greet(wire: Connection, since: int) -> dict[str, Any] | None:
    """Says hello; the welcome, as `welcomed` gives it."""
    wire.send(hello(since))
    return await welcomed(wire)


async def welcomed(wire: Connection) -> dict[str, Any] | None:
    """The answer to a hello; None when the connection ended without one.

    Raises SourceError when the other end refuses or speaks something else.
    """
    for _ in range(NOISE_LINES):
        line = await wire.next()
        if line is None:
            return None
        try:
            body = decode_message(line)
        except BadLine:
            continue
        if "gone" in body:
            raise SourceError(one_line(str(body["gone"])))
        if body.get("welcome") == PROTOCOL:
            return body
        if "welcome" in body:
            raise SourceError(f"the engine is specdash {body.get('specdash')}; use that version to look at its run")
    raise SourceError("the other end does not speak as specdash does")


class EngineSource(ABC):
    """A run at the other end of a wire. `is_over` tells whether its last fact has come."""

    def __init__(self, wire: Connection, origin: Origin) -> None:
        self._wire = wire
        self._origin = origin
        self._closed = False
        self.is_over = False

    @property
    def origin(self) -> Origin:
        """Where it is."""
        return self._origin

    @property
    def models_argv(self) -> Sequence[str] | None:
        """The command that prints the models on the engine's machine: here."""
        return own_argv(*MODELS)

    @property
    def name(self) -> str:
        """The name of the run."""
        return Path(self._origin.path).name

    async def events(self) -> AsyncIterator[Event]:
        """Facts, CaughtUp, facts and ticks, Gone; ends without Gone after `close`. Raises SourceError."""
        while (line := await self._wire.next()) is not None:
            event = self._event(line)
            if event is not None:
                yield event
                if isinstance(event, Gone):
                    return
        if not self._closed:
            yield await self._why_gone()

    async def command(self, command: Command) -> None:
        """Asks the engine for something. Raises Refused, or SourceError."""
        reply = await self._wire.ask({"command": encode_command(command)})
        if "error" in reply:
            raise CommandRefused(str(reply["error"]))

    async def log(self, load: str, offset: int, size: int) -> LogPiece:
        """A part of a load's log. Raises SourceError."""
        reply = await self._wire.ask({"log": load, "offset": offset, "size": size})
        if "error" in reply:
            raise SourceError(str(reply["error"]))
        try:
            return LogPiece(int(reply["offset"]), int(reply["size"]), base64.b64decode(reply["data"]))
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise SourceError("the answer makes no sense") from error

    async def close(self) -> None:
        """Lets go of the run."""
        self._closed = True
        self._wire.close()

    @abstractmethod
    async def _why_gone(self) -> Gone:
        """Why the connection ended."""

    def _event(self, line: bytes) -> Event | None:
        """What a line says; None for what this version does not know. Raises SourceError."""
        if line.startswith(FACT):
            try:
                recorded = parse_line(line, verify=False)
            except StoreError as error:
                raise SourceError(str(error)) from error
            self._note_end(recorded)
            return recorded
        try:
            body = decode_message(line)
        except BadLine as error:
            raise SourceError(f"what came makes no sense: {error}") from error
        if "tick" in body:
            return decode_tick(body)
        if "caught_up" in body:
            return CaughtUp()
        if "moved" in body:
            self._origin = replace(self._origin, path=str(body["moved"]))
            return Moved(self._origin.path)
        return Gone(one_line(str(body["gone"]))) if "gone" in body else None

    def _note_end(self, recorded: Recorded | None) -> None:
        if recorded is not None and isinstance(recorded.fact, RunFinished | RunStarted | RunResumed):
            self.is_over = isinstance(recorded.fact, RunFinished)


def origin_of(welcome: dict[str, Any], *, is_local: bool) -> Origin:
    """Where a run is, as its engine says."""
    pid = welcome.get("pid")
    texts = (str(welcome.get(name, "?")) for name in ("path", "host", "specdash"))
    path, host, version = texts
    return Origin(path, host, pid if isinstance(pid, int) else None, is_local, version)
