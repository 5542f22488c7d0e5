"""What a server's counters, read before and after a request, add to what the request's answer told; pure."""

from __future__ import annotations

from dataclasses import replace

from specdash.core.engine import DRAFTED, K_SEEN
from specdash.core.generation import Generation
from specdash.engines.spec_metrics import SpecCounters


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
