"""How fast this machine reads memory, measured once a run: what no rate of its models can exceed."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable

from specdash.core import events as ev
from specdash.core.model import ModelFacts
from specdash.core.state import RunState
from specdash.probes.bandwidth import cache_bytes, measure_bandwidth

CACHES = 4  # a model smaller than so many last-level caches is partly served from them, and bounded by nothing known


async def bandwidth_fact(targets: Iterable[ModelFacts], view: RunState) -> ev.BandwidthMeasured:
    """Measures in a second or two, or says why it was not worth it: models that the caches hold, or a GPU."""
    cache = cache_bytes()
    largest = max((target.size_bytes for target in targets), default=0)
    if cache is not None and largest < CACHES * cache:
        return ev.BandwidthMeasured(None, cache, None, f"every target is smaller than {CACHES} last-level caches")
    has_gpu = bool(view.run is not None and view.run.hardware.get("gpus")) or (
        platform.system() == "Darwin" and platform.machine() == "arm64"
    )
    found = await asyncio.to_thread(measure_bandwidth, has_gpu=has_gpu)
    return ev.BandwidthMeasured(found.bytes_s, found.cache_bytes, found.threads, found.reason)
