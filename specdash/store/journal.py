"""The journal: every fact of a run, one line each, on disk before anybody is told.

A line is one JSON object: format version, number, time, type, the fact's fields, and as its last member the CRC-32 of
the line without that member. Records are never changed. What a crash can leave behind is one torn record at the end:
it is set aside when the journal is opened for writing. Damage anywhere else is reported, never mended in silence.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import time
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from specdash.core.commands import BadCommand
from specdash.core.events import Fact, Recorded
from specdash.errors import DiskFull, StoreError, is_full, unwritten
from specdash.store.codec import decode_fact, encode_fact, require_sane
from specdash.store.disk import file_mode, sync_directory, sync_file, write_all

log = logging.getLogger(__name__)

VERSION = 1

_CRC = re.compile(rb',"crc":"([0-9a-f]{8})"\}')
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19
_CRC_LENGTH = len(b',"crc":"00000000"}')
_BEGIN = b'{"v":'
_APPEND = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


def _parsed(line: bytes) -> Any:
    """The JSON value of a line; raises ValueError.

    msgspec takes a quarter of json's time, and refuses the half characters that names of files may hold. It is loaded
    with the first line, not before: the first frame of a dashboard has none.
    """
    import msgspec

    try:
        return msgspec.json.decode(line)
    except (ValueError, RecursionError):
        return _DECODER.decode(line.decode("utf-8"))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


@dataclass(frozen=True, slots=True)
class ReadResult:
    """What a journal holds: its facts, in order.

    `torn_bytes`: size of an unfinished record at the end, which is not among them. `unknown`: records that only another
    version of specdash understands. `good_bytes`: where the last whole record ends; `last_seq`: its number, 0 in an
    empty journal.
    """

    records: tuple[Recorded, ...]
    torn_bytes: int
    unknown: int
    good_bytes: int
    last_seq: int


class _Bad(Exception):
    """A line that is no whole record."""


def read(path: Path) -> ReadResult:
    """Reads a journal, also one that is being written.

    Raises StoreError for a journal that is missing, damaged before its end, or of a newer format.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}", "Is this the folder of a run?") from error
    records: list[Recorded] = []
    unknown = seq = start = 0
    for number, line in enumerate(content.split(b"\n"), start=1):
        end = start + len(line) + 1
        if start == len(content):
            break
        try:
            if end > len(content):
                raise _Bad("it does not end")
            fields = _fields(line)
        except _Bad as bad:
            if end < len(content) or line.find(_BEGIN, 1) > 0:
                raise _damaged(f"{path}:{number}", str(bad)) from bad
            break
        if fields["seq"] != seq + 1:
            raise _damaged(f"{path}:{number}", f"record {seq + 1} is expected here, this is {fields['seq']}")
        recorded = _recorded(f"{path}:{number}", fields, _LONG_NUMBER in line.translate(_DIGITS))
        if recorded is None:
            unknown += 1
        else:
            records.append(recorded)
        seq, start = seq + 1, end
    return ReadResult(tuple(records), len(content) - start, unknown, start, seq)


def parse_line(line: bytes, *, verify: bool = True) -> Recorded | None:
    """The fact of one line, without its line feed; None for a type that this version does not know.

    `verify=False` takes the checksum for good: for lines that come straight from the process that wrote them. Raises
    StoreError for a line that is damaged or of a newer format.
    """
    try:
        fields = _fields(line) if verify else _members(line)
    except _Bad as bad:
        raise _damaged("the journal", str(bad)) from bad
    return _recorded(f"record {fields['seq']} of the journal", fields, _LONG_NUMBER in line.translate(_DIGITS))


def _damaged(where: str, why: str) -> StoreError:
    return StoreError(
        f"{where}: this record is damaged: {why}",
        "It was written whole, so the disk or another program changed it. Restore the file from a copy, or start the "
        "profile anew.",
    )


def _fields(line: bytes) -> dict[str, Any]:
    """The members of a line, checksum verified; raises _Bad."""
    found = _CRC.fullmatch(line[-_CRC_LENGTH:])
    if found is None:
        raise _Bad("it has no checksum at its end")
    if found[1] != b"%08x" % zlib.crc32(line[:-_CRC_LENGTH] + b"}"):
        raise _Bad("its checksum does not fit")
    return _members(line)


def _members(line: bytes) -> dict[str, Any]:
    """The members of a line, whatever its checksum says; raises _Bad."""
    try:
        fields = _parsed(line)
    except ValueError as error:
        raise _Bad(f"it is no JSON ({error})") from error
    if not isinstance(fields, dict) or not all(isinstance(fields.get(name), int) for name in ("v", "seq")):
        raise _Bad("it has no version or no number")
    return fields


def _recorded(where: str, fields: dict[str, Any], is_long: bool) -> Recorded | None:
    """The fact of a line that is whole; None for a type that this version does not know.

    `is_long`: the line holds a number, or a word, of so many digits that no integer of ours has them.
    """
    if fields["v"] > VERSION:
        writer = fields.get("specdash_version")
        raise StoreError(
            f"{where}: the journal has format {fields['v']}; this version of specdash reads up to {VERSION}",
            f"Read it with specdash {writer} or newer." if writer else "Read it with the newer specdash that wrote it.",
        )
    try:
        if is_long:
            require_sane(fields, "$")
        fact = decode_fact(fields["type"], fields)
        moment = datetime.fromisoformat(fields["t"]).timestamp()
    except BadCommand as error:
        raise StoreError(
            f"{where}: it holds an edit that this version of specdash does not understand: {error}",
            "Read it with the newer specdash that wrote it.",
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(where, f"its content is not understood: {error}") from error
    return Recorded(fields["seq"], moment, fact) if fact is not None else None


def line_of(recorded: Recorded) -> bytes:
    """The line of a fact, in ASCII. Raises ValueError for NaN and infinity: facts hold None for the unknown."""
    moment = datetime.fromtimestamp(recorded.time_s, UTC).isoformat(timespec="milliseconds")
    head = {"v": VERSION, "seq": recorded.seq, "t": moment.removesuffix("+00:00") + "Z", "type": recorded.fact.TYPE}
    body = encode_fact(recorded.fact)
    assert not body.keys() & {*head, "crc"}, f"{recorded.fact.TYPE} uses a name of the journal's own"
    content = json.dumps(head | body, allow_nan=False, separators=(",", ":")).encode("ascii")
    return content[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(content)


class Journal:
    """A journal open for writing. One process owns it at a time; the lock of the run folder sees to that."""

    def __init__(self, path: Path, descriptor: int, seq: int, length: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._seq = seq
        self._length = length
        self._warned = False

    @classmethod
    def create(cls, path: Path) -> Journal:
        """A new, empty journal, its name on disk. Raises StoreError, also where there is one already."""
        try:
            descriptor = os.open(path, _APPEND | os.O_CREAT | os.O_EXCL, file_mode(path.parent))
            try:
                sync_directory(path.parent)
            except OSError:
                os.close(descriptor)
                raise
        except FileExistsError as error:
            raise StoreError(f"{path} exists already", "Go on with that run: specdash resume.") from error
        except OSError as error:
            raise StoreError(f"{path} cannot be created: {error.strerror}", "Choose another results.dir.") from error
        return cls(path, descriptor, 0, 0)

    @classmethod
    def open(cls, path: Path) -> Journal:
        """The journal of an earlier process, to be continued. A torn last record goes to `journal.torn-<n>`.

        Raises StoreError as `read` does, and where the file cannot be written.
        """
        found = read(path)
        try:
            descriptor = os.open(path, _APPEND)
            try:
                if found.torn_bytes:
                    _set_aside(path, os.pread(descriptor, found.torn_bytes, found.good_bytes))
                    os.ftruncate(descriptor, found.good_bytes)
                    sync_file(descriptor)
            except OSError:
                os.close(descriptor)
                raise
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}", "Check its permissions.") from error
        return cls(path, descriptor, found.last_seq, found.good_bytes)

    def append(self, fact: Fact) -> Recorded:
        """Puts a fact on disk; once this returns, no crash can lose it.

        Raises DiskFull when there is no room; the caller pauses and tries again. Raises StoreError when it cannot be
        known whether the fact is safe; the run must end then. Raises ValueError for a fact that holds NaN.
        """
        recorded = Recorded(self._seq + 1, round(time.time(), 3), fact)
        line = line_of(recorded)
        try:
            if os.fstat(self._descriptor).st_nlink == 0:
                self._bring_back()
            self._write(line)
        except OSError as error:
            self._undo(error)
            self._write_anew(line, error)
        self._seq += 1
        self._length += len(line)
        return recorded

    def close(self) -> None:
        """Closes the file; everything in it is on disk already."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, line: bytes) -> None:
        """One write, and a sync; raises OSError."""
        written = os.write(self._descriptor, line)
        if written < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if not sync_file(self._descriptor) and not self._warned:
            self._warned = True
            log.warning("%s: this file system offers no sync; a power cut may lose the last records", self._path)

    def _undo(self, error: OSError) -> None:
        """Cuts off what a failed append has left; raises DiskFull if it failed for want of room."""
        try:
            os.ftruncate(self._descriptor, self._length)
        except OSError as second:
            if is_full(error):
                raise self._unsafe(second) from error
        if is_full(error) or not os.path.exists(self._path.parent):
            raise DiskFull(
                f"{self._path}: no record can be added: {error.strerror}",
                f"Free some space in {self._path.parent}; nothing that was measured is lost.",
            ) from error

    def _write_anew(self, line: bytes, error: OSError) -> None:
        """Writes through a new descriptor, after a failure that the old one would not report twice.

        A failed sync may leave pages marked as clean that never reached the disk, so neither the descriptor nor what
        can be read back through it proves anything.
        """
        log.warning("%s: %s; opened anew", self._path, error.strerror)
        try:
            os.close(self._descriptor)
            self._descriptor = -1
            self._descriptor = os.open(self._path, _APPEND)
            os.ftruncate(self._descriptor, self._length)
            found = read(self._path)
            if (found.last_seq, found.good_bytes) != (self._seq, self._length):
                raise self._unsafe(error)
            self._write(line)
        except OSError as second:
            if is_full(second) and self._descriptor >= 0:
                self._undo(second)
            raise self._unsafe(second) from error

    def _unsafe(self, error: OSError) -> StoreError:
        """The end of this journal: what the file holds beyond the last record is not known any more."""
        self.close()
        return StoreError(
            f"{self._path}: the last record may not be on disk: {error.strerror}",
            "Check the disk (dmesg, free space), then go on with: specdash resume.",
        )

    def keep(self, path: Path) -> bool:
        """From now on its name is `path`; where nothing has that name any more, it is written again there.

        Whether it was. The file that is still open has all of it. Raises StoreError, DiskFull for want of room; where
        another file has the name, that one must hold the same records.
        """
        self._path = path
        if self._descriptor < 0:
            return False
        ours = os.fstat(self._descriptor)
        try:
            found = path.stat()
            if (found.st_dev, found.st_ino) != (ours.st_dev, ours.st_ino):
                self._take(path)
        except FileNotFoundError:
            try:
                self._bring_back()
            except OSError as error:
                raise unwritten(f"{path} cannot be written again", error) from error
            return True
        except OSError as error:
            raise unwritten(f"{path} cannot be opened", error) from error
        return False

    def _take(self, path: Path) -> None:
        """Goes on with another file that has the name now, such as a copy; raises StoreError where it is no copy."""
        found = read(path)
        if (found.last_seq, found.good_bytes, found.torn_bytes) != (self._seq, self._length, 0):
            raise StoreError(
                f"{path} was replaced by something else while the run went on",
                "Put the journal back from a copy, and go on with: specdash resume.",
            )
        descriptor = os.open(path, _APPEND)
        os.close(self._descriptor)
        self._descriptor = descriptor

    def _bring_back(self) -> None:
        """Writes the journal again under its name, from the file that is still open, after it was deleted."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        content = os.pread(self._descriptor, self._length, 0)
        descriptor = os.open(self._path, _APPEND | os.O_CREAT | os.O_EXCL, file_mode(self._path.parent))
        try:
            write_all(descriptor, content)
            sync_file(descriptor)
            sync_directory(self._path.parent)
        except OSError:
            os.close(descriptor)
            self._path.unlink(missing_ok=True)
            raise
        os.close(self._descriptor)
        self._descriptor = descriptor
        log.warning("%s was deleted while the run went on, and is written again", self._path)


def _set_aside(path: Path, torn: bytes) -> None:
    """Keeps the bytes of a torn record in the next free `journal.torn-<n>`."""
    number = 1
    while True:
        try:
            target = path.with_name(f"{path.stem}.torn-{number}")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(target, flags, file_mode(path.parent))
            break
        except FileExistsError:
            number += 1
    try:
        write_all(descriptor, torn)
        sync_file(descriptor)
    finally:
        os.close(descriptor)
    sync_directory(path.parent)
