"""The HTTP client against servers that are real sockets and misbehave on purpose."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from specdash.core.transport import (
    BadAnswer,
    HttpError,
    Progress,
    RequestTimeout,
    StreamCut,
    StreamedAnswer,
    TransportError,
    Unreachable,
)
from specdash.engines.http import RETRY_AFTER_MOST_S, Client, retry_after

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends the connection by RST in place of FIN."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Watched(Progress):
    """Progress that can be waited for until `wanted` events were seen."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.reached = asyncio.Event()
        super().__init__()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "last_event_t_s" and self.events >= self.wanted:
            self.reached.set()


class Served:
    """What a server was asked, and how often."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[bytes] = []


@asynccontextmanager
async def serving(answer: Answer | bytes) -> AsyncIterator[Served]:
    """A server on a free port that reads one whole request per connection and then lets `answer` do as it likes."""
    served = Served()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            served.requests.append(head + (await reader.readexactly(length[0]) if length else b""))
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client may leave when it has read enough
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def client_of(answer: Answer | bytes) -> AsyncIterator[tuple[Client, Served]]:
    async with serving(answer) as served:
        client = Client(served.port)
        try:
            yield client, served
        finally:
            await client.close()


async def stream_of(
    answer: Answer | bytes, *, limit_s: float = 30.0, progress: Progress | None = None
) -> StreamedAnswer:
    async with client_of(answer) as (client, _):
        return await client.stream("/completion", {"stream": True}, total_limit_s=limit_s, progress=progress)


async def test_stream_brings_every_event_of_a_recording_in_order_with_its_time() -> None:
    recorded = (RECORDINGS / "completion.stream.b11669.sse").read_bytes()
    blocks = [block + b"\n\n" for block in recorded.split(b"\n\n") if block.strip()]

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + b"".join(chunk(block) for block in blocks) + b"0\r\n\r\n")
        await writer.drain()

    progress = Progress()
    got = await stream_of(answer, progress=progress)
    assert [data for _, data in got.events] == [block.strip()[6:] for block in blocks]
    times = [t_s for t_s, _ in got.events]
    assert [got.sent_t_s, *times, got.ended_t_s] == sorted([got.sent_t_s, *times, got.ended_t_s])
    counts = got.sent_t_s, len(blocks), sum(map(len, blocks)), times[0], times[-1]
    assert progress == Progress(*counts, received=list(got.events))
    assert got.status == 200


async def test_reads_that_come_apart_have_times_apart() -> None:
    """The second event is sent only once the first was seen, so its time has to be a later one."""
    progress = Watched(1)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(b"data: 1\n\n") + chunk(b": only to keep the line open\n\n"))
        await progress.reached.wait()
        writer.write(chunk(b"data: 2\n\n") + b"0\r\n\r\n")

    got = await stream_of(answer, progress=progress)
    assert [data for _, data in got.events] == [b"1", b"2"]
    assert progress.first_event_t_s == got.events[0][0] < got.events[1][0] == progress.last_event_t_s


async def test_request_is_as_asked_and_uses_a_connection_of_its_own() -> None:
    async with client_of((RECORDINGS / "health.200.http").read_bytes()) as (client, served):
        assert await client.get_json("/health", limit_s=30) == {"status": "ok"}
        assert await client.post_json("/completion", {"a": [1, "é"]}, limit_s=30) == {"status": "ok"}
        assert await client.get_text("/health", limit_s=30) == '{"status":"ok"}'
    get, post, _ = served.requests
    assert get.startswith(b"GET /health HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{served.port}".encode() in get
    assert post.startswith(b"POST /completion HTTP/1.1\r\n")
    assert json.loads(post.partition(b"\r\n\r\n")[2]) == {"a": [1, "é"]}
    assert b"Content-Type: application/json" in post
    assert b"Accept-Encoding: identity" in post


@pytest.mark.parametrize("by_reset", [True, False])
async def test_stream_that_is_cut_is_never_an_answer(by_reset: bool) -> None:
    progress = Watched(2)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(b"data: 1\n\n") + chunk(b"data: 2\n\ndata: 3"))
        await progress.reached.wait()
        if by_reset:
            reset(writer)

    with pytest.raises(StreamCut) as caught:
        await stream_of(answer, progress=progress)
    assert caught.value.after_events == 2
    assert "after 2 events" in str(caught.value)


@pytest.mark.parametrize("by_reset", [True, False])
async def test_cut_at_every_byte_is_a_transport_error(by_reset: bool) -> None:
    whole = STREAM_HEAD + chunk(b'data: {"a":1}\n\n') + chunk(b"data: 2\n\n") + b"0\r\n\r\n"
    lengths = iter(range(len(whole)))

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(whole[: next(lengths)])
        await writer.drain()
        if by_reset:
            reset(writer)

    async with client_of(answer) as (client, served):
        for _ in range(len(whole)):
            with pytest.raises((Unreachable, BadAnswer, StreamCut)):
                await client.stream("/completion", {}, total_limit_s=30)
        assert len(served.requests) == len(whole)


async def test_clean_end_without_a_final_event_is_the_protocols_business() -> None:
    """FIN with no length announced looks like a whole body: the half event is dropped, nothing is made up."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    got = await stream_of(head + b"data: 1\n\ndata: 2\n")
    assert [data for _, data in got.events] == [b"1"]


async def test_cancelling_closes_the_connection_at_once() -> None:
    progress = Watched(1)
    gone = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(b"data: 1\n\n"))
        with suppress(ConnectionError):
            await reader.read()
        gone.set()

    async with client_of(answer) as (client, _), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(client.stream("/completion", {}, total_limit_s=30, progress=progress))
        await progress.reached.wait()
        task.cancel()
        async with asyncio.timeout(30):
            await gone.wait()


async def test_closing_the_client_cuts_what_is_being_read() -> None:
    """As when a server that is not ours to end has fallen silent."""
    progress = Watched(1)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(b"data: 1\n\n"))
        with suppress(ConnectionError):
            await reader.read()

    async with client_of(answer) as (client, _):

        async def close() -> None:
            await progress.reached.wait()
            await client.close()

        asked = client.stream("/completion", {}, total_limit_s=30, progress=progress)
        with pytest.raises(StreamCut, match="dropped"):
            await asyncio.gather(asked, close())


async def test_drip_ends_at_the_total_limit() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(b"data: 1\n\n"))
        while True:
            writer.write(chunk(b":"))
            await writer.drain()
            await asyncio.sleep(0.001)

    progress = Progress()
    with pytest.raises(RequestTimeout) as caught:
        await stream_of(answer, limit_s=0.2, progress=progress)
    assert caught.value.after_events == 1
    assert progress.bytes > len(b"data: 1\n\n")


def answers_late(server: socket.socket, after_s: float) -> None:
    """One request gets its whole answer after a while, whatever the asker's event loop does meanwhile."""
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        time.sleep(after_s)
        connection.sendall(STREAM_HEAD + chunk(b"data: 1\n\n") + chunk(b""))


async def test_an_answer_that_came_while_this_process_was_stopped_is_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answers_late, args=(server, 0.6))
        thread.start()
        # To the loop, holding it up is what a stop of the process is.
        asyncio.get_running_loop().call_later(0.05, time.sleep, 1.2)
        client = Client(server.getsockname()[1])
        answer = await client.stream("/", {}, total_limit_s=0.5)
        await client.close()
        thread.join()
    assert [data for _, data in answer.events] == [b"1"]


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
async def test_server_that_falls_silent_is_a_timeout(sent: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await reader.read()

    async with client_of(answer) as (client, _):
        with pytest.raises(RequestTimeout, match=r"within 0\.05 s"):
            await client.get_json("/health", limit_s=0.05)


async def test_nobody_listening_is_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = Client(unused.getsockname()[1])
        with pytest.raises(Unreachable):
            await client.get_json("/health", limit_s=30)
        await client.close()


async def test_giant_line_is_refused_with_memory_flat() -> None:
    sent = 0

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(STREAM_HEAD + chunk(b"data: "))
        while sent < 100 * 1024 * 1024:
            writer.write(chunk(b"x" * 65536))
            await writer.drain()
            sent += 65536

    tracemalloc.start()
    try:
        with pytest.raises(BadAnswer, match="longer than 8388608 bytes"):
            await stream_of(answer)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sent < 32 * 1024 * 1024
    assert peak < 32 * 1024 * 1024


@pytest.mark.parametrize("announced", [True, False])
async def test_body_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch, announced: bool) -> None:
    monkeypatch.setattr("specdash.engines.http.BODY_LIMIT_BYTES", 100_000)
    length = b"Content-Length: 200000\r\n" if announced else b""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + length + b"\r\n"
    async with client_of(head + b'"' + b"x" * 199_998 + b'"') as (client, _):
        with pytest.raises(BadAnswer, match="longer than 100000 bytes"):
            await client.get_json("/props", limit_s=30)
    events = b"data: x\n\n" * 20_000
    with pytest.raises(BadAnswer, match="longer than 100000 bytes"):
        await stream_of(STREAM_HEAD + chunk(events) + b"0\r\n\r\n")


async def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(b"HTTP/1.1 502 Bad Gateway\r\n\r\n") as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with client_of((RECORDINGS / "health.200.http").read_bytes()) as (client, _):
            assert await client.get_json("/health", limit_s=30) == {"status": "ok"}
        assert proxy.requests == []


async def test_redirect_is_an_error_and_is_not_followed() -> None:
    async with serving((RECORDINGS / "health.200.http").read_bytes()) as elsewhere:
        location = f"http://127.0.0.1:{elsewhere.port}/".encode()
        moved = b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n"
        async with client_of(moved) as (client, _):
            with pytest.raises(HttpError) as caught:
                await client.get_json("/health", limit_s=30)
            with pytest.raises(HttpError, match="HTTP 302"):
                await client.stream("/completion", {}, total_limit_s=30)
        assert caught.value.status == 302
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("answer", "status", "excerpt"),
    [
        ((RECORDINGS / "health.503.http").read_bytes(), 503, "Loading model"),
        ((RECORDINGS / "completion.exceed_context.http").read_bytes(), 400, "exceeds the available context size"),
        ((RECORDINGS / "completion.badjson.http").read_bytes(), 400, "syntax error while parsing value"),
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", 500, ""),
        (b'HTTP/1.1 429 Slow\r\nContent-Length: 20\r\n\r\n{"error":"too many"}', 429, "too many"),
        (
            b"HTTP/1.1 404 No\r\nContent-Type: text/html\r\n\r\n<html>\n <h1>no\xff</h1>",
            404,
            "<html> <h1>no\ufffd</h1>",
        ),
        (b"HTTP/1.1 500 No\r\n\r\n" + b"x" * 10_000_000, 500, "xxx…"),
        (b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n4\r\noops\r\n7\r\n", 500, "oops"),
        (b"HTTP/1.1 500 No\r\n\r\n" + b"[" * 60_000, 500, "[[["),
        (b"HTTP/1.1 204 None\r\n\r\n", 204, ""),
    ],
)
async def test_status_other_than_200_is_reported_with_what_it_says(answer: bytes, status: int, excerpt: str) -> None:
    async with client_of(answer) as (client, _):
        with pytest.raises(HttpError) as streamed:
            await client.stream("/completion", {}, total_limit_s=30)
        with pytest.raises(HttpError) as short:
            await client.get_json("/health", limit_s=30)
    for error in (streamed.value, short.value):
        assert error.status == status
        assert excerpt in error.excerpt
        assert len(error.excerpt) <= 501


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"error":{"message":"no slot"}}', "no slot"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>login</html>", "login"),
        (b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n", "octet-stream"),
    ],
)
async def test_a_200_that_is_no_event_stream_is_a_bad_answer(answer: bytes, why: str) -> None:
    with pytest.raises(BadAnswer, match=why):
        await stream_of(answer)


@pytest.mark.parametrize(
    "body",
    [b"", b"NaN", b'{"a":Infinity}', b"9" * 5000, b"[" * 200_000, b'{"a":', b"\xff\xfe", b'"\xff"', b"{}{}", b"\x00"],
)
async def test_what_is_not_json_is_a_bad_answer(body: bytes) -> None:
    async with client_of(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + body) as (client, _):
        with pytest.raises(BadAnswer):
            await client.get_json("/props", limit_s=30)
        assert isinstance(await client.get_text("/props", limit_s=30), str)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00" * 100,
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 99999 Huge\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: \xff;;;=\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000,
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        STREAM_HEAD + b"zz\r\n",
        STREAM_HEAD + b"-5\r\n",
        STREAM_HEAD + b"fffffffffffffffffffff\r\n",
        STREAM_HEAD + b"5\r\ndata: 1\n\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_a_transport_error(answer: bytes) -> None:
    async with client_of(answer) as (client, _):
        with pytest.raises(TransportError):
            await client.stream("/completion", {}, total_limit_s=30)
        with pytest.raises(TransportError):
            await client.get_json("/props", limit_s=30)


async def test_compression_that_nobody_asked_for_is_not_unpacked() -> None:
    packed = gzip.compress(b"data: 1\n\n" + b" " * 10_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n"
    progress = Progress()
    got = await stream_of(head + packed, progress=progress)
    assert got.events == ()
    assert progress.bytes == len(packed)


async def test_client_can_be_used_again_after_failures_and_not_after_closing() -> None:
    async with client_of((RECORDINGS / "health.200.http").read_bytes()) as (client, _):
        with pytest.raises(BadAnswer):
            await client.stream("/completion", {}, total_limit_s=30)
        assert await client.get_json("/health", limit_s=30) == {"status": "ok"}
        await client.close()
        await client.close()
        with pytest.raises(Unreachable, match="closed"):
            await client.get_json("/health", limit_s=30)


KEY = "sk-test-0123456789"


async def test_base_url_with_a_path_and_headers_is_kept_to() -> None:
    answer = (RECORDINGS / "health.200.http").read_bytes()
    async with serving(answer) as served:
        url = f"http://127.0.0.1:{served.port}/proxy/one/"
        client = Client(url, headers={"Authorization": f"Bearer {KEY}"})
        assert await client.get_json("/health", limit_s=30) == {"status": "ok"}
        assert await client.post_json("/v1/x", {"a": 1}, limit_s=30) == {"status": "ok"}
        await client.close()
    for request, path in zip(served.requests, (b"GET /proxy/one/health ", b"POST /proxy/one/v1/x "), strict=True):
        assert request.startswith(path)
        assert f"Authorization: Bearer {KEY}\r\n".encode() in request


async def test_https_to_a_server_without_it_is_unreachable() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as served:
        client = Client(f"https://127.0.0.1:{served.port}")
        with pytest.raises(TransportError):
            await client.get_json("/health", limit_s=0.5)
        await client.close()


@pytest.mark.parametrize(
    "answer",
    [
        f'HTTP/1.1 401 No\r\n\r\n{{"error":{{"message":"Incorrect API key provided: {KEY}"}}}}',
        f"HTTP/1.1 401 No\r\n\r\n<html>Bearer {KEY}</html>",
        f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>{KEY}</html>",
        f"HTTP/1.1 500 No\r\n\r\n{'x' * 490}{KEY}",
    ],
)
async def test_a_secret_that_a_server_repeats_is_in_no_message(answer: str) -> None:
    async with serving(answer.encode()) as served:
        client = Client(f"http://127.0.0.1:{served.port}", headers={"Authorization": f"Bearer {KEY}", "X-Org": "1"})
        for asked in (client.get_json("/v1/models", limit_s=30), client.stream("/v1/x", {}, total_limit_s=30)):
            with pytest.raises(TransportError) as caught:
                await asked
            assert KEY[:8] not in str(caught.value)
            assert "..." in str(caught.value)
        assert client.redacted(f"{KEY} of 1") == "... of 1"
        await client.close()


async def test_retry_after_is_told_with_the_error() -> None:
    for header, expected in (("Retry-After: 7\r\n", 7.0), ("", None)):
        async with client_of(f"HTTP/1.1 429 Slow\r\n{header}\r\n".encode()) as (client, _):
            with pytest.raises(HttpError) as caught:
                await client.stream("/v1/x", {}, total_limit_s=30)
        assert caught.value.retry_after_s == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("nan", None),
        ("1e9", None),
        ("9" * 40, None),
        ("0", 0.0),
        (" 2.5 ", 2.5),
        ("999999999", RETRY_AFTER_MOST_S),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2015 07:28:00", 0.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        # An id of its own: by its text, the processes that share the tests would each know another one.
        pytest.param(
            format_datetime(datetime.now(UTC) + timedelta(days=2), usegmt=True), RETRY_AFTER_MOST_S, id="in two days"
        ),
    ],
)
def test_retry_after_is_a_number_or_a_date_within_bounds(value: str | None, expected: float | None) -> None:
    assert retry_after(value) == expected


def test_retry_after_as_a_date_is_counted_from_now() -> None:
    seconds = retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True))
    assert seconds is not None
    assert 0 < seconds <= 600
