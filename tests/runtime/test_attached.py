"""A server that runs already: it is asked, watched for silence, and left as it was."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from specdash.core import events as ev
from specdash.core.engine import FindContext, Request, ServerSpec
from specdash.core.plan import LoadKey
from specdash.core.profile import EVERY_METHOD, EngineConfig
from specdash.core.transport import Progress, TransportError
from specdash.engines.openai.engine import find
from specdash.runtime import startup
from specdash.runtime.listener import free_port
from specdash.runtime.server import Server, ServerFailed, ServerLimits
from specdash.session.server_specs import tree_use
from tests.support.process_trees import LIMIT_S, until

FAKE = Path(__file__).parents[1] / "fakes" / "mlx_cluster.py"

Run = Callable[..., tuple[int, int]]


@pytest.fixture
def running() -> Iterator[Run]:
    """Starts a server of somebody else's: its port and pid."""
    started: list[subprocess.Popen[bytes]] = []

    def run(behaviour: str = "speed=4000") -> tuple[int, int]:
        port = free_port()
        process = subprocess.Popen(
            [sys.executable, str(FAKE), "--port", str(port)],
            env={**os.environ, "FAKE_SERVER": behaviour},
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout is not None
        until(lambda: process.stdout and b"ready" in process.stdout.readline())
        return port, process.pid

    yield run
    for process in started:
        assert process.poll() is None, "it was ended"
        process.kill()
        process.communicate()


@asynccontextmanager
async def server_at(
    url: str, folder: Path, stall_s: float = LIMIT_S, cool_down_s: float = 0.0
) -> AsyncIterator[Server]:
    async def ignore(_: ev.Fact) -> None:
        """Nothing of this is a run."""

    engine = find(EngineConfig(kind="openai", url={EVERY_METHOD: url}, cool_down_s=cool_down_s), FindContext())
    limits = ServerLimits(grace_s=1.0, stall_s=stall_s, budget_bytes=1, port=0, load_limit_is_hard=False)
    server = Server(lambda _: engine, ignore, limits, folder, tree_use, {}, "0" * 16, folder)
    async with asyncio.TaskGroup() as tasks:
        owner = tasks.create_task(server.run())
        try:
            yield server
        finally:
            await server.close()
            await owner


def spec_at(url: str) -> ServerSpec:
    return ServerSpec(
        key=LoadKey.of("theirs"),
        target=None,
        draft=None,
        architecture=None,
        templated=False,
        args=(),
        env={},
        wrap=(),
        size_bytes=None,
        load_timeout_s=LIMIT_S,
        fingerprint="",
        url=url,
    )


async def test_it_is_asked_and_left_running(running: Run, tmp_path: Path) -> None:
    port, _ = await asyncio.to_thread(running)
    url = f"http://127.0.0.1:{port}"
    async with server_at(url, tmp_path, cool_down_s=LIMIT_S) as server:
        await server.start("l001", spec_at(url))
        assert server.cooling_s == 0.0
        async with server.lease(Progress()) as client:
            answer = await client.generate(Request("hello", 20, 0.0, 1, None), limit_s=LIMIT_S)
        assert (answer.generated_tokens, answer.problems) == (20, ())
        seen = server.status()
        assert seen is not None
        assert (seen.pids, seen.read_bytes, server.pid) == ((), None, None)
        await server.stop()
        finished = server.finished()
        assert (finished.state, finished.error, finished.peak_rss_bytes) == ("stopped", None, None)
        assert 0 < server.cooling_s <= LIMIT_S
        await server.start("l002", spec_at(url))  # once more, since it is still there


async def test_one_that_falls_silent_is_taken_for_hung(running: Run, tmp_path: Path) -> None:
    port, _ = await asyncio.to_thread(running, "speed=4000,hang_after=3")
    url = f"http://127.0.0.1:{port}"
    async with server_at(url, tmp_path, stall_s=0.3) as server:
        await server.start("l001", spec_at(url))
        with pytest.raises(TransportError):
            async with server.lease(Progress()) as client:
                await client.generate(Request("hello", 20, 0.0, 1, None), limit_s=LIMIT_S)
        assert await server.died()
        assert "hung" in server.failure().what


async def test_one_that_does_not_run_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "ATTACH_S", 0.1)
    url = f"http://127.0.0.1:{free_port()}"
    async with server_at(url, tmp_path) as server:
        with pytest.raises(ServerFailed, match=f"nothing answers at {url}") as caught:
            await server.start("l001", spec_at(url))
        assert "Start the server" in caught.value.todo
        assert "log" not in caught.value.todo  # there is none
