"""The stock MLX server's streams: recorded ones, and ones whose tokens arrive as in steps of known lengths."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from specdash.core.engine import DRAFTED, K_SEEN, Endpoint, KProbe, ServerSpec
from specdash.core.generation import DECODE_RATE
from specdash.core.measure import INFERRED
from specdash.core.plan import KScope, LoadKey
from specdash.core.transport import HttpError, StreamedAnswer
from specdash.engines.mlx.client import StockClient, decode, drafts_seen
from specdash.engines.sse import SseParser

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
WITHIN_S, BETWEEN_S = 0.0008, 0.02


def recorded(name: str) -> StreamedAnswer:
    """A recorded stream, its events one by one: recordings have no times."""
    data = SseParser().feed((RECORDINGS / f"{name}.stream.mlx-lm-0.32.2.sse").read_bytes())
    return StreamedAnswer(200, 0.0, tuple((1.0 + number, event) for number, event in enumerate(data)), 99.0)


def event(text: str, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "finish_reason": finish_reason, "text": text}
    return json.dumps({"model": "default_model", "choices": [choice]}).encode()


def answered(
    sizes: Sequence[int],
    *,
    finish: str = "length",
    gaps_s: tuple[float, float] = (WITHIN_S, BETWEEN_S),
    tokens: int | None = None,
    texts: int | None = None,
    noise: float = 0.2,
) -> StreamedAnswer:
    """An answer whose tokens come in bursts of these sizes; gaps of both kinds vary by `noise`."""
    chance = random.Random(1)
    events: list[tuple[float, bytes]] = []
    t_s = 1.0
    for size in sizes:
        for place in range(size):
            t_s += gaps_s[1 if place == 0 else 0] * chance.uniform(1 - noise, 1 + noise)
            events.append((t_s, event(f" w{len(events)}")))
    events = events[: texts if texts is not None else len(events)]
    count = sum(sizes) + (finish == "stop") if tokens is None else tokens
    usage = {"prompt_tokens": 7, "completion_tokens": count, "prompt_tokens_details": {"cached_tokens": 0}}
    last = json.dumps({"model": "default_model", "choices": [], "usage": usage}).encode()
    return StreamedAnswer(
        200, 0.9, (*events, *((t_s, data) for data in (event("", finish), last, b"[DONE]"))), t_s + 0.001
    )


@pytest.mark.parametrize(("name", "begins"), [("completions", "lomi inestsa tordufo"), ("chat", "losaqui infodri")])
def test_recorded_streams(name: str, begins: str) -> None:
    found = decode(recorded(name), 4)
    assert found.problems == ()
    assert found.text.startswith(begins)
    assert (found.finish_reason, found.generated_tokens, len(found.chunks)) == ("limit", 16, 16)
    assert (found.prompt_tokens, found.cached_tokens) == (4, 3)
    assert (found.prompt_ms, found.predicted_ms, found.tokens, found.draft_n) == (None, None, (), None)
    assert "did not come in clear bursts" in found.unknown[DRAFTED]
    assert found.unknown[K_SEEN] == found.unknown[DRAFTED]


def test_bursts_are_steps() -> None:
    sizes = (5, 3, 1, 5, 2, 4, 1, 5, 2, 3)
    found = decode(answered(sizes), 4)
    assert found.acceptance_source == INFERRED
    assert found.steps == len(sizes)
    assert (found.draft_n, found.draft_n_accepted) == (4 * 9, sum(sizes[:-1]) - 9)
    assert (found.k_seen, found.untimed_tokens) == (4, 5)
    assert found.unknown == {}


def test_only_a_step_that_accepted_k_tokens_proves_k() -> None:
    sizes = (3, 3, 1, 4, 2, 4, 1, 2, 3)
    found = decode(answered(sizes), 4)
    assert (found.draft_n, found.draft_n_accepted, found.k_seen) == (4 * 8, 20 - 8, None), "counts take K as asked"
    assert (found.steps, found.untimed_tokens, found.acceptance_source) == (len(sizes), 3, INFERRED)
    assert found.unknown[K_SEEN].endswith("none of its steps made the 5 that prove K = 4: the longest made 4")
    assert DRAFTED not in found.unknown
    assert decode(answered(sizes), 3).k_seen == 3


@pytest.mark.parametrize(("tokens", "k", "why"), [(32, 4, "could be 13% too high"), (201, 4, ""), (200, 4, "2% too")])
def test_a_rate_that_the_untimed_tokens_could_falsify_is_none(tokens: int, k: int, why: str) -> None:
    found = decode(answered((1,) * tokens), k)
    assert (found.untimed_tokens, DECODE_RATE in found.unknown) == (1, bool(why))
    assert why in found.unknown.get(DECODE_RATE, "")
    assert DECODE_RATE not in decode(answered((1,) * tokens), None).unknown


def test_the_length_of_drafts_is_that_of_the_longer_steps() -> None:
    assert drafts_seen(answered((5, 3, 1, 5, 2, 4, 1, 5, 2, 3)), 4) == 4
    assert drafts_seen(answered((2, 1, 2, 2, 1, 2, 4, 2, 1, 2, 2, 2, 1)), 4) == 1  # a stall has joined two steps
    assert drafts_seen(answered((2, 1, 2, 2, 1, 2, 4, 2, 1, 2, 2, 2, 1)), 2) is None
    assert drafts_seen(answered((1,) * 32), 4) is None


def test_the_last_step_counts_where_its_end_is_certain() -> None:
    whole = decode(answered((5, 3, 1, 5, 2, 4, 1, 5)), 4)
    assert (whole.draft_n, whole.draft_n_accepted) == (4 * 8, 26 - 8)
    # Two tokens before the end only two are drafted, and only one of the three that are left is certain.
    short = decode(answered((5, 5, 5, 1, 1, 2)), 4)
    assert (short.draft_n, short.draft_n_accepted) == (4 + 4 + 4 + 4 + 3, 12)
    ended = decode(answered((5, 5, 5, 1, 1, 2), finish="stop"), 4)
    assert (ended.finish_reason, ended.draft_n, ended.draft_n_accepted) == ("eos", 5 * 4, 12)


def test_nothing_is_inferred_where_nothing_is_drafted() -> None:
    for k in (None, 0):
        found = decode(answered((1,) * 32), k)
        assert (found.problems, found.draft_n, found.steps, dict(found.unknown)) == ((), None, None, {})


@pytest.mark.parametrize(
    ("answer", "k", "why"),
    [
        (answered((1,) * 32), 4, "did not come in clear bursts"),
        (answered((5, 3, 1, 5, 2, 4), gaps_s=(0.004, BETWEEN_S)), 2, "did not come in clear bursts"),
        (answered((5, 3, 1, 5, 2, 4), gaps_s=(0.008, 0.012)), 4, "did not come in clear bursts"),
        (answered((5, 3, 1, 5, 2, 4), gaps_s=(0.008, 0.02), noise=0.5), 4, "did not come in clear bursts"),
        (answered((5, 3, 1, 5, 2, 4), gaps_s=(0, BETWEEN_S)), 2, "more came at once than a step with K = 2 makes"),
        (answered((5, 3, 1)), 4, "which needs 16 of them"),
        (answered((5, 3, 1, 5, 2, 4), texts=18), 4, "some did not come in an event of their own"),
    ],
)
def test_what_is_not_clear_is_unknown_with_its_reason(answer: StreamedAnswer, k: int, why: str) -> None:
    found = decode(answer, k)
    assert (found.draft_n, found.draft_n_accepted, found.steps, found.k_seen) == (None, None, None, None)
    assert found.acceptance_source is None
    assert why in found.unknown[DRAFTED]
    assert why in found.unknown[K_SEEN]


def test_a_stall_among_tokens_that_come_one_by_one_is_no_burst() -> None:
    answer = answered((1,) * 32)
    late = tuple((t_s + (0.2 if number > 20 else 0), data) for number, (t_s, data) in enumerate(answer.events))
    found = decode(StreamedAnswer(200, 0.9, late, answer.ended_t_s + 1), 40)
    assert "did not come in clear bursts" in found.unknown[DRAFTED]


def test_an_answer_that_came_at_once_has_no_time() -> None:
    answer = answered((5, 3, 1, 5, 2, 4))
    at_once = tuple((1.0 + (number > 5), data) for number, (_t_s, data) in enumerate(answer.events))
    found = decode(StreamedAnswer(200, 0.9, at_once, 9.0), 4)
    assert found.problems == ("20 tokens arrived at 2 moments, so how long they took is not known",)


def test_half_an_answer_is_a_problem_and_nothing_is_inferred() -> None:
    whole = answered((5, 3, 1, 5, 2, 4))
    cut = StreamedAnswer(200, 0.9, whole.events[:12], whole.ended_t_s)
    found = decode(cut, 4)
    assert found.problems
    assert (found.draft_n, found.finish_reason) == (None, None)
    broken = StreamedAnswer(200, 0.9, (*whole.events[:5], (1.2, b'{"choices": [{"te'), *whole.events[5:]), 9.0)
    assert "malformed" in decode(broken, 4).problems[0]


class Played:
    """A server that refuses a K below 0, and whose answers come in these bursts, one list after the other."""

    def __init__(self, *answers: Sequence[int]) -> None:
        self._answers = iter(answers)

    async def post_json(self, path: str, body: Mapping[str, Any], *, limit_s: float) -> Any:
        raise HttpError(400, "num_draft_tokens must be a non-negative integer")

    async def stream(self, path: str, body: Mapping[str, Any], **_: Any) -> StreamedAnswer:
        return answered(next(self._answers))


FULL, ONE, JOINED = (5, 3, 1, 5, 2, 4, 5), (2, 1, 2, 2, 1, 2, 2, 2, 2), (2, 4, 2, 2, 4, 1, 4, 2)


@pytest.mark.parametrize(
    ("answers", "scope", "evidence"),
    [
        ((FULL, ONE), KScope.REQUEST, ((4, 4), (1, 1))),
        ((FULL, (1,) * 32), KScope.REQUEST, ((4, 4), (1, None))),
        ((FULL, JOINED, ONE), KScope.REQUEST, ((4, 4), (1, 3), (1, 1))),
        ((FULL, FULL, FULL, FULL), KScope.STARTUP, ((4, 4), (1, 4), (1, 4), (1, 4))),
    ],
    ids=["obeyed", "not clear", "stalled once", "ignored"],
)
async def test_a_k_is_ignored_where_every_look_says_so(
    answers: Sequence[Sequence[int]],
    scope: KScope,
    evidence: tuple[tuple[int, int | None], ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = ServerSpec(
        key=LoadKey.of("T", 4, draft="D"),
        target=Path("/m/target"),
        draft=Path("/m/draft"),
        architecture="llama",
        templated=False,
        args=(),
        env={},
        wrap=(),
        size_bytes=1,
        load_timeout_s=60.0,
        fingerprint="",
    )
    client = StockClient(Endpoint(0, ""), spec, "")
    monkeypatch.setattr(client, "_http", Played(*answers))
    assert await client.probe_k(4, limit_s=30.0) == KProbe(scope, evidence)
