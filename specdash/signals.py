"""The signals that end a command, and a run: INT, TERM, and HUP, which a lost terminal sends at any moment.

A command without a run ends by an exception, so that what it has begun is tidied up. A run holds them from before its
journal exists until its reports are written: a moment in which nobody did would kill the process there, without an end
in the journal.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from specdash.errors import Exit

if TYPE_CHECKING:
    import asyncio

SIGNALS = {
    signal.SIGINT: Exit.INTERRUPTED,
    signal.SIGTERM: Exit.TERMINATED,
    signal.SIGHUP: Exit.HANGUP,
}
"""The signals that end specdash cleanly, and the exit code that tells of each."""

Told = Callable[[signal.Signals], None]


def hangup_is_ignored() -> bool:
    """Whether a lost terminal must not end this process: started with nohup, or detached from any terminal."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return True
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return True
    return False


def _is_left_ignored(number: signal.Signals) -> bool:
    return number == signal.SIGINT and signal.getsignal(number) is signal.SIG_IGN


def end_by_exit() -> None:
    """From now on TERM and HUP end this process as Ctrl-C does: by an exception, with their exit codes."""
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGHUP, signal.SIG_IGN if hangup_is_ignored() else _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(int(SIGNALS[signal.Signals(number)]))


class Signals:
    """INT, TERM and HUP of this process, for `with`, in its main thread. `first` is the one that came first.

    INT and HUP stay ignored where they were (nohup, a shell's background job), and HUP is ignored where there is no
    terminal to lose.
    """

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self._tell: Told | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        for number in SIGNALS:
            ignored = hangup_is_ignored() if number == signal.SIGHUP else _is_left_ignored(number)
            self._before[number] = signal.signal(number, signal.SIG_IGN if ignored else self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def told(self, tell: Told) -> Iterator[None]:
        """Calls `tell` in the running loop for each signal that comes, and soon for one that has come already."""
        import asyncio

        loop = asyncio.get_running_loop()
        woken, waking = socket.socketpair()
        woken.setblocking(False)
        waking.setblocking(False)

        def drain() -> None:
            with suppress(BlockingIOError):
                woken.recv(4096)

        # A handler runs once the interpreter is awake; a loop that waits for its sockets is woken by this one.
        before = signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        loop.add_reader(woken, drain)
        self._tell = lambda number: _soon(loop, tell, number)
        try:
            if self.first is not None:
                self._tell(self.first)
            yield
        finally:
            self._tell = None
            loop.remove_reader(woken)
            signal.set_wakeup_fd(before)
            woken.close()
            waking.close()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        found = signal.Signals(number)
        if self.first is None:
            self.first = found
        if self._tell is not None:
            self._tell(found)


def _soon(loop: asyncio.AbstractEventLoop, tell: Told, number: signal.Signals) -> None:
    """Has the loop call `tell`; nothing where it has ended."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(tell, number)
