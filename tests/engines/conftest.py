"""MLX models and a server of ours, made once for all tests of the engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from specdash.engines.demo import TINY
from tests.support.demo_models import write_mlx_pair
from tests.support.mlx_servers import OwnServer


@pytest.fixture(scope="session")
def mlx_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny target and its draft, as MLX folders."""
    return write_mlx_pair(tmp_path_factory.mktemp("mlx"), shape=TINY)


@pytest.fixture(scope="session")
def own_mlx(mlx_python: Path, mlx_pair: tuple[Path, Path]) -> Iterator[OwnServer]:
    """Our server with the pair, K = 4 at start-up."""
    with OwnServer(mlx_python, mlx_pair[0], "--draft-model", mlx_pair[1], "--num-draft-tokens", "4") as server:
        yield server
