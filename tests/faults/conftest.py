"""The bench on which faults are tried."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from specdash.engines.demo import TINY, write_pair
from tests.support.fake_machine import Bench


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny target and its draft."""
    return write_pair(tmp_path_factory.mktemp("pair"), shape=TINY)


@pytest.fixture
def bench(tmp_path: Path, fake_server: Path, pair: tuple[Path, Path]) -> Iterator[Bench]:
    """A machine of the test's own."""
    found = Bench(tmp_path, fake_server, pair)
    yield found
    found.close()
