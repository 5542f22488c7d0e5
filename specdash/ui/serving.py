"""Lets clients in to a run, for as long as it goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from specdash.errors import StoreError
from specdash.runtime.sockets import socket_path
from specdash.session.handle import Handle
from specdash.ui.monitor import Monitor


@asynccontextmanager
async def serving(handle: Handle, complain: Callable[[str], None]) -> AsyncIterator[None]:
    """Serves the run on its socket. Where there can be none, the run goes on unwatched, and `complain` is told."""
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(Monitor(handle, socket_path(handle.path)))
        except StoreError as error:
            complain(f"this run cannot be attached to: {error.what}")
        yield
