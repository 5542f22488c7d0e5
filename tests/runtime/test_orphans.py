"""Servers whose engine was killed: what is provably ours is ended, everything else is told and left alone."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from specdash.core.launch import Ending, LaunchSpec
from specdash.runtime.notes import NONCE, ServerNote, servers_folder
from specdash.runtime.orphans import end_orphans, find_orphans
from specdash.runtime.tree import identity
from tests.support.process_trees import LIMIT_S, STUBBORN, logged, python, until

OURS = secrets.token_hex(8)  # tests that run beside these must not find each other
DEAD = {"pid": os.getpid(), "identity": "another"}
COUNTER = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'TERM\\n'), os._exit(0)))
print('up', flush=True)
while True: signal.pause()
"""

Launch = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """The folder for notes of a run."""
    (tmp_path / "a-run" / "run").mkdir(parents=True)
    return tmp_path / "a-run" / "run"


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts processes that carry a nonce, or none."""
    started: list[subprocess.Popen[bytes]] = []

    def go(*argv: object, nonce: str | None = OURS) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if name != NONCE}
        environment |= {NONCE: nonce} if nonce is not None else {}
        with (tmp_path / "log").open("ab") as log:
            command = [str(word) for word in argv or ("/bin/sleep", "600")]
            started.append(subprocess.Popen(command, env=environment, start_new_session=True, stdout=log))
        until(lambda: psutil.Process(started[-1].pid).environ())  # a program that is just being run shows none
        return started[-1]

    yield go
    for process in started:
        process.kill()
        process.wait()


def note(
    folder: Path, process: subprocess.Popen[bytes] | None, *, stop: tuple[str, ...] = (), **changed: object
) -> list[Path]:
    """The notes of a server, from an engine and a guard that are dead unless `changed` says otherwise."""
    spec = LaunchSpec(("/opt/llama-server", "--flag"), {NONCE: OURS}, folder / "l001.log", 0.3, Ending(stop))
    found = ServerNote.begin(folder, spec, 0.3)
    if process is not None:
        found.started(process.pid, process.pid)
    for path in found.paths:
        fields = json.loads(path.read_text()) | {"engine": DEAD, "guard": DEAD if process is not None else None}
        path.write_text(json.dumps(fields | changed))
    return list(found.paths)


def in_the_run_alone(paths: list[Path]) -> Path:
    """The note of a run folder that came from elsewhere, or whose runtime folder is gone."""
    here, there = paths
    there.unlink()
    return here


def test_a_server_of_a_dead_engine_is_told_of_and_ended(notes: Path, launch: Launch) -> None:
    server = launch()
    paths = note(notes, server)
    (orphan,) = find_orphans([notes])
    assert str(orphan) == f"llama-server (pid {server.pid}) of a-run runs without its engine"
    assert server.poll() is None
    assert all(path.exists() for path in paths)
    (said,), left = end_orphans([notes])
    assert said == f"llama-server (pid {server.pid}) of a-run"
    assert left == []
    assert server.wait(LIMIT_S) == -signal.SIGTERM
    assert not any(path.exists() for path in paths)
    assert find_orphans([notes]) == []


def test_it_is_found_by_either_of_its_notes(notes: Path, launch: Launch) -> None:
    for number in (0, 1):
        server = launch()
        note(notes, server)[number].unlink()
        assert len(end_orphans([notes])[0]) == 1
        assert server.wait(LIMIT_S) == -signal.SIGTERM


async def test_a_server_that_ignores_term_is_killed(notes: Path, launch: Launch, tmp_path: Path) -> None:
    server = launch(*python(STUBBORN))
    await logged(tmp_path / "log", "up")
    note(notes, server)
    assert len((await asyncio.to_thread(end_orphans, [notes]))[0]) == 1
    assert server.wait(LIMIT_S) == -signal.SIGKILL


def test_a_reused_pid_is_not_touched(notes: Path, launch: Launch) -> None:
    other = launch(nonce=None)
    paths = note(notes, other, server={"pid": other.pid, "identity": "an earlier one"})
    assert end_orphans([notes]) == ([], [])
    assert other.poll() is None
    assert not any(path.exists() for path in paths)


def test_a_server_of_a_living_engine_is_not_touched(notes: Path, launch: Launch) -> None:
    server = launch()
    paths = note(notes, server, engine={"pid": os.getpid(), "identity": identity(os.getpid())})
    assert find_orphans([notes]) == []
    assert end_orphans([notes]) == ([], [])
    assert server.poll() is None
    assert all(path.exists() for path in paths)


def test_a_server_of_another_machine_is_left_to_it(notes: Path, launch: Launch) -> None:
    server = launch()
    path = in_the_run_alone(note(notes, server, host=f"not-{socket.gethostname()}"))
    assert end_orphans([notes]) == ([], [])
    assert server.poll() is None
    assert path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"server": {"pid": "1"}}', '{"server": null}', "\0" * 512])
def test_a_note_that_cannot_be_read_is_kept_and_told(notes: Path, text: str) -> None:
    path = notes / "1.json"
    path.write_text(text)
    ended, (left,) = end_orphans([notes])
    assert ended == []
    assert str(left) == f"{path} cannot be read (it is damaged): it may name a server that runs"
    assert str(path) in left.todo
    assert path.read_text() == text
    assert find_orphans([notes]) == [left]


def test_what_a_run_folder_alone_says_proves_nothing(notes: Path, launch: Launch) -> None:
    """Somebody else may have written it: a process that does not carry the nonce is told, and left alone."""
    for other in (launch(nonce=None), launch(nonce="another")):
        path = in_the_run_alone(note(notes, other))
        ended, (left,) = end_orphans([notes])
        assert ended == []
        assert left.pids == (other.pid,)
        assert "proves that specdash started it" in str(left)
        assert find_orphans([notes]) == [left]
        assert other.poll() is None
        path.unlink()


def test_a_note_that_only_this_user_could_write_needs_no_nonce(notes: Path, launch: Launch) -> None:
    """Some servers overwrite their environment with their title."""
    server = launch(nonce=None)
    note(notes, server)
    assert len(end_orphans([notes])[0]) == 1
    assert server.wait(LIMIT_S) == -signal.SIGTERM


def test_a_server_is_found_that_was_just_being_started(notes: Path, launch: Launch) -> None:
    """The engine was killed before its note named the server: the nonce does."""
    server, other = launch(), launch(nonce="another")
    note(notes, None)
    ended, _ = end_orphans([notes])
    assert len(ended) == 1
    assert server.wait(LIMIT_S) == -signal.SIGTERM
    assert other.poll() is None


def test_what_a_dead_server_has_left_is_ended_too(notes: Path, launch: Launch) -> None:
    """A command-line program that its bridge had started, in a session of its own."""
    server, child = launch(), launch()
    note(notes, server)
    server.kill()
    server.wait(LIMIT_S)
    assert len(end_orphans([notes])[0]) == 1
    assert child.wait(LIMIT_S) == -signal.SIGTERM


def test_a_stop_command_runs_first_and_comes_from_no_run_folder(notes: Path, launch: Launch, tmp_path: Path) -> None:
    told = tmp_path / "told"
    server = launch(*python(COUNTER))
    stop = ("/bin/sh", "-c", f"echo stopped >> {told}; kill -USR1 {server.pid}")
    paths = note(notes, server, stop=stop)
    assert ["stop" in json.loads(path.read_text()) for path in paths] == [False, True]
    assert len(end_orphans([notes])[0]) == 1
    assert server.wait(LIMIT_S) == -signal.SIGUSR1
    assert told.read_text() == "stopped\n"
    other = launch()
    path = in_the_run_alone(note(notes, other, stop=stop))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"stop": stop}))
    assert len(end_orphans([notes])[0]) == 1
    assert told.read_text() == "stopped\n"


async def test_two_that_look_at_once_send_one_term(notes: Path, launch: Launch, tmp_path: Path) -> None:
    server = launch(*python(COUNTER.replace("os._exit(0)", "None")))
    await logged(tmp_path / "log", "up")
    note(notes, server)
    both = await asyncio.gather(*(asyncio.to_thread(end_orphans, [notes]) for _ in range(2)))
    assert sorted(len(ended) for ended, _ in both) == [0, 1]
    assert (tmp_path / "log").read_text() == "up\nTERM\n"


def test_a_note_of_an_earlier_version_is_understood(notes: Path, launch: Launch) -> None:
    server = launch()
    about = {"pid": server.pid, "identity": identity(server.pid)}
    old = {"server": about, "guard": DEAD, "engine": DEAD, "grace_s": 0.3, "argv": ["/opt/llama-server", "-m", "x"]}
    (notes / f"{server.pid}.json").write_text(json.dumps(old))
    (said,), _ = end_orphans([notes])
    assert said == f"llama-server (pid {server.pid}) of a-run"
    assert server.wait(LIMIT_S) == -signal.SIGTERM


def test_a_note_tells_no_arguments(notes: Path) -> None:
    """They may hold secrets, and nobody needs them."""
    spec = LaunchSpec(("/opt/server", "--api-key", "hush"), {NONCE: OURS, "TOKEN": "hush"}, notes / "log", 0.3)
    found = ServerNote.begin(notes, spec, 0.3)
    for path in found.paths:
        assert "hush" not in path.read_text()
        assert path.stat().st_mode & 0o777 == 0o600
    found.remove()
    assert not list(servers_folder().iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="the size of a block is looked at")
def test_a_note_takes_its_room_before_its_server_is_started(notes: Path, launch: Launch) -> None:
    spec = LaunchSpec(("/opt/server",), {NONCE: OURS}, notes / "log", 0.3)
    found = ServerNote.begin(notes, spec, 0.3)
    before = [path.stat().st_size for path in found.paths]
    server = launch()
    found.started(server.pid, server.pid)
    found.follow(server.pid)
    assert [path.stat().st_size for path in found.paths] == before
    found.remove()
