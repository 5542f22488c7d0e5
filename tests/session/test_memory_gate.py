"""Loads that do not fit are refused, but not by one look at what is free."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from specdash.core.engine import ServerSpec
from specdash.core.plan import LoadKey
from specdash.probes.gpu import GpuUses
from specdash.probes.memory import SystemMemory
from specdash.session import server_specs
from specdash.session.server_specs import MemoryGate

GIB = 2**30


def spec(size_gib: int) -> ServerSpec:
    """A server that reads so much."""
    key = LoadKey.of("T")
    return ServerSpec(key, Path("/t"), None, None, False, (), {}, (), size_gib * GIB, 180.0, "fp")


def free(monkeypatch: pytest.MonkeyPatch, *gib: int) -> Iterator[int]:
    """A machine of 64 GiB of which so much is free, look after look; those that were not taken are left."""
    looks = iter(gib)
    monkeypatch.setattr(server_specs, "system_memory", lambda: SystemMemory(64 * GIB, next(looks) * GIB, 0, None))
    monkeypatch.setattr(server_specs, "gpus", lambda: GpuUses(()))
    monkeypatch.setattr(server_specs, "LOOK_AGAIN_S", 0.0)
    return looks


def test_a_load_that_fits_a_moment_later_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = free(monkeypatch, 10, 10, 12, 40, 1)
    assert asyncio.run(MemoryGate("auto").reason_to_refuse(spec(32))) is None
    assert list(looks) == [1]


def test_a_load_that_this_machine_cannot_hold_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = free(monkeypatch, 10, 10, 1)
    refused = asyncio.run(MemoryGate("auto").reason_to_refuse(spec(100)))
    assert refused is not None
    assert "need 100 GiB, free here are 10.0 GiB" in refused
    assert list(looks) == [1]


def test_the_most_that_was_free_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 10, 10, 20, *[12] * (server_specs.LOOKS - 2))
    refused = asyncio.run(MemoryGate("auto").reason_to_refuse(spec(32)))
    assert refused is not None
    assert "free here are 20.0 GiB" in refused


def test_a_limit_of_the_profile_needs_no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = free(monkeypatch, 60, 1)
    refused = asyncio.run(MemoryGate(16 * GIB).reason_to_refuse(spec(32)))
    assert refused is not None
    assert "limits.memory allows 16.0 GiB" in refused
    assert list(looks) == [1]
