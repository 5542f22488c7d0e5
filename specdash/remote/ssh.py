"""A line to another machine: an ssh process whose stdin and stdout are the run's engine there."""

from __future__ import annotations

import asyncio
import os
import select
import shlex
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from specdash.core.text import one_line
from specdash.remote.connection import hello
from specdash.remote.protocol import decode_message, encode_message
from specdash.remote.run_source import MODELS, SourceError

GRACE_S = 2.0
# A line that is down is found out after a minute.
SSH_OPTIONS = ("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")
# A second connection is made while a screen has the terminal: nobody could be asked for a password.
UNASKED = ("-o", "BatchMode=yes")
NOT_FOUND = 127  # what a shell ends with when there is no such program
SSH_FAILED = 255
STDERR_BYTES = 4096
SAID_CHARS = 400
PEEK_BYTES = 64 * 1024
PEEK_S = 0.05


@dataclass(frozen=True, slots=True)
class SshCommand:
    """How commands are run on another machine: the program here with its options, the host, and specdash there."""

    ssh: tuple[str, ...]
    options: tuple[str, ...]
    host: str
    remote: tuple[str, ...]

    def argv(self, *arguments: str, unasked: bool = False) -> list[str]:
        """The command that runs specdash there; `unasked`: ssh fails rather than ask for a password."""
        asked = shlex.join([*self.remote, *arguments])
        return [*self.ssh, "-T", *SSH_OPTIONS, *(UNASKED if unasked else ()), *self.options, "--", self.host, asked]


class SshLine:
    """One ssh process; `end` is our end of the line, on which the hello is said already."""

    def __init__(
        self, way: SshCommand, process: subprocess.Popen[bytes], end: socket.socket, errors: IO[bytes]
    ) -> None:
        self.host = way.host
        self.end = end
        self._way = way
        self._process = process
        self._errors = errors

    @classmethod
    def open(
        cls,
        host: str,
        run: str | None = None,
        since: int = 0,
        *,
        options: Sequence[str] = (),
        ssh: Sequence[str] | None = None,
        remote: Sequence[str] | None = None,
    ) -> SshLine:
        """Starts ssh. `run`: as for `specdash relay` on that machine. `options` go to ssh.

        `ssh` and `remote` are the programs here and there; by default what SPECDASH_SSH and SPECDASH_REMOTE say, or
        else "ssh" and "specdash". Raises SourceError when ssh cannot be started.
        """
        if host.startswith("-"):
            raise SourceError(f"{host} is no host")
        program = list(ssh) if ssh is not None else shlex.split(os.environ.get("SPECDASH_SSH") or "ssh")
        there = list(remote) if remote is not None else shlex.split(os.environ.get("SPECDASH_REMOTE") or "specdash")
        way = SshCommand(tuple(program), tuple(options), host, tuple(there))
        argv = way.argv("relay", *(["--", run] if run is not None else []))
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process; a pipe could fill up
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = subprocess.Popen(argv, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=errors)
        except OSError as error:
            ours.close()
            errors.close()
            raise SourceError(f"{program[0]} cannot be started: {error.strerror}") from error
        with suppress(OSError):  # it has ended already; whoever reads finds out
            ours.sendall(encode_message(hello(since)))
        return cls(way, process, ours, errors)

    @property
    def models_argv(self) -> list[str]:
        """The command that prints the models there, through an ssh of its own."""
        return self._way.argv(*MODELS, unasked=True)

    def wait_for_answer(self) -> None:
        """Waits, without a deadline, until the other end has answered or gone: ssh may ask for a password meanwhile.

        To be called before anything else has the terminal.
        """
        select.select([self.end], [], [])

    async def turned_away(self) -> str | None:
        """Why there will be no welcome, ssh having been ended then; None where there is one, or it is still to be seen.

        Waits as `wait_for_answer` does, and takes nothing off the line.
        """
        seen = b""
        while True:
            is_over = self._process.poll() is not None  # asked first: what it has written can be seen then
            select.select([self.end], [], [])
            data = b""
            with suppress(OSError):  # an ssh that ends without having read our hello resets the line
                data = self.end.recv(PEEK_BYTES, socket.MSG_PEEK)
            for line in data.split(b"\n")[:-1]:
                if line.startswith(b'{"welcome":'):
                    return None
                if line.startswith(b'{"gone":'):
                    return await self._left(one_line(str(decode_message(line)["gone"]), 400))
            if not data or (is_over and data == seen):
                return await self._left(None)
            if len(data) >= PEEK_BYTES:
                return None
            seen = data
            await asyncio.sleep(PEEK_S)  # a login shell has said something; what is there already wakes nobody

    async def _left(self, why: str | None) -> str:
        """Lets go of the line; `why`, or what ssh has to say."""
        self.end.close()
        said = why or await self.refusal()
        await self.close()
        return said

    async def ended(self) -> int:
        """The exit status of ssh, which is ended where it does not end by itself; negative for a signal."""
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                self._process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                return await asyncio.to_thread(self._process.wait, GRACE_S)
        return await asyncio.to_thread(self._process.wait)

    async def close(self) -> None:
        """Has ssh end, and waits until it has."""
        await self.ended()
        self._errors.close()

    def said(self) -> str:
        """What ssh or the program there wrote to stderr last, "" for nothing: a message of specdash's whole."""
        if self._errors.closed:
            return ""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - STDERR_BYTES))
        lines = [one_line(line) for line in self._errors.read().splitlines() if line.strip()]
        ours = max((at for at, line in enumerate(lines) if line.startswith("specdash")), default=max(0, len(lines) - 2))
        return one_line(" ".join(lines[ours:]), SAID_CHARS)

    async def refusal(self) -> str:
        """Why there was no welcome, and what to do."""
        code, said = await self.ended(), self.said()
        if code == NOT_FOUND:
            return (
                f"{self._way.remote[0]} was not found on {self.host}: install specdash there, or say where it is: "
                f"SPECDASH_REMOTE=/path/to/specdash ({said or 'the shell said nothing'})"
            )
        if code == SSH_FAILED:
            return f"{self.host} cannot be reached: {said or 'ssh did not say why'}"
        return f"{self.host}: {said or f'the other end closed without a word (exit code {code})'}"
