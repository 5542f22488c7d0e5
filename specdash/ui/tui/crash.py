"""A bug of the dashboard: its traceback goes to the user's log, and the screen gets one line with the log's path."""

from __future__ import annotations

import tempfile
import time
import traceback
from pathlib import Path

from platformdirs import user_log_path


def log_crash(error: BaseException) -> Path:
    """Appends the traceback of `error`, without the values of variables, to the log; its path."""
    text = "".join(traceback.format_exception(error))
    entry = f"--- {time.strftime('%Y-%m-%d %H:%M:%S %z')}, dashboard\n{text}\n"
    try:
        path = user_log_path("specdash", ensure_exists=True) / "errors.log"
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(entry)
    except OSError:
        with tempfile.NamedTemporaryFile(
            "w", prefix="specdash-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as other:
            other.write(entry)
        return Path(other.name)
    return path
