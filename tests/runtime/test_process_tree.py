"""Ending processes that belong to nobody here: only those that are meant, and all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from specdash.runtime.process_tree import end_tree, identity, wait_gone

# Answers TERM with one more process, in a session of its own, that ignores TERM too.
BREEDER = """
import os, signal, subprocess
def breed(*_):
    child = subprocess.Popen(['/bin/sh', '-c', 'trap "" TERM; exec sleep 60'],
                             start_new_session=True, stdout=subprocess.DEVNULL)
    os.write(1, b'%d\\n' % child.pid)
signal.signal(signal.SIGTERM, breed)
os.write(1, b'up\\n')
while True: signal.pause()
"""
PLAIN = "import os, signal; os.write(1, b'up\\n'); signal.pause()"


@contextmanager
def running(code: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-I", "-S", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def test_what_is_started_during_the_grace_is_ended_too() -> None:
    with running(BREEDER) as process:
        assert end_tree(process.pid, identity(process.pid), 1.0) == ()
        assert process.stdout is not None
        children = [int(line) for line in process.stdout if line.strip().isdigit()]
        assert children
        assert not any(identity(child) for child in children)
        assert process.wait() == -signal.SIGKILL


def test_no_grace_means_no_term() -> None:
    with running(BREEDER) as process:
        assert end_tree(process.pid, identity(process.pid), 0.0) == ()
        assert process.stdout is not None
        assert process.stdout.read() == ""


def test_another_process_with_the_pid_is_left_alone() -> None:
    with running(PLAIN) as process:
        assert end_tree(process.pid, "another", 1.0) == ()
        assert end_tree(process.pid, None, 1.0) == ()
        assert process.poll() is None


def test_a_session_outlives_its_leader() -> None:
    with running("import os, signal, sys\nif os.fork(): sys.exit()\nos.write(1, b'up\\n'); signal.pause()") as leader:
        known_as = identity(leader.pid)
        leader.wait()
        assert leader.stdout is not None
        assert end_tree(leader.pid, known_as, 5.0) == ()
        assert leader.stdout.read() == ""  # the end of the last process that holds the pipe


def test_waiting_has_a_limit_and_names_who_is_left() -> None:
    with running(PLAIN) as process:
        me, other = os.getpid(), process.pid
        tree = {pid: known_as for pid in (me, other) if (known_as := identity(pid)) is not None}
        process.kill()
        os.waitid(os.P_PID, other, os.WEXITED | os.WNOWAIT)
        assert list(wait_gone(tree, 0.0)) == [me]
