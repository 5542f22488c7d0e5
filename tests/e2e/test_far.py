"""A dashboard over ssh, and a line that is cut."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.sshd import make_keys, running_sshd
from tests.support.terminal_machine import Place, ends, engine_of, statuses, until, view_of


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("keys"))


def test_attach_through_ssh_and_a_line_that_is_cut(place: Place, keys: Path) -> None:
    profile = place.slow_profile(60, measure={"max_tokens": 48, "iterations": 8})
    mine = place.environment()
    there = [f"{name}={mine[name]}" for name in ("PYTHONPATH", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")]
    with running_sshd(keys) as sshd:
        ssh = {
            "SPECDASH_SSH": shlex.join(["ssh", *sshd.options]),
            "SPECDASH_REMOTE": shlex.join(["env", *there, sys.executable, "-m", "specdash"]),
        }
        with place.terminal() as here, place.terminal((80, 24), **ssh) as far:
            here.command(f"specdash {profile.name}")
            here.until(" RUN ")
            here.keys("d")
            assert here.ended() == 0
            path = place.run_path()
            far.command(f"specdash attach --ssh 127.0.0.1 {path.name}")
            far.until(" RUN ")
            far.keys("Space")
            far.matching(r"PAUSED\s+\d+/\d+")  # the header; the queue says it too, and later
            assert view_of(path).paused
            far.keys("Space")
            until(path, lambda view: not view.paused)  # before the line is cut
            far.until(" RUN ")
            (line,) = [each for each in psutil.Process(far.pid).children(recursive=True) if each.name() == "ssh"]
            engine = engine_of(path)
            line.kill()
            seen = far.until("LINE LOST:")
            assert "specdash attach --ssh 127.0.0.1" in seen
            measured = len(view_of(path).steps)
            for key, there_is in (("2", "On/off"), ("4", "Search"), ("1", "Details")):
                far.keys(key)
                far.until(there_is)
            far.keys("q")
            assert far.ended() == 0
            assert f"specdash attach {path.name} --ssh 127.0.0.1" in far.scrollback()
        assert engine_of(path) == engine
        view = until(path, lambda view: view.finished is not None)
        assert len(statuses(view)) == measured
        assert set(statuses(view).values()) == {"ok"}
        assert ends(path)
