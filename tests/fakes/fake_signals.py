"""How the fakes wait while their threads serve."""

from __future__ import annotations

import os
import signal
from typing import NoReturn


def wait_for_signals() -> NoReturn:
    """Lets the handlers of this process run, whichever thread a signal reaches, and when: pause() misses the others."""
    told, ends = os.pipe()
    os.set_blocking(ends, False)
    signal.set_wakeup_fd(ends)
    while True:
        os.read(told, 1)
