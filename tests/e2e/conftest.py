"""Machines with terminals, and a run that is over."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from specdash.engines.demo import TINY, write_pair
from tests.support.real_programs import absent
from tests.support.terminal_machine import Place


@pytest.fixture(scope="session", autouse=True)
def tmux() -> None:
    """tmux, without which there is no terminal to test in."""
    if shutil.which("tmux") is None:
        absent("no tmux: install tmux")


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny target and its draft."""
    return write_pair(tmp_path_factory.mktemp("pair"), shape=TINY)


@pytest.fixture
def place(tmp_path: Path, fake_server: Path, pair: tuple[Path, Path]) -> Iterator[Place]:
    """A machine of the test's own."""
    found = Place(tmp_path, fake_server, pair)
    yield found
    found.close()


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory, fake_server: Path, pair: tuple[Path, Path]) -> Iterator[Place]:
    """A machine with one finished run, for tests that change nothing of it."""
    found = Place(tmp_path_factory.mktemp("old"), fake_server, pair)
    run = found.run(found.profile(drafts=["D"]))
    assert run.code == 0, run.stderr
    assert run.path is not None
    found.over = run.path
    yield found
    found.close()
