"""A bug of specdash: its traceback goes to the user's log, and the person at the keyboard gets one line about it."""

from __future__ import annotations

import tempfile
import time
import traceback
from pathlib import Path


def bug_report(error: BaseException, where: str) -> str:
    """Appends the traceback of `error`, without the values of variables, to the log; a line that says where that is.

    `where`: what of specdash it happened in. A log that cannot be written is no second error: then the line names the
    bug itself.
    """
    text = "".join(traceback.format_exception(error))
    entry = f"--- {time.strftime('%Y-%m-%d %H:%M:%S %z')}, {where}\n{text}\n"
    try:
        path = _logged(entry)
    except OSError as why:
        last = traceback.extract_tb(error.__traceback__)[-1:]
        place = f" at {Path(last[0].filename).name}:{last[0].lineno}" if last else ""
        what = f"{type(error).__name__}{place}; no log of it could be written: {why.strerror or why}"
        return f"internal error, a bug of specdash: {what}"
    return f"internal error, a bug of specdash; details: {path}"


def _logged(entry: str) -> Path:
    """Appends to the log in the user's state folder, else makes one among the temporary files. Raises OSError."""
    from platformdirs import user_log_path

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
