"""The writer that never holds anybody up, on a real terminal that is or is not read."""

from __future__ import annotations

import os
import pty
import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from specdash.ui.output import BACKLOG_BYTES, MOST_BYTES, LossyWriter, written_in_background

WAIT_S = 20.0


class Ends:
    """Both ends of a terminal, and what the writer reported."""

    def __init__(self) -> None:
        self.reader, self.writer_fd = pty.openpty()
        self.drained, self.lost = threading.Event(), threading.Event()
        self.writer = LossyWriter(self.writer_fd, on_drained=self.drained.set, on_lost=self.lost.set)
        self.writer.start()

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and select.select([self.reader], [], [], WAIT_S)[0]:
            data += os.read(self.reader, 65_536)
        return data


@pytest.fixture
def ends() -> Iterator[Ends]:
    found = Ends()
    yield found
    found.writer.stop(0)
    found.writer.close()
    for fd in (found.reader, found.writer_fd):
        try:
            os.close(fd)
        except OSError:
            continue


def test_what_is_read_arrives_in_order(ends: Ends) -> None:
    pieces = [f"piece {number:05d};".encode() for number in range(2000)]
    for piece in pieces:
        ends.writer.write(piece)
    assert ends.read(sum(map(len, pieces))) == b"".join(pieces)
    assert ends.writer.stop(WAIT_S)


def test_a_terminal_that_is_not_read_backs_up_and_drains(ends: Ends) -> None:
    frame = b"x" * 10_000
    sent = 0
    while not ends.writer.is_backed_up:
        ends.writer.write(frame)
        sent += len(frame)
    assert sent >= BACKLOG_BYTES
    assert not ends.drained.is_set()
    assert len(ends.read(sent)) == sent
    assert ends.drained.wait(WAIT_S), "nobody was told that a whole picture can be sent now"
    assert not ends.writer.is_backed_up


def test_the_backlog_has_an_end(ends: Ends) -> None:
    for _ in range(3 * MOST_BYTES // 10_000):
        ends.writer.write(b"x" * 10_000)
    assert ends.writer._size <= MOST_BYTES + 10_000


def test_what_is_forced_goes_before_what_waits(ends: Ends) -> None:
    for _ in range(20):
        ends.writer.write(b"x" * 10_000)
    assert not ends.writer.stop(0.05), "it was not all written, and this must be known"
    ends.writer.force(b"restore")
    seen = b""
    while not seen.endswith(b"\x18\x1b\\restore"):
        assert len(seen) < 200_000, "what was thrown away was written"
        more = ends.read(1)
        assert more, f"it was not written; the last that was: {seen[-40:]!r}"
        seen += more


def test_a_terminal_that_is_gone_is_told_once(ends: Ends) -> None:
    os.close(ends.reader)
    ends.writer.write(b"x")
    assert ends.lost.wait(WAIT_S)
    ends.writer.write(b"x" * 100)
    assert not ends.writer.stop(0)


def test_text_for_a_reader_that_stands_still_is_taken_at_once_and_arrives() -> None:
    reader, writer = os.pipe()
    lines = [f"line {number} \u2713\n" for number in range(20_000)]
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        seen = bytearray()
        with written_in_background(stream) as out:
            for line in lines:
                out.write(line)  # a pipe holds a third of this

            def read() -> None:
                while len(seen) < sum(len(line.encode()) for line in lines):
                    seen.extend(os.read(reader, 65_536))

            reading = threading.Thread(target=read)
            reading.start()
        reading.join(WAIT_S)  # what the pipe still held
        assert bytes(seen).decode() == "".join(lines), "the end of the block did not wait for the reader"
    os.close(reader)


def test_a_reader_that_goes_away_ends_the_waiting() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as stream, written_in_background(stream) as out:
        out.write("x" * 200_000)
        os.close(reader)


def test_a_file_is_written_as_it_is(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream, written_in_background(stream) as out:
        assert out is stream
