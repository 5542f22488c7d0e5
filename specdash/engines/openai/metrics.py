"""What was drafted, from a server's metrics endpoint read before and after a request; pure.

Counters are for the server's whole life, so only differences say anything about a request. Who answers is told by what
it answers: the JSON of `GET /v1/spec_decode/metrics` of the MLX cluster server, or Prometheus text with the names of
vLLM, llama.cpp or SGLang. What a server does not count is None, with the reason in words.

Facts of the protocols:
- MLX cluster: `total_steps` verification steps, `total_fallback_steps` plain ones; `avg_tokens_per_step` counts the
  bonus token twice (1 + accepted / steps is right); `current_k` is the K of the start, `adaptive_k_current` the real
  one.
- vLLM (v1/spec_decode/metrics.py): `vllm:spec_decode_num_drafts`, `_num_draft_tokens`, `_num_accepted_tokens` and
  `_num_accepted_tokens_per_pos{position="0"}`, all without the bonus token; the Prometheus client adds `_total`, and a
  `_created` gauge beside each. One series per engine. The engine before that ("V0") counted no drafts.
- llama.cpp (tools/server): the same four names after `llamacpp:`.
- SGLang (srt/.../metrics_collector.py): `spec_accept_length` and `spec_accept_rate` are gauges of the latest batches;
  the one counter is `spec_verify_calls_total`; `spec_num_steps` is the draft length in force.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from specdash.core.engine import DRAFTED, K_SEEN
from specdash.core.generation import Generation
from specdash.core.numbers import MOST, not_negative

TEXT_LIMIT = 8 * 2**20  # characters; beyond that it is no metrics endpoint

SGLANG_GAUGES = "SGLang has only gauges of its latest batches for what was drafted and accepted, and no counters"
OLDER_VLLM = "this vLLM counts no verification steps (spec_decode_num_drafts is missing)"

_LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class SpecCounters:
    """Counters at one moment, or what `difference` found between two; None is unknown, `reason` says why.

    `drafts`: verification steps that had a draft. `draft_tokens` and `accepted_tokens` leave the target's own token
    out. `accepted_per_position[i]`: steps that accepted at least i + 1 tokens; () where untold. `k_now`: the draft
    length in force, where it differs from the configured one too. `enabled`: whether the server speculates at all.
    `plain_steps`: steps without a draft.
    """

    drafts: int | None
    draft_tokens: int | None
    accepted_tokens: int | None
    accepted_per_position: tuple[int, ...] = ()
    k_now: int | None = None
    enabled: bool | None = None
    reason: str = ""
    plain_steps: int | None = None

    @property
    def tokens_per_step(self) -> float | None:
        """Tokens that a verification step made: 1 + accepted / steps; None when unknown or nothing was verified."""
        if not self.drafts or self.accepted_tokens is None:
            return None
        return 1 + self.accepted_tokens / self.drafts

    @property
    def k_seen(self) -> int | None:
        """The draft length that these totals prove, of a difference; None when nothing was drafted or told.

        The server's own word where it gives one. Else the mean draft rounded up, which is K unless most drafts were
        shorter, and never more than the longest draft was.
        """
        if self.drafts == 0 or self.draft_tokens == 0:
            return None
        if self.k_now is not None:
            return self.k_now
        mean = math.ceil(self.draft_tokens / self.drafts) if self.draft_tokens and self.drafts else None
        accepted = max((i for i, count in enumerate(self.accepted_per_position, start=1) if count), default=None)
        return max((each for each in (mean, accepted) if each is not None), default=None)

    def against(self, generated: int) -> str | None:
        """Why these totals cannot be those of one answer of `generated` tokens; None when they can.

        An answer's first token comes with the prompt, each step makes 1 + accepted tokens, and what the last step
        makes beyond the answer's end may be cut off. Counters that grow by themselves, or because somebody else asks
        the server too, say more than that.
        """
        if self.drafts is None or self.accepted_tokens is None:
            return None
        made = 1 + self.drafts + self.accepted_tokens + (self.plain_steps or 0)
        longest = self.k_seen or 0
        if made <= generated + longest + 1:
            return None
        return f"the counters grew by {made} tokens during an answer of {generated}: somebody else uses this server"


def unknown_counters(reason: str, *, enabled: bool | None = None, k_now: int | None = None) -> SpecCounters:
    """Nothing counted, for this reason."""
    return SpecCounters(None, None, None, reason=reason, enabled=enabled, k_now=k_now)


def read_metrics(text: str) -> SpecCounters:
    """The counters in an answer of a metrics endpoint, whoever's it is; never raises for what a server sent."""
    if len(text) > TEXT_LIMIT:
        return unknown_counters("the answer of the metrics endpoint is too long to be one")
    start = text.lstrip()[:1]
    if start in ("{", "["):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return unknown_counters("the metrics endpoint answers with broken JSON")
        return _cluster(value) if isinstance(value, dict) else unknown_counters("the metrics are no JSON object")
    if start == "<":
        return unknown_counters("the metrics endpoint answers with a page for browsers, not with metrics")
    return _prometheus(text)


def difference(before: SpecCounters, after: SpecCounters) -> SpecCounters:
    """What happened between two readings of one server.

    A count that either lacks is None. Counts that fell, or that contradict each other, make all of them None. Where
    the draft length in force changed, `k_now` is the smaller one, so that it is not taken for the configured one;
    where drafts were longer than the server says, its word is dropped.
    """
    k_now = min((each for each in (before.k_now, after.k_now) if each is not None), default=None)
    if after.enabled is False:
        return after
    grown: dict[str, int | None] = {}
    for name in ("drafts", "draft_tokens", "accepted_tokens", "plain_steps"):
        old, new = getattr(before, name), getattr(after, name)
        if old is not None and new is not None and new < old:
            return _fallen(f"{name} from {old} to {new}", after.enabled, k_now)
        grown[name] = new - old if old is not None and new is not None else None
    positions = _positions_grown(before.accepted_per_position, after.accepted_per_position)
    if positions is None:
        return _fallen("accepted tokens by position", after.enabled, k_now)
    found = SpecCounters(
        grown["drafts"],
        grown["draft_tokens"],
        grown["accepted_tokens"],
        positions,
        k_now,
        after.enabled,
        after.reason or before.reason,
        grown["plain_steps"],
    )
    wrong = _contradiction(found)
    if wrong:
        return unknown_counters(wrong, enabled=after.enabled, k_now=k_now)
    steady = before.k_now == after.k_now
    if steady and None not in (k_now, found.drafts) and (found.draft_tokens or 0) > (k_now or 0) * (found.drafts or 0):
        return replace(found, k_now=None)
    return found


def _fallen(what: str, enabled: bool | None, k_now: int | None) -> SpecCounters:
    """Counters that went back."""
    return unknown_counters(f"the counters fell ({what}): the server was started again", enabled=enabled, k_now=k_now)


def _positions_grown(before: Sequence[int], after: Sequence[int]) -> tuple[int, ...] | None:
    """Differences by position; a position appears with its first accepted token. None when one fell."""
    old = (*before, *[0] * (len(after) - len(before)))
    if len(old) > len(after) or any(new < past for past, new in zip(old, after, strict=True)):
        return None
    return tuple(new - past for past, new in zip(old, after, strict=True))


def _contradiction(found: SpecCounters) -> str:
    """What is impossible about a difference; "" when nothing is."""
    drafts, drafted, accepted = found.drafts, found.draft_tokens, found.accepted_tokens
    if drafted is not None and accepted is not None and accepted > drafted:
        return f"the metrics count {accepted} accepted tokens of {drafted} drafted ones, which cannot be"
    if drafts is not None and found.accepted_per_position and found.accepted_per_position[0] > drafts:
        return f"the metrics count {found.accepted_per_position[0]} accepted first tokens in {drafts} steps"
    return ""


# -- the MLX cluster's JSON --------------------------------------------------------------------------------------


def _cluster(value: Mapping[str, Any]) -> SpecCounters:
    """`GET /v1/spec_decode/metrics`."""
    enabled = value.get("spec_decode_enabled")
    if not isinstance(enabled, bool):
        return unknown_counters("the metrics are JSON without spec_decode_enabled, so of a server that is not known")
    if not enabled:
        return unknown_counters("the server says that speculative decoding is off", enabled=False)
    fields = ("total_steps", "total_proposed", "total_accepted", "total_fallback_steps")
    counts = {name: _count(value.get(name)) for name in fields}
    missing = [name for name in fields[:3] if counts[name] is None]
    k_now = _count(value.get("adaptive_k_current"))
    return SpecCounters(
        counts["total_steps"],
        counts["total_proposed"],
        counts["total_accepted"],
        k_now=_count(value.get("current_k")) if k_now is None else k_now,
        enabled=True,
        reason=f"the metrics have no {', no '.join(missing)}" if missing else "",
        plain_steps=counts["total_fallback_steps"],
    )


def _count(value: object) -> int | None:
    """A count as JSON or Prometheus writes it; None for anything that is none."""
    found = not_negative(value)
    return int(found) if found is not None and found <= MOST else None


# -- Prometheus text ---------------------------------------------------------------------------------------------


def _prometheus(text: str) -> SpecCounters:
    """The text format of Prometheus, or OpenMetrics."""
    series = _series(text)
    if not series:
        return unknown_counters("the metrics endpoint answers with no metrics")
    for prefix in ("vllm:", "llamacpp:"):
        if any(name.startswith(f"{prefix}spec_decode_") for name, _, _ in series):
            return _counted(series, prefix)
    if any(name.startswith("sglang:spec_") for name, _, _ in series):
        return _sglang(series)
    speculates = any(name.startswith(("vllm:", "llamacpp:", "sglang:")) for name, _, _ in series)
    why = "nothing about speculative decoding" if speculates else "no names of a server that is known"
    return unknown_counters(f"the metrics have {why}", enabled=None)


_Series = tuple[str, Mapping[str, str], float]


def _series(text: str) -> list[_Series]:
    """(name, labels, value) of every line that is one; comments, NaN and what cannot be read are left out."""
    found: list[_Series] = []
    for line in text.splitlines():
        match = _LINE.match(line.strip())
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        if math.isfinite(value):
            found.append((match[1], dict(_LABEL.findall(match[2] or "")), value))
    return found


def _summed(series: Sequence[_Series], name: str) -> int | None:
    """A counter over all label sets (one per engine or model), named with `_total` or, by some, without."""
    for each in (f"{name}_total", name):
        values = [value for found, _, value in series if found == each]
        if values:
            return _count(sum(values))
    return None


def _counted(series: Sequence[_Series], prefix: str) -> SpecCounters:
    """Those of vLLM and llama.cpp, which have the same names."""
    names = ("drafts", "draft_tokens", "accepted_tokens")
    counts = {name: _summed(series, f"{prefix}spec_decode_num_{name}") for name in names}
    missing = [name for name in names if counts[name] is None]
    reason = f"the metrics have no {prefix}spec_decode_num_{missing[0]}_total" if missing else ""
    if missing == ["drafts"] and prefix == "vllm:":
        reason = OLDER_VLLM
    return SpecCounters(
        counts["drafts"],
        counts["draft_tokens"],
        counts["accepted_tokens"],
        _per_position(series, f"{prefix}spec_decode_num_accepted_tokens_per_pos"),
        reason=reason,
        # llama.cpp shows its counters whether it drafts or not.
        enabled=True if prefix == "vllm:" else None,
    )


def _per_position(series: Sequence[_Series], name: str) -> tuple[int, ...]:
    """Accepted tokens by draft position; () when a position in between is missing."""
    found: dict[int, float] = {}
    for each, labels, value in series:
        position = labels.get("position", "")
        if each in (name, f"{name}_total") and position.isdecimal():
            found[int(position)] = found.get(int(position), 0.0) + value
    if sorted(found) != list(range(len(found))):
        return ()
    return tuple(int(found[position]) for position in range(len(found)))


def _sglang(series: Sequence[_Series]) -> SpecCounters:
    """SGLang: verification steps are counted, drafted and accepted tokens are not."""
    lengths = {value for name, _, value in series if name == "sglang:spec_num_steps" and value > 0}
    return SpecCounters(
        _summed(series, "sglang:spec_verify_calls"),
        None,
        None,
        k_now=_count(lengths.pop()) if len(lengths) == 1 else None,
        reason=SGLANG_GAUGES,
    )


# -- what they add to an answer ------------------------------------------------------------------------------------


def with_counters(generation: Generation, found: SpecCounters) -> Generation:
    """A generation with what the counters say of it: nothing, where they cannot be those of this answer alone.

    `found` is by how much they grew. `steps` is every pass of the target after the prompt, those without a draft too:
    they are counted by few servers, and else what the answer's length leaves. A server that has a counter for every
    position of its drafts (vLLM) tells its K by them: a shorter mean proves nothing then.
    """
    generated = generation.generated_tokens
    wrong = found.against(generated) if generated is not None else "the answer's tokens are not counted"
    if wrong is not None:
        length = {K_SEEN: wrong} if generation.k_seen is None else {}
        return replace(generation, unknown={**generation.unknown, DRAFTED: wrong, **length})
    if found.drafts is None or found.draft_tokens is None or found.accepted_tokens is None or generated is None:
        reason = {DRAFTED: found.reason} if found.reason else {}
        return replace(generation, unknown={**generation.unknown, **reason})
    unknown = {name: why for name, why in generation.unknown.items() if name not in (DRAFTED, K_SEEN)}
    k_seen = found.k_seen
    configured = len(found.accepted_per_position)
    if k_seen is not None and found.k_now is None and k_seen < configured:
        unknown[K_SEEN] = f"drafts were {k_seen} tokens long on average, and the longest may have been {configured}"
        k_seen = None
    plain = max(0, generated - 1 - found.drafts - found.accepted_tokens) if found.plain_steps is None else 0
    return replace(
        generation,
        draft_n=found.draft_tokens,
        draft_n_accepted=found.accepted_tokens,
        steps=found.drafts + plain + (found.plain_steps or 0),
        k_seen=k_seen,
        # A step without a draft tried no position, and only steps are counted here.
        positions_accepted=found.accepted_per_position if not plain and not found.plain_steps else (),
        acceptance_source="metrics",
        unknown=unknown,
    )
