"""What reading a token stream costs.

The server is a process of its own that sends recorded llama-server events, in a flood or paced at 200 a second, each
as one HTTP chunk. Every figure is taken in a fresh process, in turn with a plain aiohttp line reader, and is the median
of the rounds. CPU is user and system time of the reading process, without its start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from statistics import median

import psutil

from benchmarks.common import Row, spread
from tests.support.paths import DATA, ROOT

RECORDING = DATA / "recordings" / "completion.stream.b11669.sse"
FLOOD_CHUNKS = 100_000
PACE_PER_S = 200
PACED_S = 5
ROUNDS = 5
GOAL = 150_000
CLIENT = "specdash client"


def serve() -> None:
    """Prints its port, then answers one connection after the other: POST /flood/CHUNKS or /pace/RATE/CHUNKS."""
    blocks = [block + b"\n\n" for block in RECORDING.read_bytes().split(b"\n\n") if block.strip()]
    *tokens, final = [b"%x\r\n%s\r\n" % (len(block), block) for block in blocks[2:]]
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection, contextlib.suppress(ConnectionError):
                kind, *numbers = connection.recv(65536).split()[1].decode().strip("/").split("/")
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                )
                if kind == "flood":
                    for _ in range(int(numbers[0]) // (20 * len(tokens))):
                        connection.sendall(b"".join(tokens) * 20)
                else:
                    _pace(connection, tokens, float(numbers[0]), int(numbers[1]))
                connection.sendall(final + b"0\r\n\r\n")


def _pace(connection: socket.socket, tokens: list[bytes], per_s: float, count: int) -> None:
    """Sends `count` events, evenly spaced."""
    start_s = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, start_s + number / per_s - time.monotonic()))
        connection.sendall(tokens[number % len(tokens)])


async def read_lines(port: int, path: str) -> int:
    """The plain way: aiohttp's lines, one at a time, nothing kept or decoded."""
    import aiohttp

    chunks = 0
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}{path}", json={}) as response,
    ):
        async for line in response.content:
            if line.startswith(b"data: "):
                chunks += 1
    return chunks


async def read_events(port: int, path: str) -> int:
    """Our client: events split, stamped and kept."""
    from specdash.engines.http import Client

    client = Client(port)
    answer = await client.stream(path, {}, total_limit_s=600)
    await client.close()
    return len(answer.events)


async def read_generation(port: int, path: str) -> int:
    """Our client and the decoding of every event afterwards: all that a sample takes."""
    from specdash.engines.http import Client
    from specdash.engines.llama_cpp.stream import decode

    client = Client(port)
    answer = await client.stream(path, {}, total_limit_s=600)
    await client.close()
    decode(answer)
    return len(answer.events)


READERS: dict[str, Callable[[int, str], Awaitable[int]]] = {
    "plain aiohttp lines": read_lines,
    CLIENT: read_events,
    f"{CLIENT} + decode": read_generation,
}


def measure(reader: str, port: int, path: str) -> None:
    """Prints chunks, CPU seconds, wall seconds and resident bytes of one reading, after a short one to warm up."""

    async def both() -> tuple[int, float, float]:
        await READERS[reader](port, "/flood/1000")
        cpu_s, wall_s = _cpu_s(), time.monotonic()
        chunks = await READERS[reader](port, path)
        return chunks, _cpu_s() - cpu_s, time.monotonic() - wall_s

    chunks, cpu_s, wall_s = asyncio.run(both())
    print(json.dumps([chunks, cpu_s, wall_s, psutil.Process().memory_info().rss]))


def _cpu_s() -> float:
    """User and system time of this process, seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@contextlib.contextmanager
def serving() -> Iterator[int]:
    """The server process; yields its port."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.client", "serve"], cwd=ROOT, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


def measured(reader: str, port: int, path: str) -> tuple[int, float, float, int]:
    """`measure` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.client", "measure", reader, str(port), path]
    done = subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    chunks, cpu_s, wall_s, rss_bytes = json.loads(done.stdout)
    return chunks, cpu_s, wall_s, rss_bytes


def main() -> list[Row]:
    """All figures, the goals of the project beside those of the client."""
    flood: dict[str, list[float]] = {reader: [] for reader in READERS}
    share: dict[str, list[float]] = {reader: [] for reader in READERS}
    rss: dict[str, list[float]] = {reader: [] for reader in READERS}
    with serving() as port:
        for _ in range(ROUNDS):
            for reader in READERS:
                chunks, cpu_s, _, _ = measured(reader, port, f"/flood/{FLOOD_CHUNKS}")
                flood[reader].append(chunks / cpu_s)
        for _ in range(ROUNDS):
            for reader in READERS:
                _, cpu_s, wall_s, rss_bytes = measured(reader, port, f"/pace/{PACE_PER_S}/{PACE_PER_S * PACED_S}")
                share[reader].append(100 * cpu_s / wall_s)
                rss[reader].append(rss_bytes / 1e6)
    rows = []
    for reader in READERS:
        goal, met = (f">= {GOAL:,}", median(flood[reader]) >= GOAL) if reader == CLIENT else ("", None)
        rows.append(Row(f"{reader}: chunks per CPU second", goal, spread(flood[reader], "{:,.0f}"), met))
    for reader in READERS:
        cell = f"{spread(share[reader], '{:.1f}', ' %')}, {median(rss[reader]):.0f} MB resident"
        rows.append(Row(f"{reader} alone: CPU of one core at {PACE_PER_S} chunks/s", "", cell))
    return rows


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case ["measure", name, port, path]:
            measure(name, int(port), path)
