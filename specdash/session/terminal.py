"""What the session asks of the system around it: to stay awake."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from specdash.runtime.sleep import inhibit_sleep_argv


class StayAwake:
    """Holds off the machine's sleep while the run goes on, where the system offers a way."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> None:
        argv = inhibit_sleep_argv()
        if argv is None:
            return
        with suppress(OSError):
            self._process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            await self._process.wait()
