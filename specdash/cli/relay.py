"""`specdash relay`: the far end of `attach --ssh`; copies bytes between its stdin and stdout and a run's engine.

Where no engine is at work on the run, it answers from the run folder itself, in the same words. It opens no port.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

from specdash.cli import command_parser
from specdash.errors import Exit, SpecdashError

PIECE_BYTES = 64 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what this command takes."""
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="a run folder, or the beginning of its name (default: the one that runs)"
    )


def main(name: str, arguments: list[str]) -> Exit:
    """Connects stdin and stdout with a run, until either end closes."""
    parser = command_parser(name)
    options = parser.parse_args(arguments)
    from specdash.cli.running import chosen_run

    path = chosen_run(options.run, else_last=True)
    engine = _engine_of(path)
    if engine is not None:
        _copy(engine)
        return Exit.OK
    import asyncio

    from specdash.remote.server import serve_folder

    near, far = socket.socketpair()
    copying = threading.Thread(target=_copy, args=(near,), daemon=True)
    copying.start()
    asyncio.run(serve_folder(path, far))
    copying.join()
    return Exit.OK


def _engine_of(path: Path) -> socket.socket | None:
    """A connection to the engine at work on a run; None where there is none. Raises SpecdashError."""
    import time

    from specdash.remote.sources import STARTING_S, WAIT_S, dial, unreachable
    from specdash.runtime.locks import run_owner

    until_s = time.monotonic() + STARTING_S
    while True:
        try:
            return dial(path)
        except OSError as error:
            owner = run_owner(path)
            if owner is None:
                return None
            if not owner.here or time.monotonic() > until_s:
                raise SpecdashError(unreachable(path, error)) from error
        time.sleep(WAIT_S)


def _copy(connection: socket.socket) -> None:
    """Copies both ways until either end closes. A reader that is slow slows only its own direction."""
    stdin, stdout = sys.stdin.fileno(), sys.stdout.fileno()

    def up() -> None:
        with suppress(OSError):
            while data := os.read(stdin, PIECE_BYTES):
                connection.sendall(data)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)  # whoever looked has left; this also ends the other direction

    threading.Thread(target=up, daemon=True).start()
    with suppress(OSError):
        while data := connection.recv(PIECE_BYTES):
            left = memoryview(data)
            while left:
                left = left[os.write(stdout, left) :]
    connection.close()
