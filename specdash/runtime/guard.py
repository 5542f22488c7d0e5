"""The guard: a small process between the engine and a server, which outlives neither.

Started as `python -I -S guard.py --fd N --grace S -- ARGV...`; standard library only. It starts ARGV in a session of
its own with the standard output and error that it was given itself, and holds one end of a socket whose other end
only the engine has. When that end closes, however the engine died, the whole tree of the server is ended. On Linux it
is a subreaper, so a grandchild that leaves its session is still found; elsewhere the process group and `ps` must do.

To the engine, as JSON lines: {"event": "started", "pid"}, {"event": "failed", "errno", "message"} when ARGV cannot be
run, {"event": "exited", "code"|"signal"}, and last {"event": "gone", "stuck": [pids that could not be killed]}.
From the engine, as bytes: T (TERM once, grace, KILL) and K (KILL now). A second T changes nothing, since llama-server
takes a second TERM for "exit without cleaning up".
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
KILL_LIMIT_S = 5.0  # a process that outlives KILL for so long is stuck in the kernel
OOM_SCORE = "300"  # short of memory, the kernel takes the server rather than the user's terminal
ZOMBIE = 0  # no process group has this number


class Guard:
    """Watches one server; everything happens in `run`."""

    def __init__(self, engine: socket.socket, grace_s: float) -> None:
        self._engine = engine
        self._grace_s = grace_s
        self._pid = 0
        self._exited = False
        self._deadline_s: float | None = None
        self._killed_s: float | None = None
        self._seen: dict[int, int] = {}

    def run(self, argv: list[str]) -> int:
        """Starts ARGV, waits for its end or the engine's, and leaves nothing behind; 1 when something is stuck."""
        if sys.platform == "linux":
            ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Handlers that do nothing, since an ignored signal would stay ignored in the server.
            signal.signal(number, lambda *_: None)
        _forget_inherited_signals()
        if not self._start(argv):
            return 0
        self._tell(event="started", pid=self._pid)
        watched = select.poll()  # the engine's descriptor may be beyond what select() takes
        for descriptor in (woken, self._engine.fileno()):
            watched.register(descriptor, select.POLLIN)
        while True:
            self._reap()
            if self._exited and not self._remaining():
                self._tell(event="gone", stuck=[])
                return 0
            if self._exited and self._deadline_s is None:
                self._stop(0.0)  # what a wrapper leaves behind when its server has ended
            self._enforce()
            if self._killed_s is not None and time.monotonic() - self._killed_s > KILL_LIMIT_S:
                self._tell(event="gone", stuck=sorted(self._remaining()))
                return 1
            ready = [descriptor for descriptor, _ in watched.poll(self._patience())]
            if woken in ready:
                os.read(woken, 4096)
            if self._engine.fileno() in ready and not self._obey():
                watched.unregister(self._engine)

    def _start(self, argv: list[str]) -> bool:
        try:
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True, restore_signals=True)
        except (OSError, ValueError) as error:
            self._tell(
                event="failed",
                errno=getattr(error, "errno", None),
                message=getattr(error, "strerror", None) or str(error),
            )
            return False
        self._pid = child.pid
        child.returncode = 0  # it is reaped here, together with what it leaves behind
        try:
            with open(f"/proc/{self._pid}/oom_score_adj", "w", encoding="ascii") as file:
                file.write(OOM_SCORE)
        except OSError:
            pass
        return True

    def _obey(self) -> bool:
        """Reads what the engine wants; False when the engine is gone, which means: end everything."""
        try:
            wanted = self._engine.recv(64)
        except ConnectionError:
            wanted = b""
        if b"K" in wanted:
            self._stop(0.0)
        elif self._deadline_s is None:
            self._stop(self._grace_s)
        return bool(wanted)

    def _stop(self, grace_s: float) -> None:
        """TERM now, KILL after `grace_s`; TERM is sent only the first time."""
        now_s = time.monotonic()
        if self._deadline_s is None:
            self._signal_all(signal.SIGTERM if grace_s else signal.SIGKILL)
        self._deadline_s = min(self._deadline_s or now_s + grace_s, now_s + grace_s)

    def _enforce(self) -> None:
        """KILL, and again for processes that appeared since, once the grace is over."""
        now_s = time.monotonic()
        if self._deadline_s is not None and now_s >= self._deadline_s:
            self._killed_s = self._killed_s or now_s
            self._signal_all(signal.SIGKILL)

    def _patience(self) -> float | None:
        """Milliseconds to wait for news: for ever, to the end of the grace, or until KILL should have worked."""
        if self._deadline_s is None:
            return None
        if self._killed_s is not None:
            return 50.0
        # Half a second at most, for systems where the end of a grandchild wakes nobody; 1 more against waking early.
        return max(0.0, min(self._deadline_s - time.monotonic(), 0.5)) * 1000 + 1

    def _signal_all(self, number: int) -> None:
        """To the server's process group in one go, and to each descendant outside of it."""
        members = self._remaining()  # first: the end of a parent may hide its children
        told = False
        if not self._exited:
            try:
                os.killpg(self._pid, number)
                told = True
            except (ProcessLookupError, PermissionError):
                pass
        for pid, group in members.items():
            if told and group == self._pid:
                continue
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                continue

    def _reap(self) -> None:
        """Collects every child that has ended; the server's own end is told."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                self._exited = True
                code = os.waitstatus_to_exitcode(status)
                self._tell(event="exited", code=code if code >= 0 else None, signal=-code if code < 0 else None)

    def _remaining(self) -> dict[int, int]:
        """The server and all its descendants that are still there: process group by pid."""
        processes = _processes()
        found: dict[int, int] = {}
        fringe = {os.getpid()}
        while fringe:
            fringe = {pid for pid, (parent, _) in processes.items() if parent in fringe}
            found |= {pid: processes[pid][1] for pid in fringe if processes[pid][1] != ZOMBIE}
        if sys.platform != "linux":
            # Nobody hands us orphans there: those in the server's process group are ours, and those seen before.
            seen = self._seen
            found |= {
                pid: group for pid, (_, group) in processes.items() if group and group in (self._pid, seen.get(pid))
            }
            self._seen = found
        return found

    def abandon(self) -> None:
        """Ends what can be ended without looking around, for a guard that fails itself."""
        if self._pid and not self._exited:
            with contextlib.suppress(OSError):
                os.killpg(self._pid, signal.SIGKILL)

    def _tell(self, **event: object) -> None:
        try:
            self._engine.sendall(json.dumps(event).encode() + b"\n")
        except OSError:
            return  # the engine is gone; nobody is left to be told


def _forget_inherited_signals() -> None:
    """Blocked and ignored signals outlive exec: a server would never see the TERM, its guard no end of a child.

    Those that Python ignores for itself are left alone; `restore_signals` gives them back to the server.
    """
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _processes() -> dict[int, tuple[int, int]]:
    """(parent, process group) of every process, by pid; the group of a zombie is ZOMBIE.

    A zombie may still have children: it is what a process looks like whose first thread has ended before the others.
    """
    if sys.platform == "linux":
        return dict(_from_proc())
    lister = subprocess.Popen(["/bin/ps", "-axo", "pid=,ppid=,pgid=,stat="], stdout=subprocess.PIPE)
    rows = [line.split() for line in lister.communicate(timeout=10)[0].decode().splitlines()]
    return {
        int(row[0]): (int(row[1]), ZOMBIE if row[3].startswith("Z") else int(row[2]))
        for row in rows
        if len(row) == 4 and int(row[0]) != lister.pid
    }


def _from_proc() -> list[tuple[int, tuple[int, int]]]:
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        found.append((int(name), (int(fields[1]), ZOMBIE if fields[0] in (b"Z", b"X") else int(fields[2]))))
    return found


def main() -> int:
    """Parses `--fd N --grace S -- ARGV...` and guards."""
    separator = sys.argv.index("--")
    options = dict(zip(sys.argv[1:separator:2], sys.argv[2:separator:2], strict=True))
    engine = socket.socket(fileno=int(options["--fd"]))
    engine.set_inheritable(False)
    guard = Guard(engine, float(options["--grace"]))
    try:
        return guard.run(sys.argv[separator + 1 :])
    except BaseException:
        guard.abandon()
        raise


if __name__ == "__main__":
    sys.exit(main())
