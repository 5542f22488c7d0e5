"""specdash's own log in the folder of a run. What cannot be written of it is lost; the run is not."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

from specdash.errors import unwritten
from specdash.session.secrets import RunSecrets
from specdash.store.disk import file_mode

LOG_NAME = "specdash.log"


class RunLog(logging.FileHandler):
    """Takes in all that specdash logs; nothing of it belongs on the user's terminal."""

    def __init__(self, folder: Path, secrets: RunSecrets) -> None:
        """Opens the log in this folder, which is made where it is missing. Raises StoreError."""
        try:
            folder.mkdir(mode=folder.parent.stat().st_mode & 0o777, exist_ok=True)
            (folder / LOG_NAME).touch(file_mode(folder))
            super().__init__(folder / LOG_NAME, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise unwritten(f"{folder / LOG_NAME} cannot be written", error) from error
        self.setFormatter(secrets.formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """Says nothing: the disk is full, or the folder gone for a moment."""

    def keep(self, folder: Path) -> None:
        """From now on the log is there; it is opened again where the file was moved or deleted."""
        path = folder / LOG_NAME
        if self.baseFilename == str(path.absolute()) and os.path.exists(path):
            return
        with suppress(OSError):
            self.close()
            self.baseFilename = str(path.absolute())
            folder.mkdir(mode=folder.parent.stat().st_mode & 0o777, exist_ok=True)
            path.touch(file_mode(folder))
            self.stream = self._open()
