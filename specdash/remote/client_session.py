"""One client at the other end of the wire: it is given the facts of a run from its journal, and the newest ticks.

For a client the engine keeps a byte offset into the journal and the newest tick of each kind that it has not been sent,
and nothing else: facts wait on disk, ticks are overwritten. So one that stops reading costs nothing and slows nobody.
Nothing that a client does, or that goes wrong here, may reach the run. The protocol is described in `remote.protocol`.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from specdash import __version__
from specdash.core.commands import BadCommand, Command
from specdash.core.events import Recorded
from specdash.core.queue import IllegalEdit
from specdash.core.state import RunState
from specdash.core.ticks import Tick
from specdash.errors import SpecdashError
from specdash.remote.protocol import (
    MOST_CLIENT_BYTES,
    PROTOCOL,
    BadLine,
    Lines,
    decode_message,
    encode_message,
    log_name,
    read_log,
)
from specdash.remote.run_source import SourceError
from specdash.session.handle import Handle, Subscription
from specdash.store.codec import decode_command, encode_tick
from specdash.store.runs import JOURNAL

log = logging.getLogger(__name__)

PIECE_BYTES = 64 * 1024
MOST_CLIENTS = 64
HELLO_S = 10.0  # a connection that says nothing must not keep its place
LINGER_S = 2.0  # how long the end of a run waits for clients to take its last facts


class _Broken(Exception):
    """The journal cannot be read on from where a client is; the message is a sentence."""


class _JournalFile:
    """The file of the facts, read by byte offset; found again by its name once another file has it."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._descriptor = -1
        self._identity: tuple[int, int] | None = None

    def refresh(self) -> bool:
        """Makes sure that the file of that name is read; True when it is another one than before.

        While there is none, the one that had the name is read on: the facts in it are still those of the run.
        """
        try:
            path = self._handle.path / JOURNAL
            found = path.stat()
            if (found.st_dev, found.st_ino) == self._identity:
                return False
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if self._descriptor >= 0:
                return False
            raise _Broken(f"the journal of this run cannot be read: {error.strerror}") from error
        moved = self._descriptor >= 0
        self.close()
        self._descriptor = descriptor
        opened = os.fstat(descriptor)
        self._identity = (opened.st_dev, opened.st_ino)
        return moved

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset`."""
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise _Broken(f"the journal of this run cannot be read: {error.strerror}") from error

    def whole(self, offset: int) -> int:
        """Where to read to from `offset`, the begin of a line: to the end of a line, and no further than needed.

        `offset` itself when no line ends behind it yet. A long line is looked through, never held.
        """
        if offset and self.read(offset - 1, 1) != b"\n":
            raise _Broken("the journal of this run was replaced by something else")
        piece = self.read(offset, PIECE_BYTES)
        if (end := piece.rfind(b"\n")) >= 0:
            return offset + end + 1
        at = offset + len(piece)
        while piece := self.read(at, PIECE_BYTES):
            if (end := piece.find(b"\n")) >= 0:
                return at + end + 1
            at += len(piece)
        return offset

    async def after(self, lines: int) -> int:
        """The offset behind that many lines, or behind the last whole one: records are numbered by their lines."""
        offset = 0
        while lines > 0 and (end := self.whole(offset)) > offset:
            piece = self.read(offset, min(end - offset, PIECE_BYTES))
            found = max(1, piece.count(b"\n"))  # a line that is longer than a piece is the only one up to `end`
            if found > lines:
                position = -1
                for _ in range(lines):
                    position = piece.index(b"\n", position + 1)
                return offset + position + 1
            lines, offset = lines - found, end
            await asyncio.sleep(0)
        return offset

    def close(self) -> None:
        """Lets go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class _TickLine:
    """A tick that several clients may be sent: encoded at most once, and only if anybody takes it."""

    def __init__(self, tick: Tick) -> None:
        self._tick = tick
        self._line = b""

    def line(self) -> bytes:
        """The tick as a line of the protocol."""
        if not self._line:
            self._line = encode_message(encode_tick(self._tick))
        return self._line


class ClientSession:
    """Answers the clients of one run, whatever way they came.

    `pid` is that of the engine, None for a run that nothing is at work on; `gone` is then the sentence that ends it.
    """

    def __init__(self, handle: Handle, pid: int | None, gone: str | None = None) -> None:
        self.handle = handle
        self.gone = gone
        self.facts = _JournalFile(handle)
        self.clients: set[_Client] = set()
        self.closing = False
        self.on_moved: Callable[[], None] = lambda: None
        self.carry_out: Callable[[Command], Awaitable[None]] = handle.command
        self._pid = pid
        self._unsubscribe: Callable[[], None] | None = None

    def welcome(self) -> bytes:
        """The answer to a client's first line."""
        who = {"path": str(self.handle.path.absolute()), "pid": self._pid, "host": socket.gethostname()}
        return encode_message({"welcome": PROTOCOL, **who, "specdash": __version__})

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one client until it leaves; never raises but when cancelled."""
        client = _Client(self, reader, writer)
        try:
            if len(self.clients) >= MOST_CLIENTS:
                await client.refuse(f"{MOST_CLIENTS} dashboards are on this run already; close one of them")
                return
            self._enter(client)
            await client.serve()
        except (ConnectionError, TimeoutError) as error:
            log.debug("a client is gone: %r", error)
        except Exception:
            log.exception("a client is dropped")
        finally:
            self._leave(client)
            writer.transport.abort()

    def tell_place(self) -> None:
        """Tells all clients where the run folder is now."""
        for client in self.clients:
            client.place = encode_message({"moved": str(self.handle.path.absolute())})
            client.wake.set()

    def wake(self) -> None:
        """Lets all clients look for something new."""
        for client in self.clients:
            client.wake.set()

    def refresh(self) -> None:
        """Looks the journal up by its name; raises _Broken."""
        if self.facts.refresh():
            self.on_moved()

    def _enter(self, client: _Client) -> None:
        self.clients.add(client)
        if self._unsubscribe is None:
            self._unsubscribe = self.handle.subscribe(Subscription(self._on_fact, self._on_tick))

    def _leave(self, client: _Client) -> None:
        self.clients.discard(client)
        if not self.clients and self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def _on_fact(self, recorded: Recorded, view: RunState) -> None:
        self.wake()

    def _on_tick(self, tick: Tick) -> None:
        line = _TickLine(tick)
        for client in self.clients:
            client.ticks[tick.subject] = line
            client.wake.set()


class _Client:
    """One client: what it has been sent, and what it asks."""

    def __init__(self, desk: ClientSession, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.wake = asyncio.Event()
        self.ticks: dict[str, _TickLine] = {}
        self.place = b""  # where the run folder is now, if it was moved and that is not told yet
        self._desk = desk
        self._reader = reader
        self._writer = writer
        self._lines = Lines(MOST_CLIENT_BYTES)
        self._requests: deque[bytes] = deque()
        self._offset = 0
        self._turn = asyncio.Lock()  # a line of the journal may go out in pieces; nothing may come between them
        writer.transport.set_write_buffer_limits(high=PIECE_BYTES)

    async def serve(self) -> None:
        """Greets, then sends and listens until either ends."""
        try:
            async with asyncio.timeout(HELLO_S):
                hello = decode_message(await self._request())
            since = hello.get("since", 0)
            if hello.get("hello") != PROTOCOL or type(since) is not int:
                raise BadLine(f"this is specdash {__version__}, which speaks protocol {PROTOCOL}: use that version")
            self._desk.refresh()
            self._offset = await self._desk.facts.after(since)
        except (BadLine, _Broken) as error:
            return await self.refuse(str(error))
        await self._send(self._desk.welcome())
        async with asyncio.TaskGroup() as tasks:
            both = [tasks.create_task(self._give()), tasks.create_task(self._listen())]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in both:
                task.cancel()
        return None

    async def refuse(self, sentence: str) -> None:
        """Says why nothing more comes, and closes; a client that does not read is not waited for."""
        if self._turn.locked():
            return
        async with self._turn:  # nothing comes after it
            self._writer.write(encode_message({"gone": sentence}))
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    await self._writer.drain()
                    self._writer.close()
                    await self._writer.wait_closed()

    async def _send(self, line: bytes) -> None:
        async with self._turn:
            self._writer.write(line)
            await self._writer.drain()

    async def _give(self) -> None:
        """Facts and ticks, until the run is over and all of it was sent."""
        try:
            await self._give_facts()
            await self._send(encode_message({"caught_up": True}))
            live = self._desk.handle.live()
            for tick in live.newest:
                self.ticks.setdefault(tick.subject, _TickLine(tick))
            if self._desk.gone is not None:
                await self._send(encode_message({"gone": self._desk.gone}))
                await asyncio.Event().wait()  # logs can still be asked for
            while True:
                self.wake.clear()
                last = self._desk.closing
                await self._give_facts()
                if self.place:
                    place, self.place = self.place, b""
                    await self._send(place)
                for kind in list(self.ticks):
                    await self._send(self.ticks.pop(kind).line())
                if last:
                    self._writer.close()
                    return await self._writer.wait_closed()
                await self.wake.wait()
        except _Broken as error:
            await self.refuse(str(error))
        except ConnectionError as error:
            log.debug("a client is gone: %r", error)

    async def _give_facts(self) -> None:
        """All whole lines of the journal that this client has not been sent, a piece at a time."""
        facts = self._desk.facts
        self._desk.refresh()
        while (end := facts.whole(self._offset)) > self._offset:
            async with self._turn:
                while self._offset < end:
                    piece = facts.read(self._offset, min(PIECE_BYTES, end - self._offset))
                    if not piece:
                        raise _Broken("the journal of this run was cut short by something else")
                    self._writer.write(piece)
                    self._offset += len(piece)
                    await self._writer.drain()
            await asyncio.sleep(0)  # a drain does not wait for a client that reads fast, and others have work too

    async def _listen(self) -> None:
        """Answers requests until the client leaves or sends what cannot be understood."""
        with suppress(ConnectionError):
            try:
                while line := await self._request():
                    await self._send(encode_message(await self._answer(decode_message(line))))
            except BadLine as error:
                await self.refuse(str(error))

    async def _request(self) -> bytes:
        """The next line of the client; b"" once it has left. Raises BadLine."""
        while not self._requests:
            data = await self._reader.read(PIECE_BYTES)
            if not data:
                return b""
            self._requests += [line for line in self._lines.feed(data) if line.strip()]
        return self._requests.popleft()

    async def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        number = body.get("id")
        if type(number) is not int:
            raise BadLine("a request needs a number: id")
        try:
            if "command" in body:
                await self._command(body["command"])
                return {"reply": number}
            return {"reply": number, **self._log(body)}
        except (BadCommand, IllegalEdit, SourceError) as error:
            return {"reply": number, "error": str(error)}
        except SpecdashError as error:
            return {"reply": number, "error": error.what}
        except Exception:
            log.exception("a request failed")
            return {"reply": number, "error": "this failed within specdash; logs/specdash.log of the run has details"}

    async def _command(self, body: Any) -> None:
        if not isinstance(body, dict):
            raise BadCommand("a command is an object")
        await self._desk.carry_out(decode_command(body))

    def _log(self, body: dict[str, Any]) -> dict[str, Any]:
        name, offset, size = body.get("log"), body.get("offset"), body.get("size")
        if not isinstance(name, str) or type(offset) is not int or type(size) is not int:
            raise SourceError("a log is asked for with log, offset and size")
        handle = self._desk.handle
        file_name = log_name(handle.view(), name)
        handle.clean_log(handle.path / file_name)
        piece = read_log(handle.path, file_name, offset, size)
        return {"offset": piece.offset, "size": piece.size, "data": base64.b64encode(piece.data).decode()}
