"""What a run asks of the system around it: to stay awake."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from contextlib import suppress


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


def inhibit_sleep_argv() -> tuple[str, ...] | None:
    """The command that holds off sleep for as long as this process lives; None where the system offers none."""
    if sys.platform == "darwin":
        return ("caffeinate", "-ims", "-w", str(os.getpid()))
    if shutil.which("systemd-inhibit") and os.path.isdir("/run/systemd/system"):
        # `tail --pid` ends by itself with this process, however that ends.
        reason = ("--what=sleep:idle", "--who=specdash", "--why=a sweep is running", "--mode=block")
        return ("systemd-inhibit", *reason, "tail", f"--pid={os.getpid()}", "-f", "/dev/null")
    return None
