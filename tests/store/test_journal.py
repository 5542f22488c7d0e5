"""The journal under every kind of damage: nothing acknowledged is lost, nothing damaged is believed."""

from __future__ import annotations

import errno
import os
import random
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from specdash.core import events as ev
from specdash.core.measure import Sample
from specdash.errors import DiskFull, Exit, StoreError
from specdash.store import journal as store
from specdash.store.codec import encode_fact
from specdash.store.journal import Journal, line_of, read

# Written by the version before commands had models and settings a type.
JOURNAL_LINES = Path(__file__).parent.parent / "data" / "journal-lines.jsonl"


def note(text: str) -> ev.Noted:
    return ev.Noted("info", text)


def fill(path: Path, count: int) -> list[ev.Recorded]:
    journal = Journal.create(path)
    recorded = [journal.append(note(f"fact {number} “quoted” \u2028 {'x' * (number % 7)}")) for number in range(count)]
    journal.close()
    return recorded


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_what_is_appended_is_read_back(path: Path) -> None:
    recorded = fill(path, 5)
    found = read(path)
    assert list(found.records) == recorded
    assert [each.seq for each in found.records] == [1, 2, 3, 4, 5]
    assert (found.torn_bytes, found.unknown, found.last_seq) == (0, 0, 5)
    assert found.good_bytes == path.stat().st_size


def test_a_line_is_what_the_contract_says(path: Path) -> None:
    body = b'{"v":1,"seq":7,"t":"2026-11-21T10:00:00.123Z","type":"noted","level":"info","text":"hello"}'
    assert line_of(ev.Recorded(7, 1795255200.123, note("hello"))) == body[:-1] + b',"crc":"70668c82"}\n'
    assert zlib.crc32(body) == 0x70668C82


def test_opening_again_goes_on_with_the_numbers(path: Path) -> None:
    fill(path, 3)
    journal = Journal.open(path)
    assert journal.append(note("more")).seq == 4
    journal.close()
    assert [each.seq for each in read(path).records] == [1, 2, 3, 4]


def test_a_new_journal_never_replaces_one(path: Path) -> None:
    fill(path, 2)
    with pytest.raises(StoreError, match=r"journal\.jsonl exists already"):
        Journal.create(path)
    assert len(read(path).records) == 2


def test_a_missing_journal_and_a_missing_folder_are_errors_with_exit_code_5(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read") as caught:
        Journal.open(tmp_path / "journal.jsonl")
    assert caught.value.exit_code is Exit.UNSAFE
    with pytest.raises(StoreError, match="cannot be created"):
        Journal.create(tmp_path / "absent" / "journal.jsonl")


def test_a_journal_is_not_written_through_a_link(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"")
    path.symlink_to(other)
    with pytest.raises(StoreError):
        Journal.open(path)
    with pytest.raises(StoreError):
        Journal.create(path)


def test_nan_is_never_written(path: Path) -> None:
    journal = Journal.create(path)
    with pytest.raises(ValueError, match="JSON"):
        journal.append(ev.WarmedUp("l001", 1, float("nan")))
    assert journal.append(note("after")).seq == 1
    journal.close()
    assert len(read(path).records) == 1


# -- damage -----------------------------------------------------------------------------------------------------------


def test_every_truncation_keeps_all_whole_records(path: Path) -> None:
    recorded = fill(path, 12)
    content = path.read_bytes()
    ends = [index + 1 for index, byte in enumerate(content) if byte == 0x0A]
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        found = read(path)
        whole = sum(end <= cut for end in ends)
        assert list(found.records) == recorded[:whole]
        assert found.torn_bytes == cut - ([0, *ends])[whole]


def test_a_torn_record_is_set_aside_and_the_run_goes_on(path: Path) -> None:
    fill(path, 3)
    content = path.read_bytes()
    for number in (1, 2):
        path.write_bytes(content[:-10])
        journal = Journal.open(path)
        assert journal.append(note("again")).seq == 3
        journal.close()
        assert [each.seq for each in read(path).records] == [1, 2, 3]
        torn = path.with_name(f"journal.torn-{number}").read_bytes()
        assert content[:-10].endswith(b"\n" + torn)


@pytest.mark.parametrize("size", [1, 512, 4096])
def test_a_tail_of_nul_bytes_is_cut(path: Path, size: int) -> None:
    recorded = fill(path, 4)
    content = path.read_bytes()
    for kept in (len(content), len(content) - 20):
        path.write_bytes(content[:kept] + bytes(size))
        journal = Journal.open(path)
        journal.close()
        assert list(read(path).records) == recorded[: 4 if kept == len(content) else 3]
        assert read(path).torn_bytes == 0


def test_no_flipped_bit_is_ever_believed(path: Path) -> None:
    recorded = fill(path, 20)
    content = path.read_bytes()
    last_line = content.rstrip(b"\n").rfind(b"\n") + 1
    rng = random.Random(1)
    for _ in range(500):
        position, bit = rng.randrange(len(content)), rng.randrange(8)
        broken = bytearray(content)
        broken[position] ^= 1 << bit
        path.write_bytes(broken)
        try:
            found = read(path)
        except StoreError as error:
            refusal = str(error)
        else:
            assert position >= last_line
            assert list(found.records) == recorded[:19]
            continue
        line = content[:position].count(b"\n") + 1
        assert f"journal.jsonl:{line}:" in refusal or f"journal.jsonl:{line + 1}:" in refusal


def test_upper_case_hex_of_a_checksum_is_not_the_checksum(path: Path) -> None:
    journal = Journal.create(path)
    while True:
        journal.append(note(os.urandom(4).hex()))
        last = path.read_bytes().splitlines()[-1]
        if last[-10:-2] != last[-10:-2].upper():
            break
    journal.append(note("last"))
    journal.close()
    path.write_bytes(path.read_bytes().replace(last[-10:-2], last[-10:-2].upper()))
    with pytest.raises(StoreError, match="no checksum"):
        read(path)


def test_a_joined_pair_of_lines_is_no_torn_record(path: Path) -> None:
    fill(path, 5)
    content = path.read_bytes()
    second_last = content.rstrip(b"\n").rfind(b"\n")
    path.write_bytes(content[:second_last] + b"\x0b" + content[second_last + 1 :])
    with pytest.raises(StoreError, match=r"journal\.jsonl:4:"):
        Journal.open(path)
    assert not list(path.parent.glob("*.torn-*"))


@pytest.mark.parametrize("change", ["lost", "doubled", "swapped"])
def test_records_that_are_whole_but_out_of_order_are_refused(path: Path, change: str) -> None:
    fill(path, 5)
    lines = path.read_bytes().splitlines(keepends=True)
    changed = {
        "lost": [*lines[:2], *lines[3:]],
        "doubled": [*lines[:3], lines[2], *lines[3:]],
        "swapped": [*lines[:2], lines[3], lines[2], lines[4]],
    }[change]
    path.write_bytes(b"".join(changed))
    with pytest.raises(StoreError, match=r"record \d is expected here"):
        read(path)


@pytest.mark.parametrize("line", JOURNAL_LINES.read_bytes().splitlines(keepends=True))
def test_a_line_of_an_earlier_version_is_read_and_would_be_written_again_as_it_is(line: bytes) -> None:
    recorded = store.parse_line(line[:-1])
    assert recorded is not None
    assert line_of(recorded) == line


def test_the_models_of_a_command_are_in_its_line(path: Path) -> None:
    model = ev.ModelRead("T", "target", "/t.gguf", 7, None, None, "dense-small")
    with_model = ev.CommandAccepted("edit", "added 1 step", (), (model,))
    assert b'"models"' not in line_of(ev.Recorded(1, 0.0, ev.CommandAccepted("pause")))
    journal = Journal.create(path)
    journal.append(with_model)
    journal.close()
    assert read(path).records[0].fact == with_model


# -- other versions ---------------------------------------------------------------------------------------------------


def raw(monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], dict[str, Any]], seq: int = 1) -> bytes:
    """A line with a valid checksum whose body another version might have written."""
    with monkeypatch.context() as patch:
        patch.setattr(store, "encode_fact", lambda fact: change(encode_fact(fact)))
        return line_of(ev.Recorded(seq, 1795255200.0, note("x")))


def test_a_type_of_another_version_is_counted_and_skipped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path, 2)
    with monkeypatch.context() as patch:
        patch.setattr(ev.Noted, "TYPE", "of_next_year")
        line = line_of(ev.Recorded(3, 1795255200.0, note("x")))
    with path.open("ab") as file:
        file.write(line)
    journal = Journal.open(path)
    assert journal.append(note("after")).seq == 4
    journal.close()
    found = read(path)
    assert [each.seq for each in found.records] == [1, 2, 4]
    assert found.unknown == 1


def test_an_additional_field_is_dropped_and_a_missing_one_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(raw(monkeypatch, lambda body: body | {"colour": "red"}))
    assert read(path).records[0].fact == note("x")
    path.write_bytes(raw(monkeypatch, lambda body: {"level": "info"}))
    with pytest.raises(StoreError, match=r"journal\.jsonl:1: .*text"):
        read(path)


def test_a_newer_format_is_refused_with_the_version_that_reads_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "VERSION", 2)
    path.write_bytes(raw(monkeypatch, lambda body: body | {"specdash_version": "3.1.0"}))
    monkeypatch.setattr(store, "VERSION", 1)
    with pytest.raises(StoreError, match=r"format 2.*up to 1\n.*specdash 3\.1\.0 or newer"):
        read(path)


# -- full and failing disks -------------------------------------------------------------------------------------------


@pytest.fixture
def file_limit() -> Iterator[Callable[[int], None]]:
    """Limits the size of files that this process may write, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size if size >= 0 else soft, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_short_write_leaves_nothing_and_can_be_tried_again(path: Path, file_limit: Callable[[int], None]) -> None:
    journal = Journal.create(path)
    journal.append(note("first"))
    length = path.stat().st_size
    record = len(line_of(ev.Recorded(2, 1795255200.0, note("second"))))
    for room in range(record):
        file_limit(length + room)
        with pytest.raises(DiskFull, match="no record can be added"):
            journal.append(note("second"))
        file_limit(-1)
        assert path.stat().st_size == length
    assert journal.append(note("second")).seq == 2
    journal.close()
    assert [each.fact for each in read(path).records] == [note("first"), note("second")]


class FailingSync:
    """Stands in for `os.fdatasync`: the calls with these numbers fail."""

    def __init__(self, code: int, failing: range) -> None:
        self.code = code
        self.failing = failing
        self.calls = 0
        self._real = getattr(os, "fdatasync", os.fsync)

    def __call__(self, descriptor: int) -> None:
        self.calls += 1
        if self.calls in self.failing:
            raise OSError(self.code, os.strerror(self.code))
        self._real(descriptor)


needs_fdatasync = pytest.mark.skipif(sys.platform == "darwin", reason="macOS syncs by fcntl")


@needs_fdatasync
def test_a_sync_that_fails_once_is_made_good_through_another_descriptor(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.create(path)
    journal.append(note("first"))
    opened: list[Path] = []
    real_open = os.open

    def noted_open(path: Path, flags: int, mode: int = 0o777) -> int:
        opened.append(path)
        return real_open(path, flags, mode)

    monkeypatch.setattr(os, "open", noted_open)
    monkeypatch.setattr(os, "fdatasync", FailingSync(errno.EIO, range(1, 2)))
    assert journal.append(note("second")).seq == 2
    assert path in opened
    monkeypatch.undo()
    journal.append(note("third"))
    journal.close()
    assert [each.fact for each in read(path).records] == [note("first"), note("second"), note("third")]


@needs_fdatasync
def test_a_sync_that_goes_on_failing_ends_the_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.create(path)
    journal.append(note("first"))
    monkeypatch.setattr(os, "fdatasync", FailingSync(errno.EIO, range(1, 99)))
    for _ in range(2):
        with pytest.raises(StoreError, match="may not be on disk") as caught:
            journal.append(note("second"))
        assert not isinstance(caught.value, DiskFull)
    monkeypatch.undo()
    with pytest.raises(StoreError):
        journal.append(note("third"))
    journal.close()
    assert read(path).records[0].fact == note("first")


@needs_fdatasync
def test_a_file_system_without_sync_is_warned_of_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "fdatasync", FailingSync(errno.EINVAL, range(1, 99)))
    fill(path, 3)
    assert len(read(path).records) == 3
    assert sum("offers no sync" in record.message for record in caplog.records) == 1


@needs_fdatasync
def test_a_disk_that_is_full_only_at_the_sync_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.create(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", FailingSync(errno.ENOSPC, range(1, 2)))
        with pytest.raises(DiskFull):
            journal.append(note("first"))
    assert path.stat().st_size == 0
    assert journal.append(note("first")).seq == 1
    journal.close()


def test_a_deleted_journal_is_written_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "journal.jsonl"
    journal = Journal.create(path)
    journal.append(note("first"))
    path.unlink()
    folder.rmdir()
    journal.append(note("second"))
    journal.append(note("third"))
    journal.close()
    assert [each.fact for each in read(path).records] == [note("first"), note("second"), note("third")]


# -- death ------------------------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from specdash.core.events import Noted
from specdash.store.journal import Journal
path = Path(sys.argv[1])
journal = Journal.open(path) if path.exists() else Journal.create(path)
while True:
    recorded = journal.append(Noted("info", "x" * 300))
    sys.stdout.write(f"{recorded.seq}\\n")
    sys.stdout.flush()
"""


def test_kill_9_loses_no_acknowledged_record(path: Path) -> None:
    rng = random.Random(2)
    acknowledged = 0
    for _ in range(20):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        wanted = acknowledged + rng.randrange(1, 60)
        for line in writer.stdout:
            acknowledged = int(line)
            if acknowledged >= wanted:
                break
        writer.kill()
        rest = writer.stdout.read()
        writer.stdout.close()
        writer.wait()
        whole = [line for line in rest.split("\n")[:-1] if line]
        acknowledged = int(whole[-1]) if whole else acknowledged
        found = read(path)
        assert found.last_seq >= acknowledged
        assert [each.seq for each in found.records] == list(range(1, found.last_seq + 1))


def test_a_sample_survives_with_every_field(path: Path) -> None:
    sample = Sample.broken(
        prompt_id="p1", block=2, started_s=1795255200.25, reasons=("stream_cut", "a \ud800 sentence")
    )
    journal = Journal.create(path)
    journal.append(ev.SampleTaken("s", "l001", sample, 1.5))
    journal.close()
    assert read(path).records[0].fact == ev.SampleTaken("s", "l001", sample, 1.5)
