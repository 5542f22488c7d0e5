"""What becomes of answers of OpenAI-style servers: samples and verdicts, with what is unknown null and explained."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from specdash.core.engine import CACHED, DRAFTED, K_SEEN, Engine, FindContext, Request
from specdash.core.measure import Sample, Verdict
from specdash.core.methods import BASELINE, DRAFT
from specdash.core.plan import LoadKey, Step
from specdash.core.profile import EVERY_METHOD, EngineConfig
from specdash.core.validity import RequestContext, is_retryable, sample_of, verdict_of
from specdash.engines.registry import find
from tests.support.real_programs import Launch
from tests.support.served_engine import serving, spec_of

FAKE = Path(__file__).parents[1] / "fakes" / "openai_server.py"
TOKENS = 24  # as many as the recorded answers have
K = {"vllm": 4, "sglang": 3, "lmstudio": 4, "plain": 4}


def step_of(k: int | None) -> Step:
    return Step.of("T", draft="D" if k else None, method=DRAFT if k else BASELINE, k=k, category="prose")


async def judged(launch: Launch, flavour: str, k: int | None, **behaviour: Any) -> tuple[Engine, list[Sample], Any]:
    """Two samples of a server that runs already, and the verdict on them."""
    url = launch(sys.executable, FAKE, "--flavour", flavour, FAKE_OPENAI=json.dumps(behaviour)).url()
    engine = find(EngineConfig(kind="openai", program="", url={EVERY_METHOD: url}), FindContext())
    key = LoadKey.of("T", k, draft="D" if k else None)
    spec = spec_of(None, None, None, key=key, url=url, model="T", draft_model="D" if k else "")
    client = engine.client(spec, engine.endpoint(spec, 0, "nonce"))
    samples = []
    for block in range(2):
        answer = await client.generate(Request("hello", TOKENS, 0.0, 1, k), limit_s=30)
        asked = RequestContext("p", block, TOKENS, 0.0, None, untold=engine.info.not_reported)
        samples.append(sample_of(step_of(k), answer, asked))
    await client.close()
    return engine, samples, verdict_of(step_of(k), samples, TOKENS, engine.info.not_reported)


@pytest.mark.parametrize(("flavour", "source"), [("vllm", "metrics"), ("sglang", "server")])
async def test_k_is_proven_where_the_server_counts(launch: Launch, flavour: str, source: str) -> None:
    _, samples, (status, findings, error) = await judged(launch, flavour, K[flavour])
    assert (status, findings, error) == ("ok", (), None)
    for sample in samples:
        assert (sample.status, sample.k_seen, sample.acceptance_source) == ("ok", K[flavour], source)
        assert sample.draft_tokens == TOKENS
        assert sample.clock == "client"
        assert len(sample.positions_drafted) == len(sample.positions_accepted)


async def test_another_k_than_asked_for_is_never_a_row(launch: Launch) -> None:
    _, _, (status, findings, error) = await judged(launch, "vllm", 8)
    assert (status, [finding.verdict for finding in findings]) == ("invalid", [Verdict.K_NOT_EFFECTIVE])
    assert "up to 4 tokens a step were drafted" in str(error)


@pytest.mark.parametrize("flavour", ["plain", "lmstudio"])
async def test_a_k_that_nothing_proves_is_said_to_be_unproven(launch: Launch, flavour: str) -> None:
    _, samples, (status, findings, _) = await judged(launch, flavour, 4)
    assert (status, [finding.verdict for finding in findings]) == ("ok", [Verdict.K_UNPROVEN])
    assert findings[0].detail.startswith("K = 4 was asked for: ")
    sample = samples[0]
    assert (sample.status, sample.k_seen) == ("ok", None)
    assert sample.draft_tokens == (19 if flavour == "lmstudio" else None)
    assert sample.unknown[K_SEEN if flavour == "lmstudio" else DRAFTED]
    assert (sample.cached_tokens, CACHED in sample.unknown) == (None, True)


async def test_a_baseline_that_drafts_is_found_out_where_it_is_counted(launch: Launch) -> None:
    _, samples, (status, _, _) = await judged(launch, "vllm", None)
    assert status == "invalid"
    assert samples[0].reasons == (Verdict.BASELINE_DRAFTED,)


async def test_a_warm_prompt_is_no_sample(launch: Launch) -> None:
    _, samples, (status, _, _) = await judged(launch, "vllm", None, stream="vllm-0.32.0.chat.cached.sse")
    assert status == "invalid"
    assert Verdict.PROMPT_CACHED in samples[0].reasons


@pytest.mark.parametrize("fault", ["no_usage", "half"])
async def test_a_broken_answer_is_no_sample(launch: Launch, fault: str) -> None:
    _, samples, (status, _, _) = await judged(launch, "plain", None, **{fault: True})
    assert status == "invalid"
    assert (samples[0].generated_tokens, samples[0].decode_tok_s) == (None, None)


@pytest.mark.parametrize("counts", [True, False])
async def test_two_tokens_an_event_are_timed_by_those_that_came_later(launch: Launch, counts: bool) -> None:
    """n - 1 over the time between the events would read 3.5 % too high for 30 tokens."""
    how: dict[str, Any] = {"tokens": TOKENS, "per_event": 2, "counts": counts, "pause_s": 0.004}
    _, samples, (status, _, error) = await judged(launch, "plain", None, **how)
    assert (status, error) == ("ok", None)
    for sample in samples:
        assert (sample.status, sample.reasons, sample.generated_tokens) == ("ok", (), TOKENS)
        assert sample.decode_tok_s is not None
        assert sample.decode_time_s is not None
        assert sample.decode_tok_s * sample.decode_time_s == pytest.approx(TOKENS - 2)


@pytest.mark.parametrize(
    ("verdict", "behaviour"),
    [
        (Verdict.NO_TEXT, {"tokens": 0, "finish": "stop"}),
        (Verdict.CONTEXT_FULL, {"tokens": 0}),
        (Verdict.CONTEXT_FULL, {"tokens": 5}),
        (Verdict.ALL_THOUGHTS, {"tokens": TOKENS, "hidden": True}),
    ],
)
async def test_an_answer_that_is_none_has_a_kind_of_its_own(
    launch: Launch, verdict: Verdict, behaviour: dict[str, Any]
) -> None:
    _, samples, (status, findings, _) = await judged(launch, "plain", None, **behaviour)
    assert (status, [finding.verdict for finding in findings]) == ("invalid", [verdict])
    assert all(sample.reasons == (verdict,) for sample in samples)
    assert not any(is_retryable(sample) for sample in samples)


async def test_answers_of_thoughts_alone_are_measured_and_said_to_be_that(launch: Launch) -> None:
    _, samples, (status, findings, _) = await judged(launch, "plain", None, tokens=TOKENS, thoughts=True)
    assert [(sample.status, sample.all_thoughts, sample.generated_tokens) for sample in samples] == [
        ("ok", True, TOKENS)
    ] * 2
    assert (status, [(each.verdict, each.detail) for each in findings]) == (
        "ok", [(Verdict.ALL_THOUGHTS, "2 of 2 answers were thoughts alone")],
    )  # fmt: skip


async def test_a_real_server_that_runs_already_is_measured_and_left_running(
    launch: Launch, llama_server: Path, tiny_models: Path, tmp_path: Path
) -> None:
    model, draft = tiny_models / "target.gguf", tiny_models / "draft.gguf"
    flags = ("--spec-type", "draft-simple", "--spec-draft-n-max", 4, "--spec-draft-p-min", 0, "-np", 1, "-t", 1)
    running = launch(llama_server, "-m", model, "-md", draft, *flags, "--port", 0)
    url = running.url()
    engine = find(EngineConfig(kind="openai", program="", url={EVERY_METHOD: f"{url}/v1"}), FindContext())
    assert engine.info.dialect == "llama-server"
    key = LoadKey.of("T", 4, draft="D")
    async with serving(engine, spec_of(None, None, None, key=key, url=url), tmp_path) as served:
        samples = [await served.sample("Once upon a time", 4, block) for block in range(2)]
    assert running.process.poll() is None
    assert running.request("/health") == {"status": "ok"}
    for sample in samples:
        assert (sample.status, sample.k_seen, sample.acceptance_source) == ("ok", 4, "server"), sample.reasons
        assert (sample.clock, sample.cached_tokens) == ("server", 0)
