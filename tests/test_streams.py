"""Standard output and error: readers that go away, and what is lost although somebody waits for it."""

from __future__ import annotations

import io
import os
import pty
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from specdash import programs, streams

PROGRAMS = Path(programs.__file__).parent


def lasting(descriptor: int) -> io.BufferedWriter:
    """A stream on a descriptor, as `make_lasting` makes them."""
    return io.BufferedWriter(streams._Lasting(descriptor))


def failed(stream: io.BufferedWriter) -> OSError | None:
    raw = stream.raw
    assert isinstance(raw, streams._Lasting)
    return raw.failed


def test_a_terminal_that_is_closed_takes_every_write() -> None:
    ours, theirs = pty.openpty()
    stream = lasting(theirs)
    stream.write(b"before")
    stream.flush()
    assert os.read(ours, 100) == b"before"
    os.close(ours)
    with pytest.raises(OSError, match="Input/output error"):
        os.write(theirs, b"x")
    for _ in range(3):
        assert stream.write(b"x" * 100_000) == 100_000
        stream.flush()
    assert failed(stream) is None
    os.close(theirs)


def test_a_pipe_without_a_reader_takes_every_write() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = lasting(writer)
    stream.write(b"x" * 100_000)
    stream.flush()
    assert failed(stream) is None
    os.close(writer)


def test_a_full_disk_is_a_failure_and_no_exception() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    stream = lasting(descriptor)
    stream.write(b"x")
    stream.flush()
    error = failed(stream)
    assert error is not None
    assert error.strerror == "No space left on device"
    os.close(descriptor)


def test_all_of_it_arrives_where_another_program_has_set_the_pipe_to_non_blocking() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    stream, content, seen = lasting(writer), bytes(range(256)) * 4096, bytearray()

    def read() -> None:
        while data := os.read(reader, 65_536):
            seen.extend(data)

    reading = threading.Thread(target=read)
    reading.start()
    stream.write(content)
    stream.flush()
    os.close(writer)
    reading.join(30)
    os.close(reader)
    assert bytes(seen) == content


@pytest.mark.parametrize(
    ("redirected", "printed", "code"),
    [
        (">&-", False, 0),
        ("2>&-", True, 0),
        ("<&- >&- 2>&-", False, 0),
        (">/dev/full", False, 5),
        (">/dev/full 2>&1", False, 5),
    ],
)
@pytest.mark.parametrize("arguments", ["--help", "runs"])
def test_commands_without_a_stream(redirected: str, printed: bool, code: int, arguments: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m specdash {arguments} {redirected}'],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code
    assert bool(done.stdout) == printed
    assert "Traceback" not in done.stderr
    assert ("No space left on device" in done.stderr) == (redirected == ">/dev/full")


def test_no_file_becomes_standard_output_where_that_was_closed(tmp_path: Path) -> None:
    script = (
        "from specdash import streams; streams.make_lasting(); import sys;"
        f" file = open({str(tmp_path / 'file')!r}, 'w');"
        " print('to nobody'); print('too', file=sys.stderr); file.close()"
    )
    subprocess.run(["sh", "-c", f'"{sys.executable}" -c "$0" <&- >&- 2>&-', script], check=True, timeout=60)
    assert (tmp_path / "file").read_text() == ""


def test_servers_of_ours_whose_log_is_full_say_nothing_and_fail_nothing(
    embedded_available: None, mlx_python: Path
) -> None:
    programs = ([sys.executable, "-m", "specdash.programs.embedded"], [str(mlx_python), str(PROGRAMS / "mlx_server")])
    for program in programs:
        command = f"{shlex.join([*program, '--version'])} 2>/dev/full"
        assert subprocess.run(["sh", "-c", command], timeout=60).returncode == 0, program
