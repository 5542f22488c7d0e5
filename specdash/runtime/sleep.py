"""Keeping the machine awake while a run goes on."""

from __future__ import annotations

import os
import shutil
import sys


def inhibit_sleep_argv() -> tuple[str, ...] | None:
    """The command that holds off sleep for as long as this process lives; None where the system offers none."""
    if sys.platform == "darwin":
        return ("caffeinate", "-ims", "-w", str(os.getpid()))
    if shutil.which("systemd-inhibit") and os.path.isdir("/run/systemd/system"):
        # `tail --pid` ends by itself with this process, however that ends.
        reason = ("--what=sleep:idle", "--who=specdash", "--why=a sweep is running", "--mode=block")
        return ("systemd-inhibit", *reason, "tail", f"--pid={os.getpid()}", "-f", "/dev/null")
    return None
