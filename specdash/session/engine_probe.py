"""What an engine on this machine really does, found by starting it on two tiny models made for the purpose."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from specdash.config.gguf import read_model
from specdash.core import events as ev
from specdash.core.engine import Engine, KProbe, ServerSpec
from specdash.core.plan import LoadKey
from specdash.engines.demo import TINY, write_pair
from specdash.runtime.server import Server, ServerLimits
from specdash.session.prepare import server_environment
from specdash.session.server_specs import tree_use

PROBE_K = 4
LIMIT_S = 60.0


def probe_engine(engine: Engine) -> KProbe:
    """Starts the engine on a tiny synthetic pair and finds out who decides K; takes a second or two on a CPU.

    Raises EngineError when numpy and gguf, which write the models, are missing, or the server cannot start.
    """
    with tempfile.TemporaryDirectory(prefix="specdash-") as name:
        folder = Path(name)
        target, draft = write_pair(folder, shape=TINY)
        spec = ServerSpec(
            key=LoadKey.of("tiny target", PROBE_K, draft="tiny draft"),
            target=target,
            draft=draft,
            architecture=read_model(target).architecture,
            templated=False,
            args=("-c", "512"),
            env={},
            wrap=(),
            size_bytes=target.stat().st_size + draft.stat().st_size,
            load_timeout_s=LIMIT_S,
            fingerprint="",
        )
        return asyncio.run(_probe(engine, spec, folder))


async def _probe(engine: Engine, spec: ServerSpec, folder: Path) -> KProbe:
    async def ignore(fact: ev.Fact) -> None:
        """Nothing of this is a run."""

    environment, _ = server_environment(os.environ)
    limits = ServerLimits(grace_s=5.0, stall_s=LIMIT_S, budget_bytes=None, port=0, load_limit_is_hard=False)
    server = Server(lambda _: engine, ignore, limits, folder, tree_use, environment, os.urandom(8).hex(), folder)
    async with asyncio.TaskGroup() as tasks:
        owner = tasks.create_task(server.run())
        try:
            client = await server.start("probe", spec)
            return await client.probe_k(PROBE_K, limit_s=LIMIT_S)
        finally:
            await server.close()
            await owner
