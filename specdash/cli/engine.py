"""`specdash _engine`: the engine process of a run, started detached by those who then attach to it.

It has no terminal and says nothing: its one message goes through the pipe that it was given, once clients can connect
or once it is known that there will be no run. Everything else is in the run's journal and logs.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from specdash.errors import Exit, ProfileError, SpecdashError

log = logging.getLogger(__name__)


def main(name: str, arguments: list[str]) -> Exit:
    """Runs a profile, or goes on with a run, for whoever attaches."""
    parser = argparse.ArgumentParser(prog=f"specdash {name}", description="The engine process of a run.")
    parser.add_argument("path", type=Path, metavar="PROFILE|RUN")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--ready-fd", type=int, required=True)
    options = parser.parse_args(arguments)
    from specdash.config.load import check_profile
    from specdash.remote.server import serving
    from specdash.session.handle import Handle, Watcher
    from specdash.session.run import resume, start_new

    pipe = _Pipe(options.ready_fd)

    @asynccontextmanager
    async def watch(handle: Handle) -> AsyncIterator[None]:
        async with serving(handle, log.warning):
            pipe.say(run=str(handle.path))
            yield

    watcher = Watcher(watch, log.warning)
    try:
        if options.resume:
            outcome = resume(options.path, watcher)
        else:
            found = check_profile(options.path)
            if found.profile is None or found.problems:
                raise ProfileError(found.problems)
            outcome = start_new(found.profile, watcher)
    except SpecdashError as error:
        log.error("%s", error)
        pipe.say(error=str(error), exit=int(error.exit_code))
        return error.exit_code
    pipe.say(run=str(outcome.path), over=int(outcome.exit_code))
    return outcome.exit_code


class _Pipe:
    """The way to whoever started this process: one message, of which only the first counts."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_inheritable(descriptor, False)

    def say(self, **message: Any) -> None:
        """Sends the message if none was sent before; a reader that has gone is not missed."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.write(self._descriptor, json.dumps(message).encode() + b"\n")
            os.close(self._descriptor)
            self._descriptor = -1
