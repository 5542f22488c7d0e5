"""A run as the sweep would record it, without a server: for tests of what is made from journals."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from specdash.core import events as ev
from specdash.core.measure import Sample
from specdash.core.plan import LoadKey, Step
from specdash.core.reduce import fold_all
from specdash.core.state import RunState
from specdash.core.status import SampleStatus, StepStatus

START_S = 1795255200.0
TARGET = "72B Q8_0"
DRAFT = "0.5B"


def step(k: int | None = None, category: str = "coding", **changes: object) -> Step:
    """A baseline step (k None) or a step with a draft."""
    values: dict[str, object] = {
        "target": TARGET,
        "draft": None if k is None else DRAFT,
        "method": "baseline" if k is None else "draft",
        "config": None,
        "moe_experts": None,
        "k": k,
        "workload": "content",
        "category": category,
        "depth": 0,
    }
    return Step.of(**{**values, **changes})  # type: ignore[arg-type]


def sample(rate: float, block: int = 0, k: int | None = None, prompts: int = 3, status: str = "ok") -> Sample:
    """A sample of 101 tokens at `rate`; with K, 40 steps drafted `k` each and 60 of these tokens were accepted."""
    drafted, accepted, steps = (None, None, 100) if k is None else (40 * k, 60, 40)
    return Sample(
        prefill_time_s=0.5,
        prefill_tok_s=200.0,
        decode_time_s=100 / rate,
        decode_tok_s=rate,
        throughput_tok_s=201 / (100 / rate + 0.5),
        ttft_s=0.51,
        total_time_s=100 / rate + 0.51,
        prompt_tokens=100,
        cached_tokens=0,
        generated_tokens=101,
        draft_tokens=drafted,
        accepted_tokens=accepted,
        steps=steps,
        clock="server",
        prompt_id=f"p{block % prompts}",
        block=block,
        started_s=START_S + block,
        finish_reason="limit",
        text_hash="00",
        k_seen=k,
        positions_drafted=() if k is None else (40,) * k,
        positions_accepted=() if k is None else (30, 20, *(0,) * (k - 2)),
        client_decode_time_s=100 / rate,
        client_decode_tok_s=rate,
        status=SampleStatus(status),
        reasons=() if status == SampleStatus.OK else ("stream_cut",),
    )


def started(steps: Sequence[Step], **changes: object) -> ev.RunStarted:
    """The first fact of a run of these steps."""
    values: dict[str, Any] = {
        "run_id": "hw_llama-server_qwen_20261121T100000Z",
        "name": "qwen",
        "specdash_version": "0.1.0",
        "hardware": {"label": "epyc-384gb", "cpu": "EPYC 9654", "cores": 96, "ram_bytes": 384 * 2**30, "gpus": None},
        "host": "bench",
        "settings": {"max_tokens": 101, "iterations": 5},
        "prompts_digest": "abc",
        "steps": tuple(steps),
    }
    values |= changes
    values["settings"] = ev.RunSettings(**values["settings"])
    return ev.RunStarted(**values)


def measured(
    of: Step, rates: Iterable[float], status: str = "ok", load: str = "l001", verdicts: tuple[str, ...] = ()
) -> list[ev.Fact]:
    """The facts of one step with samples at these rates, one for each block."""
    facts: list[ev.Fact] = [ev.StepStarted(of.id, load, "fp")]
    facts += [ev.SampleTaken(of.id, load, sample(rate, block, of.k), 1.0) for block, rate in enumerate(rates)]
    error = None if status == StepStatus.OK else f"it is {status}"
    return [*facts, ev.StepFinished(of.id, load, StepStatus(status), verdicts, error, "fp")]


def loaded(load: str = "l001", k: int | None = None, scope: str = "request") -> list[ev.Fact]:
    """The facts of a server that became ready; `scope` is what a probe found."""
    key = LoadKey.of(TARGET, k, draft=None if k is None else DRAFT)
    facts: list[ev.Fact] = [
        ev.LoadStarted(load, key, ("llama-server", "-m", "/models/big model.gguf"), "logs/x.log", 2**30, 180.0, "fp"),
        ev.LoadReady(load, 12.5, 4711),
    ]
    return facts if k is None else [*facts, ev.Probed(load, scope, ((1, 1), (k, k)))]


def recorded(facts: Iterable[ev.Fact]) -> list[ev.Recorded]:
    """These facts as a journal keeps them, one second apart."""
    return [ev.Recorded(number, START_S + number - 1, fact) for number, fact in enumerate(facts, start=1)]


def folded(facts: Iterable[ev.Fact]) -> RunState:
    """The view of a journal with these facts."""
    return fold_all(recorded(facts))


CATEGORIES = tuple(f"category {number}" for number in range(9))
KS = (2, 4, 8, 16, 24, 32, 48)


def long_sweep(measurements: int = 500, samples: int = 5, seed: int = 3) -> RunState:
    """Targets with two drafts at seven Ks in nine categories, until there are as many measurements.

    Rates are drawn with 2 % of noise; K = 8 is best.
    """
    rng = random.Random(seed)
    arms = [(None, None), *((draft, k) for draft in ("0.5B", "1.5B") for k in KS)]
    steps = [
        step(k, category, target=f"T{number}", draft=draft)
        for number in range(1 + measurements // (len(arms) * len(CATEGORIES)))
        for draft, k in arms
        for category in CATEGORIES
    ][:measurements]
    facts: list[ev.Fact] = [started(steps), *loaded("l001"), *loaded("l002", 48)]
    for each in steps:
        gain = 1.0 if each.k is None else 2.0 - abs(each.k - 8) / 40
        rates = [10.0 * gain * rng.gauss(1.0, 0.02) for _ in range(samples)]
        facts += measured(each, rates, load="l001" if each.k is None else "l002")
    return folded([*facts, ev.RunFinished("finished", 0)])
