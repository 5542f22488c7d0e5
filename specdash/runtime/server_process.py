"""What `runtime.server` needs of a server's process, whether it was started here or is somebody else's, and its end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from specdash.runtime.stopped import Stops


@dataclass(frozen=True, slots=True)
class ExitInfo:
    """How a process ended: exit code, or the signal that ended it; `stuck` are pids that KILL could not end.

    `left` is for a launch command that ended well without leaving a server: "nothing", or "earlier" where its pid file
    names a process of before the launch.
    """

    code: int | None
    signal: int | None
    stuck: tuple[int, ...] = ()
    left: str = ""

    @property
    def sentence(self) -> str:
        """The end in words, as the second half of "the server ..."."""
        if self.signal is not None:
            known = self.signal in set(signal.Signals)
            return f"was ended by {signal.Signals(self.signal).name if known else f'signal {self.signal}'}"
        if self.code is not None:
            return f"exited with code {self.code}"
        return "ended in a way nobody saw"

    def failure(self, while_what: str, pid_file: object = None) -> tuple[str, str]:
        """(what, what to do) where it was not asked to end; `while_what` is what the server was doing."""
        if not self.left:
            return f"the server {self.sentence} while {while_what}", ""
        what = f"the launch script ended with code {self.code} and left no server"
        if self.left == "earlier":
            return (
                f"{what} of its own: {pid_file} names a process that ran before",
                "Stop that server first, with your stop script.",
            )
        if pid_file is None:
            todo = "set engine.pid_file if something else starts it, such as a service manager."
        else:
            todo = f"{pid_file} named none in time."
        return what, f"Does the script start it, and let it go on (nohup, setsid)? If so, {todo}"


class ServerProcess(Protocol):
    """The processes behind one launch."""

    @property
    def server_pid(self) -> int | None:
        """The process that its pid file names, else the one that was started; None where it is not ours."""

    @property
    def is_ours(self) -> bool:
        """Whether it was started here, and so will be ended here."""

    @property
    def stops(self) -> Stops:
        """When its processes were stopped or frozen, as far as that is seen."""

    def tree(self) -> Sequence[int]:
        """Pids of the server and its descendants; none where it is not ours to look at."""

    def work_seconds(self) -> float:
        """What tells a slow server from a hung one; standing still where nothing is known."""

    def rss_bytes(self) -> int:
        """Resident memory of the tree."""

    def read_bytes(self) -> int | None:
        """Bytes that the tree has read; None where nothing tells."""

    def prove(self, port: int) -> None:
        """Raises `runtime.listener.NotOurServer` unless the one listener on a local port is of this tree."""

    async def wait_gone(self) -> ExitInfo:
        """Waits until nothing of it is left."""

    async def stop(self) -> ExitInfo:
        """Ends it, or lets go of what is not ours."""


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
