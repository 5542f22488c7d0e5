"""Starts the engine process of a run: detached from the terminal, so that nothing that happens to it ends the run."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_log_path

from specdash.errors import EngineError, Exit, SpecdashError

LOG_NAME = "engine.log"


@dataclass(frozen=True, slots=True)
class Started:
    """What became of a start: the run folder, to which clients can connect now.

    `over`: there was nothing left to do, and this is the run's exit code.
    """

    run: Path
    over: Exit | None = None


async def start_profile(profile: Path) -> Path:
    """Starts a run of a profile; its folder, once clients can connect. Raises SpecdashError with the reason if not."""
    return (await asyncio.to_thread(start_engine, profile)).run


async def resume_run(run: Path) -> Path:
    """Goes on with an interrupted run; its folder, once clients can connect. Raises SpecdashError if not."""
    return (await asyncio.to_thread(start_engine, run, resumes=True)).run


def start_engine(path: Path, *, resumes: bool = False) -> Started:
    """Starts the engine process of a profile's run, or of one that is resumed, and waits for what it has to say.

    Raises SpecdashError with the reason where there is no run. Interrupted meanwhile, it ends the engine too.
    """
    reader, writer = os.pipe()
    try:
        with _log() as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "specdash", "_engine", "--ready-fd", str(writer)]
                + ["--resume"] * resumes
                + [str(path)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
                pass_fds=(writer,),
            )
    except OSError as error:
        os.close(reader)
        what = f"no engine process can be started: {error.strerror}"
        raise EngineError(what, "Is the machine out of memory?") from error
    finally:
        os.close(writer)
    # Waited for by a thread: a process that ended and was not asked about stays in the table of processes.
    threading.Thread(target=process.wait, daemon=True).start()
    try:
        with os.fdopen(reader, "rb") as pipe:
            message = _read(pipe.readline())
    except KeyboardInterrupt:
        process.terminate()
        raise
    if "run" in message:
        over = message.get("over")
        return Started(Path(message["run"]), Exit(int(over)) if over is not None else None)
    if "error" in message:
        what, _, todo = str(message["error"]).partition("\n")
        raise SpecdashError(what, todo.strip(), exit_code=Exit(int(message.get("exit", Exit.INCOMPLETE))))
    process.wait()
    raise EngineError(
        f"the engine process ended before it began (exit code {process.returncode})",
        f"Its last words are in {user_log_path('specdash') / LOG_NAME}",
    )


def _read(line: bytes) -> dict[str, Any]:
    with suppress(ValueError):
        message = json.loads(line)
        if isinstance(message, dict):
            return message
    return {}


def _log() -> Any:
    """Where a detached process may write what is no message: a file of the user's, or nowhere."""
    try:
        return (user_log_path("specdash", ensure_exists=True) / LOG_NAME).open("ab")
    except OSError:
        return open(os.devnull, "wb")
