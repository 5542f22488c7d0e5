"""What servers with an OpenAI-style API tell of themselves inside an answer, beyond that API; pure.

Nothing of this is standard, so each server's own fields are read by name and every value is checked: what is missing,
renamed, of another type or contradicts itself is None, with the reason in words, and never a number.

Facts of the protocols, from their documentation (none of these servers was run for this, but llama-server):
- vLLM, since 0.25 with `--enable-per-request-metrics` (docs/features/per_request_metrics.md): `metrics` beside the last
  `usage`: `time_to_first_token_ms` (from being scheduled to the first token), `generation_time_ms` (from the first
  token to the last), `prefix_cache.num_cached_tokens`. Since 0.29 with `--per-request-spec-decode-metrics summary` or
  `detailed` (docs/features/speculative_decoding/acceptance_metrics.md): `metrics.speculative_decoding` with
  `num_spec_steps`, `num_draft_tokens`, `num_accepted_draft_tokens`, `num_spec_tokens` (the configured K),
  `acceptance_histogram` (at index j, the steps that accepted exactly j draft tokens; a map in some builds), and
  `per_step_drafted` when detailed. None of them counts the target's own token of a step.
- SGLang, asked by `return_spec_tokens_details` or `return_meta_info`: `sglext.spec_tokens_details` or a choice's
  `meta_info` with `spec_verify_ct`, `spec_num_proposed_drafts`, `spec_num_correct_drafts` (aliases
  `spec_proposed_drafts`, `spec_accepted_drafts`; before 2026 `spec_draft_token_num`, `spec_accept_token_num`) and
  `spec_correct_drafts_histogram` (`spec_accept_histogram`); rates are not read. Asked by
  `return_cached_tokens_details`: `sglext.cached_tokens_details` with `device`, `host` and `storage`.
- LM Studio, since 0.3.10 (https://lmstudio.ai/docs/developer/api-changelog): `stats` with `draft_model`,
  `total_draft_tokens_count`, `accepted_…`, `rejected_…` and `ignored_draft_tokens_count`, which are the drafted tokens
  that the target never saw. Its `tokens_per_second`, `time_to_first_token` and `generation_time` are kept to be shown
  and not measured by: where they begin and end is not documented, and its documentation's own example (53 tokens,
  0.954 s, 51.4 tokens/s) does not add up.
- llama-server (run, b11669): `timings` as in its /completion, see `llama_cpp.stream`.
- Ollama: nothing over /v1; `eval_duration` and the like are in its own /api/chat only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from specdash.core.engine import DRAFTED, K_SEEN
from specdash.core.numbers import not_negative, whole

CONTRADICTS = "the statistics in the answer contradict each other"


@dataclass(frozen=True, slots=True)
class AnswerStats:
    """What one answer's statistics say; None is untold, and `unknown` has the reason where there is one to give.

    `draft_n` are the draft tokens that the target verified, `steps` its verification passes,
    `positions_accepted[i]` the steps that accepted at least i + 1 draft tokens. Times are the server's own clock.
    `shown` are plain values for people to read.
    """

    draft_n: int | None = None
    draft_n_accepted: int | None = None
    steps: int | None = None
    k_seen: int | None = None
    positions_accepted: tuple[int, ...] = ()
    cached_tokens: int | None = None
    prompt_ms: float | None = None
    predicted_ms: float | None = None
    shown: Mapping[str, Any] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)


NOTHING = AnswerStats()


def vllm(metrics: object) -> AnswerStats:
    """The `metrics` object of vLLM."""
    if not isinstance(metrics, Mapping):
        return NOTHING
    cache = metrics.get("prefix_cache")
    spec = metrics.get("speculative_decoding")
    return replace(
        _vllm_drafting(spec) if isinstance(spec, Mapping) else NOTHING,
        cached_tokens=whole(cache.get("num_cached_tokens")) if isinstance(cache, Mapping) else None,
        prompt_ms=not_negative(metrics.get("time_to_first_token_ms")),
        predicted_ms=not_negative(metrics.get("generation_time_ms")),
    )


def _vllm_drafting(spec: Mapping[str, Any]) -> AnswerStats:
    """`metrics.speculative_decoding`."""
    names = ("num_spec_steps", "num_draft_tokens", "num_accepted_draft_tokens")
    steps, drafted, accepted = (whole(spec.get(name)) for name in names)
    missing = next((name for name in names if whole(spec.get(name)) is None), None)
    if missing is not None or steps is None or drafted is None or accepted is None:
        return AnswerStats(unknown={DRAFTED: f"the answer's metrics.speculative_decoding has no {missing}"})
    histogram = _histogram(spec.get("acceptance_histogram"))
    if accepted > drafted or (histogram and _totals(histogram) != (steps, accepted)):
        return AnswerStats(unknown={DRAFTED: CONTRADICTS})
    lengths = [whole(each) for each in _listed(spec.get("per_step_drafted"))]
    known = [each for each in lengths if each is not None]
    configured = whole(spec.get("num_spec_tokens"))
    if known and len(known) == len(lengths) == steps and sum(known) == drafted:
        k_seen: int | None = max(known)
    else:
        # No draft is longer than the configured K, and one at least is as long as the mean.
        shortest = max(math.ceil(drafted / steps) if steps else 0, len(_positions(histogram)))
        k_seen = configured if configured is not None and configured == shortest else None
    unknown = {}
    if k_seen is None and drafted:
        unknown[K_SEEN] = f"{drafted} tokens were drafted in {steps} steps, and no step's length is told"
    return AnswerStats(drafted, accepted, steps, k_seen or None, _positions(histogram), unknown=unknown)


def sglang(extension: object, meta_info: object) -> AnswerStats:
    """SGLang's `sglext` or a choice's `meta_info`, with the names of either generation."""
    ours = extension if isinstance(extension, Mapping) else {}
    details = ours.get("spec_tokens_details", meta_info)
    where = ours.get("cached_tokens_details")
    told = _sglang_drafting(details) if isinstance(details, Mapping) else NOTHING
    if isinstance(where, Mapping):
        parts = [whole(where.get(name, 0)) for name in ("device", "host", "storage") if where.get(name, 0) is not None]
        known = [part for part in parts if part is not None]
        return replace(told, cached_tokens=sum(known) if len(known) == len(parts) else None)
    return told


def _sglang_drafting(details: Mapping[str, Any]) -> AnswerStats:
    """The counts of drafting, by today's names or those before."""
    steps = whole(details.get("spec_verify_ct"))
    drafted = _first(details, "spec_num_proposed_drafts", "spec_proposed_drafts", "spec_draft_token_num")
    accepted = _first(details, "spec_num_correct_drafts", "spec_accepted_drafts", "spec_accept_token_num")
    cached = whole(details.get("cached_tokens"))
    if not any(str(name).startswith("spec_") for name in details):
        return AnswerStats(cached_tokens=cached)
    if steps is None or drafted is None or accepted is None:
        return AnswerStats(
            steps=steps, cached_tokens=cached, unknown={DRAFTED: "the answer's spec_ fields lack a count"}
        )
    histogram = _histogram(details.get("spec_correct_drafts_histogram") or details.get("spec_accept_histogram"))
    if accepted > drafted:
        return AnswerStats(cached_tokens=cached, unknown={DRAFTED: CONTRADICTS})
    positions = _positions(histogram) if _totals(histogram) == (steps, accepted) else ()
    # It drafts the same number in every step, unless it is told to adapt: then the mean is seldom a whole number.
    k_seen = drafted // steps if steps and drafted % steps == 0 else None
    unknown = {}
    if k_seen is None and drafted:
        unknown[K_SEEN] = f"{drafted} tokens were drafted in {steps} steps, so not as many in each"
    return AnswerStats(drafted, accepted, steps, k_seen or None, positions, cached, unknown=unknown)


def lm_studio(stats: object) -> AnswerStats:
    """LM Studio's `stats`."""
    if not isinstance(stats, Mapping):
        return NOTHING
    plain = ("tokens_per_second", "time_to_first_token", "generation_time", "draft_model", "stop_reason")
    shown = {f"stats.{name}": stats[name] for name in plain if isinstance(stats.get(name), str | int | float)}
    names = [f"{name}_draft_tokens_count" for name in ("total", "accepted", "rejected", "ignored")]
    if not any(name in stats for name in names):
        return AnswerStats(shown=shown)
    total, accepted, rejected, ignored = (whole(stats.get(name)) for name in names)
    if accepted is None or rejected is None:
        return AnswerStats(
            shown=shown, unknown={DRAFTED: "the answer's stats count no accepted or no rejected draft tokens"}
        )
    if total is not None and total != accepted + rejected + (ignored or 0):
        return AnswerStats(shown=shown, unknown={DRAFTED: CONTRADICTS})
    why = "LM Studio tells how many tokens were drafted, not in how many steps, and no request can set its K"
    return AnswerStats(accepted + rejected, accepted, shown=shown, unknown={K_SEEN: why})


def llama(timings: object) -> AnswerStats:
    """llama-server's `timings`; its draft counts are absent where nothing was drafted."""
    if not isinstance(timings, Mapping):
        return NOTHING
    drafted, accepted = whole(timings.get("draft_n")), whole(timings.get("draft_n_accepted"))
    if drafted is not None and accepted is not None and accepted > drafted:
        return AnswerStats(unknown={DRAFTED: CONTRADICTS})
    return AnswerStats(
        draft_n=drafted,
        draft_n_accepted=accepted,
        cached_tokens=whole(timings.get("cache_n")),
        prompt_ms=not_negative(timings.get("prompt_ms")),
        predicted_ms=not_negative(timings.get("predicted_ms")),
    )


def _first(values: Mapping[str, Any], *names: str) -> int | None:
    """The first of `names` that is a count."""
    return next((found for name in names if (found := whole(values.get(name))) is not None), None)


def _listed(value: object) -> Sequence[Any]:
    """A JSON array; () for anything else."""
    return value if isinstance(value, list | tuple) else ()


def _histogram(value: object) -> tuple[int, ...]:
    """Steps by the number of tokens that they accepted, from an array or from a map with numbers as names."""
    if isinstance(value, Mapping):
        found = {int(name): whole(each) for name, each in value.items() if str(name).isdecimal() and len(str(name)) < 5}
        if len(found) != len(value):
            return ()
        listed: list[int | None] = [found.get(index, 0) for index in range(max(found, default=-1) + 1)]
    else:
        listed = [whole(each) for each in _listed(value)]
    return tuple(each for each in listed if each is not None) if None not in listed else ()


def _totals(histogram: Sequence[int]) -> tuple[int, int]:
    """The steps of a histogram, and the tokens that they accepted."""
    return sum(histogram), sum(index * steps for index, steps in enumerate(histogram))


def _positions(histogram: Sequence[int]) -> tuple[int, ...]:
    """At index i, the steps that accepted at least i + 1 tokens, up to the last that any accepted."""
    found = tuple(sum(histogram[index:]) for index in range(1, len(histogram)))
    return tuple(each for each in found if each)
