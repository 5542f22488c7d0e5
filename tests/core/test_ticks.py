"""Ticks: over the wire and back, and the short memory of them."""

from __future__ import annotations

import json
from dataclasses import replace

from specdash.core.ticks import (
    HISTORY,
    GpuUse,
    Live,
    LogTick,
    MemoryTick,
    ServerTick,
    TextRun,
    TokenTick,
    fold_tick,
)
from specdash.store.codec import decode_tick, encode_tick

TOKEN = TokenTick(
    "l1", "s", "sample", 2, 1.0, 34, 96, 40, 30, 12.5, 0.75, 0.1, (TextRun("a\x1b", True), TextRun("b", False))
)
TICKS = [
    ServerTick("l1", "loading", 5.0, 100, 200),
    TOKEN,
    MemoryTick(100, 50, 0, 0, gpus=(GpuUse("H200", 1, 2, 0.5, 61.0),), missing=("no sensor",)),
    LogTick("l1", "logs/l1.log", 12, ("one", "two")),
]


def test_ticks_come_back_as_they_were() -> None:
    for tick in TICKS:
        assert decode_tick(json.loads(json.dumps(encode_tick(tick)))) == tick


def test_what_is_not_understood_is_no_tick() -> None:
    assert decode_tick({"tick": "weather"}) is None
    assert decode_tick({"tick": "server"}) is None
    assert decode_tick({"tick": "memory", "gpus": [3]}) is None
    assert decode_tick({}) is None
    more = {**encode_tick(TICKS[0]), "mood": "good"}
    assert decode_tick(more) == TICKS[0]


def test_only_the_newest_is_kept_and_histories_are_short() -> None:
    live = Live()
    for number in range(HISTORY + 10):
        live = fold_tick(live, replace(TOKEN, rate_tok_s=float(number)))
    assert live.token is not None
    assert live.token.rate_tok_s == HISTORY + 9
    assert len(live.rates_tok_s) == len(live.acceptances) == HISTORY
    assert live.rates_tok_s[-1] == HISTORY + 9
    for tick in TICKS:
        live = fold_tick(live, tick)
    assert (live.server, live.memory, live.log) == (TICKS[0], TICKS[2], TICKS[3])
