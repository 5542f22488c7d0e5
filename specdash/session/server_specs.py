"""What a server of this run is started with, and whether there is memory for it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from specdash.core.axes import AXES, PARAMS, SETTING, values
from specdash.core.engine import EngineInfo, ServerSpec
from specdash.core.heartbeat import heartbeat
from specdash.core.model import ModelFacts
from specdash.core.plan import LoadKey
from specdash.core.profile import ServerConfig, for_method
from specdash.core.text import human_bytes
from specdash.engines.llama_cpp.context import context_of
from specdash.errors import EngineError
from specdash.probes.gpu import gpus
from specdash.probes.memory import system_memory, tree_memory
from specdash.runtime.launch_monitor import TreeUse
from specdash.session.catalogue import Catalogue

SAMPLE_BYTES = 2**20  # hashed at each end of a file: enough to tell two models apart, without reading 600 GB
UNKNOWN_LOAD_S = 600.0  # as the launch scripts of clusters wait
SETTLE_LIMIT_S = 60.0
SETTLE_SHARE = 0.02
SETTLE_BYTES = 2**30
LOOKS = 10
LOOK_AGAIN_S = 0.5


def load_timeout_s(size_bytes: int | None) -> float:
    """max(180, int(size_gb * 3) + 120) seconds for everything that a load reads; ten minutes where that is unknown."""
    if size_bytes is None:
        return UNKNOWN_LOAD_S
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


def _projector(path: Path) -> list[object]:
    """What makes a projector file this one."""
    try:
        status = path.stat()
    except OSError:
        return [str(path)]
    return [str(path), status.st_size, status.st_mtime_ns]


def _scripts(command: Sequence[str]) -> list[str]:
    """Digests of the scripts in a launch command: an edited one is another server. Programs beyond 1 MiB are none."""
    found = []
    for word in command:
        with suppress(OSError, ValueError):
            path = Path(word)
            if path.is_absolute() and os.path.isfile(path) and path.stat().st_size <= SAMPLE_BYTES:
                found.append(hashlib.sha256(path.read_bytes()).hexdigest())
    return found


class ServerSpecBuilder:
    """Makes ServerSpecs for the loads of one run; identities of files are read once."""

    def __init__(self, catalogue: Catalogue, info_of: Callable[[LoadKey], EngineInfo]) -> None:
        self._catalogue = catalogue
        self._info_of = info_of
        self._identities: dict[Path, list[object]] = {}

    def __call__(self, key: LoadKey) -> ServerSpec:
        """The spec of a load; its fingerprint covers files, flags, settings, prompts and build (the resume rule)."""
        prepared = self._catalogue.prepared
        engine = prepared.profile.engine
        target = prepared.targets.get(key.target)
        draft = prepared.drafts.get(key.draft) if key.draft is not None else None
        target_ref, draft_ref = prepared.refs.get(key.target), prepared.refs.get(key.draft or "")
        found = (config for config in prepared.profile.configs if config.label == key.config)
        config = next(found, ServerConfig(""))
        size = prepared.size_bytes(key)
        timeout = engine.load_timeout_s
        spec = ServerSpec(
            key=key,
            target=target.path if target is not None else None,
            draft=draft.path if draft is not None else None,
            architecture=target.architecture if target is not None else None,
            templated=target is not None and target.has_chat_template,
            args=(*engine.args, *config.args),
            env=engine.env,
            wrap=engine.wrap,
            size_bytes=size,
            load_timeout_s=load_timeout_s(size) if isinstance(timeout, str) else timeout,
            fingerprint="",
            model=target_ref.model if target_ref is not None else "",
            draft_model=draft_ref.model if draft_ref is not None else "",
            mmproj=target_ref.mmproj if target_ref is not None else None,
            context=context_of(self._info_of(key).kind, (*engine.args, *config.args), engine.env),
        )
        method = spec.method
        spec = replace(
            spec,
            launch=for_method(config.launch or engine.launch, method) or (),
            stop=config.stop or engine.stop,
            url=for_method(config.url or engine.url, method) or "",
        )
        return replace(spec, fingerprint=self._fingerprint(spec, target, draft))

    def _fingerprint(self, spec: ServerSpec, target: ModelFacts | None, draft: ModelFacts | None) -> str:
        """A digest of all that makes the numbers of a load comparable; what most loads have not is left out of it."""
        prepared, key = self._catalogue.prepared, spec.key
        measure, info = prepared.profile.measure, self._info_of(key)
        facts: dict[str, object] = {
            "target": self._identity(target) if target is not None else None,
            "draft": self._identity(draft) if draft is not None else None,
            "key": [*values(key, SETTING), key.k_startup],
            "args": spec.args,
            "env": dict(spec.env),
            "wrap": spec.wrap,
            "engine": [info.kind, info.version, info.dialect],
            "prompts": prepared.prompts_digest,
            "sampling": [measure.max_tokens, measure.temperature, measure.seed],
        }
        later = {name: key.value(name) for name in PARAMS if AXES[name].is_sparse}
        more = {
            "method": [key.method, key.value("ngram_n")] if not key.is_plain else None,
            "params": {name: each for name, each in later.items() if each != AXES[name].default} or None,
            "models": [spec.model, spec.draft_model] if spec.model or spec.draft_model else None,
            "mmproj": _projector(spec.mmproj) if spec.mmproj is not None else None,
            "program": name if (name := Path(info.program).name) != info.kind else None,
            "server": [spec.launch, spec.url, *_scripts(spec.launch)] if spec.launch or spec.url else None,
            "body": dict(prepared.profile.engine.body) or None,
        }
        facts |= {name: value for name, value in more.items() if value is not None}
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def _identity(self, facts: ModelFacts) -> list[object]:
        if facts.path not in self._identities:
            self._identities[facts.path] = file_identity(facts)
        return self._identities[facts.path]


class MemoryGate:
    """Refuses loads that do not fit, and waits after a stop until the memory is really back."""

    def __init__(self, limit: int | str) -> None:
        self._limit = limit
        self._before_bytes: int | None = None

    async def reason_to_refuse(self, spec: ServerSpec) -> str | None:
        """Why a load must not be started; None when it fits. Only the model files are counted, no context.

        What is free changes from second to second, so one look refuses nothing that this machine could hold: it is
        looked at again for a while, and the most that was free counts.
        """
        self._before_bytes = system_memory().available_bytes
        size = spec.size_bytes
        if self._limit == "off" or size is None:
            return None
        if isinstance(self._limit, int):
            return None if size <= self._limit else _too_large(size, "limits.memory allows", self._limit)
        most = 0
        for look in range(LOOKS):
            if look:
                await asyncio.sleep(LOOK_AGAIN_S)
            memory, on_gpus = system_memory(), sum(gpu.free_bytes for gpu in gpus().gpus)
            most = max(most, memory.available_bytes + on_gpus)
            if size <= most:
                return None
            if size > memory.total_bytes + on_gpus:
                break
        return _too_large(size, "free here are", most)

    async def settled(self) -> str | None:
        """Waits until about as much memory is available as before the load; says so when it does not come back."""
        if self._before_bytes is None:
            return None
        slack = max(SETTLE_BYTES, int(system_memory().total_bytes * SETTLE_SHARE))
        limit_s = heartbeat().ran_s() + SETTLE_LIMIT_S
        while (missing := self._before_bytes - slack - system_memory().available_bytes) > 0:
            if heartbeat().ran_s() > limit_s:
                return (
                    f"{human_bytes(missing)} of memory did not come back within {SETTLE_LIMIT_S:.0f} s of the"
                    " server's end; another program may have taken it"
                )
            await asyncio.sleep(0.2)
        return None


def _too_large(size_bytes: int, source: str, room_bytes: int) -> str:
    """Why model files of this size are not loaded."""
    return (
        f"its model files need {human_bytes(size_bytes)}, {source} {human_bytes(room_bytes)};"
        ' use a smaller model or quantisation, or limits.memory = "off"'
    )


def tree_use(pids: Sequence[int]) -> TreeUse:
    """Memory of a process tree, in the runtime's words."""
    return TreeUse(*tree_memory(pids))
