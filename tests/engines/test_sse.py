"""The event-stream parser against the WHATWG rules, over every cut of its input."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdash.engines.sse import EventTooLarge, SseParser

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"


def reference(stream: bytes) -> list[bytes]:
    """The WHATWG algorithm word by word, one character at a time."""
    stream = stream.removeprefix(codecs.BOM_UTF8)
    lines: list[bytes] = []
    line = bytearray()
    at = 0
    while at < len(stream):
        byte = stream[at]
        if byte == 0x0D or byte == 0x0A:
            if byte == 0x0D and stream[at + 1 : at + 2] == b"\n":
                at += 1
            lines.append(bytes(line))
            line.clear()
        else:
            line.append(byte)
        at += 1
    events: list[bytes] = []
    data = b""
    for each in lines:
        if each == b"":
            if data != b"":
                events.append(data[:-1] if data.endswith(b"\n") else data)
            data = b""
            continue
        if each.startswith(b":"):
            continue
        if b":" in each:
            name, value = each.split(b":", 1)
            if value.startswith(b" "):
                value = value[1:]
        else:
            name, value = each, b""
        if name == b"data":
            data += value + b"\n"
    return events


def parsed(pieces: Iterable[bytes], parser: SseParser | None = None) -> list[bytes]:
    parser = parser or SseParser()
    return [event for piece in pieces for event in parser.feed(piece)]


TABLE: list[tuple[bytes, list[bytes]]] = [
    (b"", []),
    (b"\n\n\n", []),
    (b"data: a\n\n", [b"a"]),
    (b"data:a\n\n", [b"a"]),
    (b"data:  a\n\n", [b" a"]),
    (b"data: a \n\n", [b"a "]),
    (b"data\n\n", [b""]),
    (b"data:\n\n", [b""]),
    (b"data\n\ndata\ndata\n\ndata:", [b"", b"\n"]),
    (b"data: a\r\n\r\n", [b"a"]),
    (b"data: a\r\r", [b"a"]),
    (b"data: a\r\n\n", [b"a"]),
    (b"data: a\n\r\n", [b"a"]),
    (b"data: a\r\n\rdata: b\n\n", [b"a", b"b"]),
    (b"data: a\ndata: b\n\n", [b"a\nb"]),
    (b"data: a\rdata: b\r\ndata: c\n\n", [b"a\nb\nc"]),
    (b"data: a\n\n\ndata: b\n\n", [b"a", b"b"]),
    (b"data: a\n\n\n\n\ndata: b\n\n", [b"a", b"b"]),
    (b"\n\ndata: a\n\n", [b"a"]),
    (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
    (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
    (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"]),
    (b":\n\n", []),
    (b": ping\n\ndata: a\n\n", [b"a"]),
    (b": ping\ndata: a\n: pong\n\n", [b"a"]),
    (b"event: error\nid: 7\nretry: 10\ndata: a\n\n", [b"a"]),
    (b"event: nothing\n\n", []),
    (b"Data: a\ndata : b\n data: c\n\n", []),
    (b"data: a: b:c\n\n", [b"a: b:c"]),
    (
        'data: {"a":"x\u2028y\u2029z\u0085\x0b\x0c\x1c"}\n\n'.encode(),
        ['{"a":"x\u2028y\u2029z\u0085\x0b\x0c\x1c"}'.encode()],
    ),
    (b"data: \x00\xff\xfe\xc3\n\n", [b"\x00\xff\xfe\xc3"]),
    ("data: \N{GRINNING FACE}\n\n".encode(), ["\N{GRINNING FACE}".encode()]),
    (b"data: a\n", []),
    (b"data: a", []),
    (b"data: a\n\ndata: b", [b"a"]),
    (b"data: data: a\n\n", [b"data: a"]),
]


@pytest.mark.parametrize(("stream", "events"), TABLE)
def test_table_over_all_cuts_in_two_and_into_bytes(stream: bytes, events: list[bytes]) -> None:
    assert reference(stream) == events
    for at in range(len(stream) + 1):
        assert parsed([stream[:at], stream[at:]]) == events
    assert parsed([stream[at : at + 1] for at in range(len(stream))]) == events


_ALPHABET = st.sampled_from(
    [b"data", b"data: ", b":", b" ", b"\n", b"\n\n", b"\r", b"\r\n", b"x", b"\xef\xbb\xbf", b"\xef", b"id: 1", b"\xff"]
)


@given(parts=st.lists(_ALPHABET, max_size=30), cuts=st.lists(st.integers(0, 120), max_size=8))
def test_any_stream_over_any_cuts_reads_as_the_reference_does(parts: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(parts)
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)})
    pieces = [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert parsed(pieces) == reference(stream)


@pytest.mark.parametrize("name", ["completion.stream.b11669.sse", "completion.stream.xllamacpp-0.2.14.k4.sse"])
@pytest.mark.parametrize("size", [1, 7, 450, 65536])
def test_recordings_give_the_same_events_in_any_read_size(name: str, size: int) -> None:
    stream = (RECORDINGS / name).read_bytes()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    events = parsed(pieces)
    assert events == reference(stream)
    assert len(events) == stream.count(b"data: ")


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r\n"])
def test_limit_holds_to_the_byte_whatever_the_cuts(end: bytes) -> None:
    most = b"data: " + b"x" * 94
    for at in range(90, 100 + len(end)):
        whole = most + end
        parser = SseParser(limit_bytes=100)
        assert parser.feed(whole[:at]) + parser.feed(whole[at:]) == [b"x" * 94]
        parser = SseParser(limit_bytes=100)
        over = most + b"x" + end
        with pytest.raises(EventTooLarge):
            parsed([over[:at], over[at:]], parser)


def test_endless_line_is_refused_and_read_no_further() -> None:
    drops = iter([b"x" * 10] * 1000)
    with pytest.raises(EventTooLarge):
        parsed(drops, SseParser(limit_bytes=1000))
    assert len(list(drops)) == 1000 - 101
