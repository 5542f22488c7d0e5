"""Starts of `specdash` that cost a fork: a process that has imported specdash forks for each command line.

Starting Python and importing specdash costs half a second of a processor, more than most commands take for their work.
`start` is for commands under test, `run` for those that end by themselves. What a start itself does (imports, signals,
closed streams) is tested with true starts of the interpreter, as `subprocess` makes them.

Run as a program (`-m tests.support.fork_server`), it is that process: it reads requests from the socket that is its
standard input, and tells the exit status of each child on a pipe that came with the request.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import specdash
from tests.support.paths import ROOT

# Programs that run in processes of their own.
COLD = ("programs", "mlx_server", "cli_bridge", "embedded", "guard", "__main__")
LONGEST_REQUEST = 2**20


class ForkedProcess:
    """A command that was forked; the part of `subprocess.Popen` that tests use, in text."""

    def __init__(self, pid: int, status: int, stdout: IO[str] | None, stderr: IO[str] | None) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | Any = None  # as Popen has it
        self._status = status
        self._texts: dict[str, str] = {}
        self._readers: list[threading.Thread] = []

    def poll(self) -> int | None:
        """Return the exit code, -N for signal N; None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; raises TimeoutExpired as Popen does."""
        if self._ended(timeout) is None:
            raise subprocess.TimeoutExpired("specdash", timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def _ended(self, timeout_s: float | None) -> int | None:
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._status, selectors.EVENT_READ)
                if selector.select(timeout_s):
                    told = os.read(self._status, 64)
                    self.returncode = int(told) if told else -signal.SIGKILL
                    os.close(self._status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read both streams to their end and wait; raises TimeoutExpired, after which it can be called again."""
        if not self._readers:
            for name, stream in (("stdout", self.stdout), ("stderr", self.stderr)):
                self._readers.append(threading.Thread(target=self._read, args=(name, stream), daemon=True))
                self._readers[-1].start()
        for reader in self._readers:
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired("specdash", timeout or 0.0)
        self.wait(timeout)
        return self._texts["stdout"], self._texts["stderr"]

    def _read(self, name: str, stream: IO[str] | None) -> None:
        assert stream is not None, "it is in a terminal"
        with stream:
            self._texts[name] = stream.read()


class ForkServer:
    """The process that forks, started at first use; it ends with this one."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "SPECDASH_"))}
        command = [sys.executable, "-m", "tests.support.fork_server"]
        self._process = subprocess.Popen(command, stdin=theirs.fileno(), cwd=ROOT, env=kept)
        self._socket = ours
        self._started: list[ForkedProcess] = []
        theirs.close()

    def start(
        self, arguments: list[str], cwd: Path, env: Mapping[str, str], *, start_new_session: bool = False
    ) -> ForkedProcess:
        """Fork `specdash ARGUMENTS`: nothing on its standard input, pipes on the other two."""
        request = {"module": "specdash", "arguments": arguments, "cwd": str(cwd), "env": dict(env)}
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        with open(os.devnull) as nothing:
            streams = [nothing.fileno(), out_end, err_end]
            pid, status = self._fork(request | {"new_session": start_new_session, "terminal": False}, streams)
        os.close(out_end)
        os.close(err_end)
        stdout, stderr = (os.fdopen(fd, encoding="utf-8", errors="surrogateescape") for fd in (out, err))
        return self._noted(ForkedProcess(pid, status, stdout, stderr))

    def start_in_terminal(
        self, module: str, arguments: list[str], env: Mapping[str, str], terminal: int
    ) -> ForkedProcess:
        """Fork `python -m MODULE ARGUMENTS` in this folder, with a terminal of its own: the descriptor `terminal`."""
        request = {"module": module, "arguments": arguments, "cwd": os.getcwd(), "env": dict(env)}
        pid, status = self._fork(request | {"new_session": True, "terminal": True}, [terminal] * 3)
        return self._noted(ForkedProcess(pid, status, None, None))

    def _fork(self, request: dict[str, object], streams: list[int]) -> tuple[int, int]:
        """Return the pid of the child, and the pipe on which its exit code will be told."""
        sys.audit("tests.fork", request["module"])
        status, status_end = os.pipe()
        socket.send_fds(self._socket, [json.dumps(request).encode()], [*streams, status_end])
        os.close(status_end)
        return int(self._socket.recv(64)), status

    def _noted(self, process: ForkedProcess) -> ForkedProcess:
        self._started = [each for each in self._started if each.poll() is None] + [process]
        return process

    def running(self) -> list[int]:
        """Return the pids of what was forked and has not ended."""
        return [each.pid for each in self._started if each.poll() is None]

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.wait()


_server: ForkServer | None = None


def server() -> ForkServer:
    """Return the fork server of this process."""
    global _server
    if _server is None:
        _server = ForkServer()
    return _server


def close() -> None:
    """End the fork server, where one was started."""
    if _server is not None:
        _server.close()


def running() -> list[int]:
    """Return the pids of all commands that were forked and have not ended."""
    return _server.running() if _server is not None else []


def needs_true_start(env: Mapping[str, str]) -> bool:
    """Return whether the environment has what Python itself reads as it starts: a fork would not see it."""
    chosen = (env.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    encoding = next((value for value in chosen if value), "C.UTF-8").partition(".")[2]
    # What starts with TEXTUAL is read as textual is imported.
    if env.get("PYTHONPATH", str(ROOT)) != str(ROOT):
        return True  # modules of its own
    read = {name for name in env if name.startswith(("PYTHON", "TEXTUAL"))} - {"PYTHONPATH", "PYTHON"}
    return any(env[name] != os.environ.get(name) for name in read) or encoding.upper().replace("-", "") != "UTF8"


def run(
    arguments: list[str], cwd: Path, env: Mapping[str, str], timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run `specdash ARGUMENTS` to its end."""
    if needs_true_start(env):
        command = [sys.executable, "-m", "specdash", *arguments]
        return subprocess.run(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s
        )
    process = server().start(arguments, cwd, env)
    out, err = process.communicate(timeout_s)
    return subprocess.CompletedProcess(["specdash", *arguments], process.wait(timeout_s), out, err)


def serve() -> str:
    """Fork a child for each request. Returns in the child, what it has to run; exits where the tests have gone."""
    requests = socket.socket(fileno=os.dup(0))
    wakeup, wakeup_end = socket.socketpair()
    wakeup_end.setblocking(False)
    signal.set_wakeup_fd(wakeup_end.fileno())
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    statuses: dict[int, int] = {}
    while True:
        with selectors.DefaultSelector() as selector:
            selector.register(requests, selectors.EVENT_READ)
            selector.register(wakeup, selectors.EVENT_READ)
            ready = {key.fileobj for key, _ in selector.select()}
        if wakeup in ready:
            wakeup.recv(4096)
            tell_ended(statuses)
        if requests in ready:
            data, fds, _, _ = socket.recv_fds(requests, LONGEST_REQUEST, 4)
            if not data:
                sys.exit(0)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for each in (requests, wakeup, wakeup_end):
                    each.close()
                for status in statuses.values():
                    os.close(status)
                request = json.loads(data)
                become(request, fds)
                return str(request["module"])
            *streams, statuses[pid] = fds
            for stream in streams:
                os.close(stream)
            requests.send(str(pid).encode())


def tell_ended(statuses: dict[int, int]) -> None:
    """Tell the exit codes of the children that have ended."""
    while statuses:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        fd = statuses.pop(pid)
        os.write(fd, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(fd)


def become(request: dict[str, Any], fds: list[int]) -> None:
    """Make this child what a process is that was started with these streams, folder and environment."""
    for target, fd in enumerate(fds[:3]):
        os.dup2(fd, target)
    for fd in fds:
        os.close(fd)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)  # the old objects know what the descriptors were
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    if request["new_session"]:
        os.setsid()
    if request["terminal"]:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = [request["module"], *request["arguments"]]


def warm_up() -> None:
    """Import what commands import, so that no child has to."""
    for found in pkgutil.walk_packages(specdash.__path__, "specdash."):
        if not set(found.name.split(".")) & set(COLD):
            with suppress(ImportError):  # of an extra that is not installed
                importlib.import_module(found.name)
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    warm_up()
    runpy.run_module(serve(), run_name="__main__", alter_sys=True)
