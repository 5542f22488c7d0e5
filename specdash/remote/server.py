"""The engine's socket: every client of a run comes in here, and the run folder points to it.

Clients are only told and only ask (`remote.client_session`); none of them can slow the run, fail it, or outlast it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from specdash.core.commands import BadCommand, Command
from specdash.core.reduce import fold_all
from specdash.core.ticks import Telemetry
from specdash.errors import DiskFull, StoreError
from specdash.remote.client_session import LINGER_S, PIECE_BYTES, ClientSession
from specdash.remote.protocol import (
    NOBODY,
    POINTER_NAME,
    Pointer,
    encode_message,
    reason_run_ended,
    remove_pointer,
    write_pointer,
)
from specdash.runtime.sockets import bind, socket_path, trusted
from specdash.session.handle import Handle
from specdash.store.journal import read
from specdash.store.runs import JOURNAL

log = logging.getLogger(__name__)


class SocketServer:
    """The socket of an engine process, for `async with` in its event loop: from its first fact to its last.

    Raises StoreError where the socket or the pointer in the run folder cannot be made.
    """

    def __init__(self, handle: Handle, socket_path: Path) -> None:
        self._handle = handle
        self._told_path = handle.path
        self._socket_path = socket_path
        started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._pointer = Pointer(os.getpid(), socket.gethostname(), str(socket_path), started)
        self._desk = ClientSession(handle, os.getpid())
        self._desk.on_moved = self._point_again
        self._desk.carry_out = self._carry_out
        self._command = handle.command
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def clients(self) -> int:
        """How many are connected now."""
        return len(self._desk.clients)

    async def __aenter__(self) -> SocketServer:
        listener = bind(self._socket_path)
        try:
            write_pointer(self._handle.path, self._pointer)
        except DiskFull:
            pass  # it is tried again every second, and clients of this machine find the engine without it
        except StoreError:
            listener.close()
            self._socket_path.unlink(missing_ok=True)
            raise
        await self._group.__aenter__()
        self._handle.on_kept.append(self._follow)
        self._server = await asyncio.start_unix_server(self._connected, sock=listener, limit=PIECE_BYTES)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        with suppress(OSError):
            self._socket_path.unlink()
        self._handle.on_kept.remove(self._follow)
        remove_pointer(self._handle.path, self._pointer)
        self._desk.closing = True
        self._desk.wake()
        try:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=LINGER_S)
        finally:
            for task in self._tasks:
                task.cancel()
            # Without the error of the run: a task group would wrap it.
            await self._group.__aexit__(None, None, None)
            self._desk.facts.close()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._desk.closing or not trusted(writer.get_extra_info("socket")):
            writer.transport.abort()
            return
        self._spawn(self._desk.serve(reader, writer))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, command: Command) -> None:
        """Carries a command out to its end, even where the client that sent it leaves meanwhile."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._spawn(self._carried_out(command, done))
        await done

    async def _carried_out(self, command: Command, done: asyncio.Future[None]) -> None:
        try:
            await self._command(command)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for the client and not for the task group
            if not done.cancelled():
                done.set_exception(error)
        else:
            if not done.cancelled():
                done.set_result(None)
        finally:
            done.cancel()  # the engine ends: nobody can carry the command out any more

    def _follow(self) -> None:
        """Tells clients where the run folder is now, where it was moved, and keeps the pointer in it."""
        if self._told_path != self._handle.path:
            self._told_path = self._handle.path
            self._desk.tell_place()
        if not os.path.exists(self._handle.path / POINTER_NAME):
            self._point_again()

    def _point_again(self) -> None:
        """The run folder has come back without the pointer, or there was no room for it."""
        try:
            write_pointer(self._handle.path, self._pointer)
        except StoreError as error:
            log.warning("%s", error.what)


@asynccontextmanager
async def serving(handle: Handle, complain: Callable[[str], None]) -> AsyncIterator[None]:
    """Serves the run on its socket. Where there can be none, the run goes on unwatched, and `complain` is told."""
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(SocketServer(handle, socket_path(handle.path)))
        except StoreError as error:
            complain(f"this run cannot be attached to: {error.what}")
        yield


async def serve_folder(path: Path, connection: socket.socket) -> None:
    """Answers one client, through a connected socket, for a run that nothing is at work on."""
    reader, writer = await asyncio.open_connection(sock=connection, limit=PIECE_BYTES)
    try:
        view = fold_all(read(path / JOURNAL).records)
    except StoreError as error:
        writer.write(encode_message({"gone": error.what}))
        writer.close()
        await writer.wait_closed()
        return

    async def refuse(command: Command) -> None:
        raise BadCommand(NOBODY.format(path.name))

    handle = Handle(path, lambda: view, Telemetry, refuse, lambda subscription: lambda: None)
    await ClientSession(handle, None, reason_run_ended(view, path.name)).serve(reader, writer)
