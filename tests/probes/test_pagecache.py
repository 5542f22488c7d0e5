"""What is in the page cache, told without reading: against what was put in and what was dropped."""

from __future__ import annotations

import mmap
import os
from itertools import pairwise
from pathlib import Path

import pytest

from specdash.probes import pagecache
from specdash.probes.pagecache import WINDOW_PAGES, WINDOWS, PageCache, model_sizes, window_starts
from specdash.probes.sensor_guard import SensorUnavailable

PAGE = mmap.PAGESIZE
SIZE = 16 * 2**20


def written(path: Path, size: int = SIZE) -> Path:
    path.write_bytes(os.urandom(size))
    return path


def dropped(path: Path) -> bool:
    """Asks the system to forget a file; False where there is no way to ask."""
    if not hasattr(os, "posix_fadvise"):
        return False
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)
    return True


def test_a_file_just_written_is_cached_and_a_dropped_one_is_not(tmp_path: Path) -> None:
    path = written(tmp_path / "model.gguf")
    cache = PageCache()
    before = cache.cached_bytes([path])
    assert 0.9 * SIZE < before <= SIZE
    if not dropped(path) or cache.cached_bytes([path]) == before:
        pytest.skip("this file system keeps what it is told to drop")
    assert cache.cached_bytes([path]) < 0.5 * SIZE


def test_looking_reads_nothing(tmp_path: Path) -> None:
    path = written(tmp_path / "model.gguf")
    cache = PageCache()
    dropped(path)
    before = cache.cached_bytes([path])
    for _ in range(5):
        assert cache.cached_bytes([path]) == before


def test_part_of_a_file_is_that_part_even_when_only_windows_of_it_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "model.gguf")
    if not dropped(path) or PageCache().cached_bytes([path]) > 0:
        pytest.skip("this file system keeps what it is told to drop")
    handle = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_RANDOM)
        for page in range(0, SIZE // PAGE, 4):
            os.pread(handle, 1, page * PAGE)
        whole = PageCache().cached_bytes([path])
        monkeypatch.setattr(pagecache, "WINDOWS", 16)
        sampled = PageCache().cached_bytes([path])
    finally:
        os.close(handle)
    assert 16 * WINDOW_PAGES * PAGE < SIZE
    assert sampled == pytest.approx(whole, rel=0.15)


def test_a_sparse_giant_is_looked_at_in_windows(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        file.truncate(64 * 2**30)
    assert PageCache().cached_bytes([path]) == 0


def test_sizes_that_are_no_multiple_of_a_page(tmp_path: Path) -> None:
    odd, one, none = (written(tmp_path / str(size), size) for size in (3 * PAGE + 1, 1, 0))
    assert PageCache().cached_bytes([odd, one, none]) == 3 * PAGE + 2


def test_a_file_named_twice_counts_once(tmp_path: Path) -> None:
    path = written(tmp_path / "model.gguf", 8 * PAGE)
    link = tmp_path / "link.gguf"
    link.symlink_to(path)
    assert model_sizes([path, link, path]) == {path: 8 * PAGE}
    assert PageCache().cached_bytes([path, link]) == 8 * PAGE


def test_a_file_that_is_gone_is_named_and_asked_for_again_at_once(tmp_path: Path) -> None:
    with pytest.raises(SensorUnavailable, match=r"gone\.gguf is not there") as raised:
        PageCache().cached_bytes([tmp_path / "gone.gguf"])
    assert raised.value.retry_s == 0


def test_a_pipe_or_folder_is_no_model(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(SensorUnavailable, match="not a regular file"):
            PageCache().cached_bytes([path])


def test_a_file_of_another_user_is_unknown_not_fully_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "model.gguf", PAGE)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(SensorUnavailable, match="another user owns"):
        PageCache().cached_bytes([path])


def test_windows_cover_small_files_and_spread_over_large_ones() -> None:
    assert list(window_starts(100, 4)) == [0, 64]
    pages = 600 * 2**30 // 4096
    starts = window_starts(pages, WINDOWS)
    assert len(starts) == WINDOWS
    assert starts[-1] + WINDOW_PAGES <= pages
    gaps = [after - before for before, after in pairwise(starts)]
    assert min(gaps) >= WINDOW_PAGES
    assert max(gaps) <= 2 * pages / WINDOWS
    assert len(set(gaps)) > 2
