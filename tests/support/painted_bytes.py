"""What a repaint of the main screen sends to a terminal: counted through a pty, with a stream of ticks made up here.

Run as a program it is the viewer at the other end of that pty.
"""

from __future__ import annotations

import asyncio
import fcntl
import math
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise

from tests.support.paths import ROOT

MARK = b"\x1b]777;painted\x07"
TICKS_A_PAINT = 2  # four ticks a second, two paints a second
TOKENS_A_TICK = 4
WARM = 20  # paints before any is counted: graphs and text have to fill first
WORDS = "the draft proposes some tokens and the target keeps those that it would have chosen itself, then adds one. "


def paint_bytes(width: int, height: int, paints: int, *, idle: bool = False) -> list[int]:
    """The bytes of each of `paints` steady repaints at this size; `idle`: nothing but the clock moves."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    command = [sys.executable, "-m", "tests.support.painted_bytes", str(paints), "idle" if idle else "busy"]
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
    environment.pop("NO_COLOR", None)
    viewer = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=ROOT, start_new_session=True
    )
    os.close(slave)
    data = bytearray()
    try:
        while piece := os.read(master, 65536):
            data += piece
    except OSError:  # the other end is closed: on Linux an error, elsewhere an end of file
        pass
    finally:
        os.close(master)
        viewer.wait()
    marks = [at for at in range(len(data)) if data.startswith(MARK, at)]
    if viewer.returncode != 0 or len(marks) != paints + 1:
        raise RuntimeError(f"the viewer ended with {viewer.returncode} after {len(marks)} paints: {data[-2000:]!r}")
    return [following - mark - len(MARK) for mark, following in pairwise(marks)]


def stream() -> Iterator[list[object]]:
    """The ticks between two repaints of a server that is busy, for ever."""
    from specdash.core.ticks import TextRun
    from tests.support import live_runs

    text: list[tuple[str, bool]] = []
    number = 0
    while True:
        ticks: list[object] = []
        for _ in range(TICKS_A_PAINT):
            number += 1
            at = number * TOKENS_A_TICK * 5 % len(WORDS)
            piece = (WORDS + WORDS)[at : at + TOKENS_A_TICK * 5]
            text += [(piece[:15], True), (piece[15:], False)]
            kept = text[-160:]
            ticks.append(
                live_runs.token(
                    tokens=number * TOKENS_A_TICK % 512,
                    max_tokens=512,
                    rate_tok_s=14 + 2 * math.sin(number / 7) + 0.1 * math.sin(number * 2.3),
                    acceptance_rate=0.7 + 0.1 * math.sin(number / 5),
                    text=tuple(TextRun(*each) for each in kept),
                )
            )
        used = (number % 40) * 2**22
        ticks.append(replace(live_runs.MEMORY, available_bytes=live_runs.MEMORY.available_bytes - used))
        if number % 20 == 0:
            ticks.append(
                replace(live_runs.LOG, lines=(*live_runs.LOG.lines[1:], f"slot release: id 0 | task {number}"))
            )
        yield ticks


async def _view(paints: int, *, idle: bool) -> int:
    """Shows the scene and repaints it step by step, with a mark after each repaint."""
    from specdash.core.ticks import ServerTick
    from specdash.remote.run_source import Event
    from specdash.ui.tui.app import Dashboard
    from specdash.ui.tui.terminal import UNICODE, Terminal
    from tests.support import live_runs
    from tests.support.dashboards import ScriptedSource

    class Stream(ScriptedSource):
        """The scene's facts, then ticks, one repaint at a time."""

        async def events(self) -> AsyncIterator[Event]:
            async for event in super().events():
                yield event
            now_s = live_runs.NOW_S
            for number, ticks in enumerate(stream()):
                for tick in ticks if not idle or number == 0 else []:
                    yield tick  # type: ignore[misc]
                await asyncio.sleep(0)
                now_s += 0.5
                app.clock = partial(float, now_s)
                app.paint_now()
                painted = asyncio.Event()
                app.screen.call_after_refresh(painted.set)
                await painted.wait()
                if number >= WARM and app._driver is not None:
                    app._driver.write(MARK.decode())
                    app._driver.flush()
                if number == WARM + paints:
                    app.exit(0)
                    return

    source = Stream(live_runs.facts(), [ServerTick("l001", "busy", live_runs.NOW_S)])

    async def opening() -> ScriptedSource:
        return source

    app = Dashboard(opening, Terminal(UNICODE, "full"))
    app.rate_hz = 0.001  # only the loop above paints
    return await app.run_async() or 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_view(int(sys.argv[1]), idle=sys.argv[2] == "idle")))
