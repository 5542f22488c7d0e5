"""Real servers' models, and a machine for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from specdash.engines.demo import TINY, write_moe, write_pair
from tests.support.demo_models import TINY_MOE
from tests.support.real_machine import Real


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny target and its draft."""
    return write_pair(tmp_path_factory.mktemp("pair"), shape=TINY)


@pytest.fixture(scope="session")
def tiny_moe(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny mixture of experts and its draft."""
    return write_moe(tmp_path_factory.mktemp("moe"), shape=TINY_MOE)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Real]:
    """A machine of the test's own."""
    found = Real(tmp_path)
    yield found
    found.close()
