"""A server that runs already: nothing is started, looked into or ended.

It may be on another machine, so no listener is proven and no memory is counted; that it hangs is known by its silence
alone. Stopping it only lets go of it.
"""

from __future__ import annotations

import asyncio

from specdash.runtime.serverprocess import ExitInfo
from specdash.runtime.stopped import Stops


class AttachedProcess:
    """Stands where `runtime.process.GuardedProcess` stands for a server of ours; see `ServerProcess`."""

    server_pid: int | None = None
    is_ours = False

    def __init__(self) -> None:
        self.stops = Stops()
        self._released = asyncio.Event()

    def tree(self) -> tuple[int, ...]:
        """None of its processes is ours."""
        return ()

    def work_seconds(self) -> float:
        """Stands still: whoever sends nothing for `stall_s` is taken for hung."""
        return 0.0

    def rss_bytes(self) -> int:
        """Nothing is counted."""
        return 0

    def read_bytes(self) -> int | None:
        """Nothing tells."""
        return None

    def prove(self, port: int) -> None:
        """Whose server it is was said by the user."""

    async def wait_gone(self) -> ExitInfo:
        """Waits until it is let go of."""
        await self._released.wait()
        return ExitInfo(None, None)

    async def stop(self) -> ExitInfo:
        """Lets go of it."""
        self._released.set()
        return await self.wait_gone()
