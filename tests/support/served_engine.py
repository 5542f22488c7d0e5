"""One engine, started as a run starts it, and asked as a run asks it: what every conformance check works with."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from specdash.core import events as ev
from specdash.core.engine import Engine, EngineClient, Request, ServerSpec
from specdash.core.measure import Sample
from specdash.core.plan import LoadKey, Step
from specdash.core.prompts import Prompt
from specdash.core.transport import Progress
from specdash.core.validity import is_retryable
from specdash.runtime.request import Taken, take
from specdash.runtime.server import Server, ServerLimits
from specdash.session.prepare import server_environment
from specdash.session.server_specs import tree_use

LIMIT_S = 60.0
MAX_TOKENS = 48
TRIES = 3


@dataclass(slots=True)
class Served:
    """A server that is ready, its client, and what it has been through."""

    server: Server
    client: EngineClient
    spec: ServerSpec
    facts: list[ev.Fact] = field(default_factory=list)

    async def sample(self, prompt: str, k: int | None, block: int = 0, method: str = "") -> Sample:
        """One measured request, as a run takes it: once more where a loaded machine has spoilt it."""
        key = self.spec.key
        named = method or key.method
        step = Step.of(
            key.target,
            draft=key.draft,
            method=named,
            config=key.config,
            k=k,
            category="coding",
            ngram_n=key.value("ngram_n"),
        )
        text = await self.client.render(Prompt(f"p{block}", "coding", text=prompt), 0)
        request = Request(text, MAX_TOKENS, 0.0, 1, k)
        for _ in range(TRIES):
            taken = await take(self.server, step, f"p{block}", block, request, LIMIT_S, Progress())
            assert isinstance(taken, Taken), taken
            sample = taken.sample
            if not is_retryable(sample):
                break
        return sample

    async def text(self, prompt: str, k: int | None) -> str:
        """The greedy text of an answer."""
        rendered = await self.client.render(Prompt("t", "coding", text=prompt), 0)
        for _ in range(TRIES):
            async with self.server.lease(Progress()) as client:
                answer = await client.generate(Request(rendered, MAX_TOKENS, 0.0, 1, k), limit_s=LIMIT_S)
            if not answer.problems:
                break
        assert not answer.problems, answer.problems
        return answer.text


@asynccontextmanager
async def serving(engine: Engine, spec: ServerSpec, folder: Path, port: int = 0) -> AsyncIterator[Served]:
    """Starts a server through the runtime, and ends it; nothing of it may be left then."""
    facts: list[ev.Fact] = []

    async def keep(fact: ev.Fact) -> None:
        facts.append(fact)

    environment, _ = server_environment(os.environ)
    limits = ServerLimits(grace_s=10.0, stall_s=LIMIT_S, budget_bytes=None, port=port, load_limit_is_hard=False)
    server = Server(lambda _: engine, keep, limits, folder / "logs", tree_use, environment, os.urandom(8).hex(), folder)
    async with asyncio.TaskGroup() as tasks:
        owner = tasks.create_task(server.run())
        try:
            client = await server.start(f"load{time.monotonic_ns()}", spec)
            yield Served(server, client, spec, facts)
        finally:
            await server.close()
            await owner


def spec_of(target: Path | None, draft: Path | None, k: int | None, **more: object) -> ServerSpec:
    """A load of the tiny models, with speculation where there is a draft or a method."""
    settings: dict[str, object] = {
        "key": LoadKey.of("T", k, draft="D" if draft is not None else None),
        "target": target,
        "draft": draft,
        "architecture": "llama",
        "templated": False,
        "args": (),
        "env": {},
        "wrap": (),
        "size_bytes": 1_000_000,
        "load_timeout_s": LIMIT_S,
        "fingerprint": "",
    }
    return ServerSpec(**(settings | more))  # type: ignore[arg-type]
