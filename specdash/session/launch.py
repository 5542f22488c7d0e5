"""What a server of this run is started with, and whether it may be."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from specdash.core.engine import EngineInfo, ServerSpec
from specdash.core.model import ModelFacts
from specdash.core.plan import LoadKey
from specdash.core.text import human_bytes
from specdash.errors import EngineError
from specdash.probes.gpu import gpus
from specdash.probes.memory import system_memory, tree_memory
from specdash.runtime.watch import TreeUse
from specdash.session.catalogue import Catalogue

SAMPLE_BYTES = 2**20  # hashed at each end of a file: enough to tell two models apart, without reading 600 GB
SETTLE_LIMIT_S = 60.0
SETTLE_SHARE = 0.02
SETTLE_BYTES = 2**30


def load_timeout_s(size_bytes: int) -> float:
    """max(180, int(size_gb * 3) + 120) seconds for everything that a load reads."""
    return float(max(180, int(size_bytes / 1e9 * 3) + 120))


def file_identity(facts: ModelFacts) -> list[object]:
    """What makes a model file this one: sizes, modification times, and a hash of both ends of each part."""
    parts: list[object] = []
    for path in facts.parts:
        try:
            status = path.stat()
            ends = hashlib.sha256()
            with path.open("rb") as file:
                ends.update(file.read(SAMPLE_BYTES))
                file.seek(max(0, status.st_size - SAMPLE_BYTES))
                ends.update(file.read(SAMPLE_BYTES))
        except OSError as error:
            raise EngineError(f"{path} cannot be read any more: {error.strerror}", "Was it moved?") from error
        parts.append([status.st_size, status.st_mtime_ns, ends.hexdigest()])
    return parts


class Specs:
    """Makes ServerSpecs for the loads of one run; identities of files are read once."""

    def __init__(self, catalogue: Catalogue, info: EngineInfo) -> None:
        self._catalogue = catalogue
        self._info = info
        self._identities: dict[Path, list[object]] = {}

    def __call__(self, key: LoadKey) -> ServerSpec:
        """The spec of a load; its fingerprint covers files, flags, settings, prompts and build (the resume rule)."""
        prepared = self._catalogue.prepared
        profile = prepared.profile
        target = prepared.targets[key.target]
        draft = prepared.drafts[key.draft] if key.draft is not None else None
        config = next((config.args for config in profile.configs if config.label == key.config), ())
        args = (*profile.engine.args, *config)
        size = prepared.size_bytes(key) or 0
        measure = profile.measure
        facts = {
            "target": self._identity(target),
            "draft": self._identity(draft) if draft is not None else None,
            "key": [key.config, key.moe_experts, key.k],
            "args": args,
            "env": dict(profile.engine.env),
            "wrap": profile.engine.wrap,
            "engine": [self._info.kind, self._info.version, self._info.dialect],
            "prompts": prepared.prompts_digest,
            "sampling": [measure.max_tokens, measure.temperature, measure.seed],
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        timeout = profile.engine.load_timeout_s
        return ServerSpec(
            key=key,
            target=target.path,
            draft=draft.path if draft is not None else None,
            architecture=target.architecture,
            templated=target.has_chat_template,
            args=args,
            env=profile.engine.env,
            wrap=profile.engine.wrap,
            size_bytes=size,
            load_timeout_s=load_timeout_s(size) if isinstance(timeout, str) else timeout,
            fingerprint=digest,
        )

    def _identity(self, facts: ModelFacts) -> list[object]:
        if facts.path not in self._identities:
            self._identities[facts.path] = file_identity(facts)
        return self._identities[facts.path]


class MemoryGate:
    """Refuses loads that do not fit, and waits after a stop until the memory is really back."""

    def __init__(self, limit: int | str) -> None:
        self._limit = limit
        self._before_bytes: int | None = None

    def refuse(self, spec: ServerSpec) -> str | None:
        """Why a load must not be started; None when it fits. Only the model files are counted, no context."""
        available = system_memory().available_bytes
        self._before_bytes = available
        if self._limit == "off":
            return None
        room = self._limit if isinstance(self._limit, int) else available + sum(gpu.free_bytes for gpu in gpus().gpus)
        if spec.size_bytes <= room:
            return None
        source = "limits.memory allows" if isinstance(self._limit, int) else "free here are"
        return (
            f"its model files need {human_bytes(spec.size_bytes)}, {source} {human_bytes(room)};"
            ' use a smaller model or quantisation, or limits.memory = "off"'
        )

    async def settled(self) -> str | None:
        """Waits until about as much memory is available as before the load; says so when it does not come back."""
        if self._before_bytes is None:
            return None
        slack = max(SETTLE_BYTES, int(system_memory().total_bytes * SETTLE_SHARE))
        limit_s = time.monotonic() + SETTLE_LIMIT_S
        while (missing := self._before_bytes - slack - system_memory().available_bytes) > 0:
            if time.monotonic() > limit_s:
                return (
                    f"{human_bytes(missing)} of memory did not come back within {SETTLE_LIMIT_S:.0f} s of the"
                    " server's end; another program may have taken it"
                )
            await asyncio.sleep(0.2)
        return None


def tree_use(pids: Sequence[int]) -> TreeUse:
    """Memory of a process tree, in the runtime's words."""
    return TreeUse(*tree_memory(pids))


def server_environment(environment: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The user's environment for a server, and the names removed: LLAMA_ARG_* silently set flags."""
    removed = tuple(sorted(name for name in environment if name.startswith("LLAMA_ARG_")))
    return {name: value for name, value in environment.items() if name not in removed}, removed
