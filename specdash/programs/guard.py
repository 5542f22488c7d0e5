"""The guard: a small process between the engine and a server, which outlives neither.

Started as `python -I -S guard.py --fd N --grace S [OPTIONS] -- ARGV...`; standard library only. It starts ARGV in a
session of its own with the standard output and error that it was given itself, and holds one end of a socket whose
other end only the engine has. When that end closes, however the engine died, the whole tree of the server is ended. On
Linux it is a subreaper, so a grandchild that leaves its session is still found; elsewhere the process group and `ps`
must do.

Options: `--follow S` is for launch commands that daemonise. ARGV may then end with 0 while what it started goes on:
that is the server now, and where `--pid-file PATH` is given, the process that this file names, whoever is its parent.
Where nothing is left of ARGV, such a process is waited for, up to S seconds. A file that was there before the launch
does not count, nor a process. `--stop JSON` is a command, run once before any signal, for up to the grace.

To the engine, as JSON lines: {"event": "started", "pid"}, {"event": "failed", "errno", "message"} when ARGV cannot be
run, {"event": "following", "pid"} for the process of the pid file, {"event": "stopped"|"continued", "pid", "t_s"} when
a child is stopped by a signal or goes on (`time.monotonic`), {"event": "exited", "code"|"signal"} with "left"
where a launch command left no server ("nothing", or "earlier": its pid file names a process of before the launch), and
last {"event": "gone", "stuck": [pids that could not be killed]}.
From the engine, as bytes: T (stop command, TERM once, grace, KILL) and K (KILL now). A second T changes nothing, since
llama-server takes a second TERM for "exit without cleaning up".
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

if __name__ == "__main__":  # -I leaves out where specdash is
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from specdash.programs.daemon_tracking import POLL_S, Follower
from specdash.runtime.proctable import ZOMBIE, Process, below, processes

PR_SET_CHILD_SUBREAPER = 36
KILL_LIMIT_S = 5.0  # a process that outlives KILL for so long is stuck in the kernel
STOPPED_S = 0.5  # a guard that is woken so late was stopped itself
OOM_SCORE = "300"  # short of memory, the kernel takes the server rather than the user's terminal


class ServerGuard:
    """Watches one server; everything happens in `run`."""

    def __init__(
        self, engine: socket.socket, grace_s: float, stop: list[str], pid_file: str | None, follow_s: float | None
    ) -> None:
        self._engine = engine
        self._grace_s = grace_s
        self._stop_argv = stop
        self._follower = Follower(pid_file, follow_s)
        self._pid = 0
        self._reaped = False  # what was started has ended
        self._exited = False  # the server has ended, and that was told
        self._ending = False
        self._then_s = 0.0  # from TERM to KILL, after the stop command
        self._stopper = 0
        self._stopper_until_s = 0.0
        self._deadline_s: float | None = None
        self._killed_s: float | None = None
        self._seen: dict[int, Process] = {}

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
            self._follow()
            wants_stop = self._stop_argv and not self._ending
            if self._exited and not wants_stop and not self._stopper and not self._remaining():
                self._tell(event="gone", stuck=[])
                return 0
            if self._exited:
                self._stop(0.0)  # what a wrapper leaves behind when its server has ended
            self._enforce()
            if self._killed_s is not None and time.monotonic() - self._killed_s > KILL_LIMIT_S:
                self._tell(event="gone", stuck=sorted(self._remaining()))
                return 1
            patience_ms, asked_s = self._patience(), time.monotonic()
            ready = [descriptor for descriptor, _ in watched.poll(patience_ms)]
            if patience_ms is not None:
                self._grant(time.monotonic() - asked_s - patience_ms / 1000)
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
        with contextlib.suppress(OSError), open(f"/proc/{self._pid}/oom_score_adj", "w", encoding="ascii") as file:
            file.write(OOM_SCORE)
        return True

    def _obey(self) -> bool:
        """Reads what the engine wants; False when the engine is gone, which means: end everything."""
        try:
            wanted = self._engine.recv(64)
        except ConnectionError:
            wanted = b""
        if b"K" in wanted:
            self._kill_now()
        else:
            self._stop(self._grace_s)
        return bool(wanted)

    def _follow(self) -> None:
        """Looks after a server that the launch command left behind, or finds out that there is none."""
        if self._exited:
            return
        known = self._follower.daemon
        end = self._follower.look(self._collected, ending=self._ending)
        if self._follower.daemon is not None and self._follower.daemon != known:
            self._tell(event="following", pid=self._follower.daemon[0])
        if end is not None and not self._exited:
            status, left = end
            self._note_exit(status, **({"left": left} if left else {}))

    def _collected(self) -> dict[int, Process]:
        """What remains, with every end of a moment ago collected."""
        members = self._remaining()
        self._reap()
        return members

    def _note_exit(self, status: int | None, **more: str) -> None:
        """Tells how the server ended, once; `status` is None where only its parent was told."""
        self._exited = True
        code = None if status is None else os.waitstatus_to_exitcode(status)
        number = -code if code is not None and code < 0 else None
        self._tell(event="exited", code=code if number is None else None, signal=number, **more)

    def _reap(self) -> None:
        """Collects every child that has ended; the server's own end is told, and every child's stops."""
        while True:
            try:
                # That a child went on is kept for whoever asks, even if its stop came and went while nobody did.
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status) or os.WIFCONTINUED(status):
                what = "stopped" if os.WIFSTOPPED(status) else "continued"
                self._tell(event=what, pid=pid, t_s=time.monotonic())
            elif pid == self._stopper:
                self._stopper = 0
                if status:
                    _say(f"the stop command failed ({os.waitstatus_to_exitcode(status)})")
                self._signal_first()
            elif pid != self._pid:
                self._follower.note(pid, status)
            else:
                self._reaped = True
                if self._ending or not self._follower.begins(pid, status):
                    self._note_exit(status)

    # -- the end -----------------------------------------------------------------------------------------------

    def _stop(self, grace_s: float) -> None:
        """The stop command, then TERM, and KILL after `grace_s`; only the first time."""
        if self._ending:
            return
        self._ending = True
        self._then_s = grace_s
        if not self._run_stop_command():
            self._signal_first()

    def _kill_now(self) -> None:
        """KILL, whatever else has begun."""
        self._ending = True
        self._end_stop_command()
        self._then_s = 0.0
        if self._deadline_s is None:
            self._signal_first()
        self._deadline_s = min(self._deadline_s or 0.0, time.monotonic())

    def _run_stop_command(self) -> bool:
        """Starts it; False where there is none, it cannot be run, or there is no time for it."""
        if not self._stop_argv or not self._grace_s:
            return False
        earlier = self._follower.earlier()
        if earlier:
            _say(f"the stop command is not run, since it may end pid {earlier}, which ran before the launch")
            return False
        try:
            child = subprocess.Popen(self._stop_argv, stdin=subprocess.DEVNULL, start_new_session=True)
        except (OSError, ValueError) as error:
            _say(f"the stop command cannot be run: {error}")
            return False
        child.returncode = 0  # it is reaped with all others
        self._stopper = child.pid
        self._stopper_until_s = time.monotonic() + self._grace_s
        return True

    def _end_stop_command(self) -> None:
        if self._stopper:
            with contextlib.suppress(OSError):
                os.killpg(self._stopper, signal.SIGKILL)
            self._stopper = 0

    def _signal_first(self) -> None:
        """TERM, or KILL at once where there is no grace."""
        if self._deadline_s is None:
            self._signal_all(signal.SIGTERM if self._then_s else signal.SIGKILL)
            self._deadline_s = time.monotonic() + self._then_s

    def _enforce(self) -> None:
        """KILL, and again for processes that appeared since, once the grace is over; the stop command has one too."""
        now_s = time.monotonic()
        if self._stopper and now_s >= self._stopper_until_s:
            _say(f"the stop command still ran after {self._grace_s:.0f} s")
            self._end_stop_command()
            self._signal_first()
        if self._deadline_s is not None and now_s >= self._deadline_s:
            self._killed_s = self._killed_s or now_s
            self._signal_all(signal.SIGKILL)

    def _patience(self) -> float | None:
        """Milliseconds to wait for news: for ever, to the end of the grace, or until KILL should have worked."""
        if self._killed_s is not None:
            return 50.0
        until_s = self._stopper_until_s if self._stopper else self._deadline_s
        if until_s is None:
            often_s = self._follower.patience_s
            return None if often_s is None else 1000 * often_s
        # Half a second at most, for systems where the end of a grandchild wakes nobody; 1 more against waking early.
        return max(0.0, min(until_s - time.monotonic(), POLL_S)) * 1000 + 1

    def _grant(self, late_s: float) -> None:
        """Puts off what is due by the time in which nothing ran here: the server may have been stopped with us."""
        if late_s < STOPPED_S:
            return
        self._follower.put_off(late_s)
        self._stopper_until_s += late_s
        self._deadline_s = self._deadline_s + late_s if self._deadline_s is not None else None
        self._killed_s = self._killed_s + late_s if self._killed_s is not None else None

    def _signal_all(self, number: int) -> None:
        """To the server's process group in one go, and to each descendant outside of it."""
        members = self._remaining()  # first: the end of a parent may hide its children
        told = False
        if not self._reaped:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, number)
                told = True
        for pid, process in members.items():
            if told and process.group == self._pid:
                continue
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def _remaining(self) -> dict[int, Process]:
        """The server and all its descendants that are still there."""
        table = processes()
        daemon, start = self._follower.daemon or (0, "")
        found: dict[int, Process] = {}
        if daemon and (daemon not in table or table[daemon].start == start):
            # What a server leaves behind that is nobody's child here is known by its group.
            found = {pid: each for pid, each in table.items() if daemon in (pid, each.group)}
        found |= below(table, {os.getpid(), *found})
        if sys.platform != "linux":
            # Nobody hands us orphans there: those in the server's process group are ours, and those seen before.
            seen = {pid: each.start for pid, each in self._seen.items()}
            found |= {
                pid: each for pid, each in table.items() if self._pid == each.group or seen.get(pid) == each.start
            }
            self._seen = found
        return {pid: each for pid, each in found.items() if each.group != ZOMBIE}

    def abandon(self) -> None:
        """Ends what can be ended without looking around, for a guard that fails itself."""
        with contextlib.suppress(OSError):
            if self._pid and not self._reaped:
                os.killpg(self._pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            if self._follower.daemon is not None and not self._exited:
                os.kill(self._follower.daemon[0], signal.SIGKILL)

    def _tell(self, **event: object) -> None:
        try:
            self._engine.sendall(json.dumps(event).encode() + b"\n")
        except OSError:
            return  # the engine is gone; nobody is left to be told


def _say(text: str) -> None:
    """A line in the server's log."""
    with contextlib.suppress(OSError):
        os.write(2, f"specdash: {text}\n".encode())


def _forget_inherited_signals() -> None:
    """Blocked and ignored signals outlive exec: a server would never see the TERM, its guard no end of a child.

    Those that Python ignores for itself are left alone; `restore_signals` gives them back to the server.
    """
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def main() -> int:
    """Parses the options of the module's docstring, and guards."""
    separator = sys.argv.index("--")
    options = dict(zip(sys.argv[1:separator:2], sys.argv[2:separator:2], strict=True))
    engine = socket.socket(fileno=int(options["--fd"]))
    engine.set_inheritable(False)
    follow = options.get("--follow")
    guard = ServerGuard(
        engine,
        float(options["--grace"]),
        json.loads(options.get("--stop", "[]")),
        options.get("--pid-file"),
        float(follow) if follow is not None else None,
    )
    try:
        return guard.run(sys.argv[separator + 1 :])
    except BaseException:
        guard.abandon()
        raise


if __name__ == "__main__":
    sys.exit(main())
