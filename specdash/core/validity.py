"""When a number counts: from what was seen of one request to a sample, and from samples to a step's verdict.

A sample is valid only if nothing about it is unexplained; an invalid one is kept with its reasons and never
summarised. A step's verdicts are about what its samples prove together: that K took effect, that speculation took
place, that the server's clock and ours agree.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

from specdash.core.engine import CACHED, DRAFTED, EXACT_LENGTH, K_SEEN, TIMINGS
from specdash.core.generation import DECODE_RATE, Generation
from specdash.core.measure import Sample, Verdict, clocks_disagree, decode_rate, expected_k_seen, step_facts
from specdash.core.methods import BASELINE
from specdash.core.numbers import finite
from specdash.core.pauses import Pause, void_figures, voids_all
from specdash.core.plan import Step
from specdash.core.status import SampleStatus, StepStatus

MIN_TOKENS = 16
CLOCK_JUMP_S = 0.5  # reliable clocks drift by microseconds a second
SWAP_STORM_BYTES = 64 * 2**20
WAKE_UP_S = 0.03  # measured with both cores busy: a token is seen up to this late

# Reasons that belong to the server, not to one request: no sample of the step will be better.
FATAL = frozenset({Verdict.PROMPT_CACHED, Verdict.BASELINE_DRAFTED, Verdict.K_NOT_EFFECTIVE})
# Reasons that belong to the prompt: another try would only repeat them.
LASTING = FATAL | {
    Verdict.TOO_SHORT,
    Verdict.WRONG_LENGTH,
    Verdict.RECALLED,
    Verdict.NO_TEXT,
    Verdict.ALL_THOUGHTS,
    Verdict.CONTEXT_FULL,
}
# Reasons that belong to the moment: they say nothing of the next answer, however often they were there.
PASSING = frozenset(
    {Verdict.STREAM_CUT, Verdict.HTTP_ERROR, Verdict.CLOCK_JUMPED, Verdict.SWAPPING, Verdict.SERVER_CHANGED}
)
STUBBORN = 3  # answers in a row that are wrong for one and the same reason, none being right


_NAMES = frozenset(verdict.value for verdict in Verdict)


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What a request asked for and under which circumstances it ran; `untold` is what this engine never tells.

    `is_recalled`: the method drafts from memory, and its server has answered this prompt before.
    """

    prompt_id: str
    block: int
    max_tokens: int
    started_s: float  # seconds since 1970, UTC
    alias: str | None  # the model name that the answer must carry
    clock_jump_s: float = 0.0  # wall clock minus monotonic moved by this much meanwhile
    swapped_in_bytes: int = 0  # read back from swap by the whole machine meanwhile
    untold: Collection[str] = ()  # names of core.engine.REPORTABLE
    is_recalled: bool = False
    pauses: Sequence[Pause] = ()  # in which this process did not run
    server_stopped: bool = False  # its processes were seen stopped or frozen


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict with the figures behind it."""

    verdict: Verdict
    detail: str


def sample_of(step: Step, generation: Generation, asked: RequestContext) -> Sample:
    """The sample that one generation makes, valid or not; rates by the server's clock where it tells the time.

    decode_tok_s = (generated tokens - 1) / decode time, since n tokens have n - 1 intervals; never the server's own
    per-second field, which builds define differently. By our clock those that arrived first are left out together.
    Figures by our clock that hold a pause of this process are None, with the reason in `unknown`.
    """
    facts = step_facts(generation.chunks)
    client_decode_s = _between(generation.first_token_t_s, generation.last_token_t_s)
    ttft_s = _between(generation.sent_t_s, generation.first_token_t_s)
    total_s = _between(generation.sent_t_s, generation.ended_t_s)
    server = generation.predicted_ms is not None and generation.prompt_ms is not None
    decode_s, prefill_s = client_decode_s, ttft_s
    if generation.predicted_ms is not None and generation.prompt_ms is not None:
        decode_s, prefill_s = generation.predicted_ms / 1000, generation.prompt_ms / 1000
    generated = generation.generated_tokens
    prompt = generation.prompt_tokens
    client_rate = decode_rate(generated, client_decode_s, generation.untimed_tokens)
    if DECODE_RATE in generation.unknown:
        client_rate = None
    cached = generation.cached_tokens
    processed = prompt - cached if prompt is not None and cached is not None else None
    both = prompt + generated if prompt is not None and generated is not None else None
    reasons = reasons_against(step, generation, asked)
    # A pause that voids the sample is in all its figures, so those of a void one are left as they were seen.
    void = {} if reasons else void_figures(generation, asked.pauses)
    ours = partial(_unless, void)
    return Sample(
        prefill_time_s=prefill_s,
        prefill_tok_s=_per_second(processed, prefill_s),
        decode_time_s=decode_s,
        decode_tok_s=decode_rate(generated, decode_s) if server else client_rate,
        throughput_tok_s=ours("throughput_tok_s", _per_second(both, total_s)),
        ttft_s=ours("ttft_s", ttft_s),
        total_time_s=ours("total_time_s", total_s),
        prompt_tokens=prompt,
        cached_tokens=cached,
        generated_tokens=generated,
        draft_tokens=generation.draft_n,
        accepted_tokens=generation.draft_n_accepted,
        steps=facts.steps if facts.steps is not None else generation.steps,
        clock="server" if server else "client",
        prompt_id=asked.prompt_id,
        block=asked.block,
        started_s=asked.started_s,
        finish_reason=generation.finish_reason,
        text_hash=generation.text_hash,
        k_seen=facts.k_seen if facts.k_seen is not None else generation.k_seen,
        positions_drafted=facts.positions_drafted or _all_of(generation),
        positions_accepted=facts.positions_accepted or generation.positions_accepted,
        client_decode_time_s=ours("client_decode_time_s", client_decode_s),
        client_decode_tok_s=ours("client_decode_tok_s", client_rate),
        status=SampleStatus.INVALID if reasons else SampleStatus.OK,
        reasons=reasons,
        acceptance_source=generation.acceptance_source or ("server" if generation.draft_n is not None else None),
        unknown={**generation.unknown, **void},
        all_thoughts=generation.thoughts,
    )


def _unless(void: Collection[str], name: str, value: float | None) -> float | None:
    """A figure by our clock; None where it is among those that are void."""
    return None if name in void else value


def _all_of(generation: Generation) -> tuple[int, ...]:
    """How many steps drafted each position, where counters tell only which were accepted: all of them."""
    return (generation.steps,) * len(generation.positions_accepted) if generation.steps is not None else ()


def reasons_against(step: Step, generation: Generation, asked: RequestContext) -> tuple[str, ...]:
    """Why a generation must not be counted; empty when nothing speaks against it."""
    circumstances = (
        (generation.finish_reason is None, Verdict.NO_FINISH_REASON),
        (TIMINGS not in asked.untold and None in (generation.predicted_ms, generation.prompt_ms), Verdict.NO_TIMINGS),
        (CACHED not in asked.untold and generation.cached_tokens is None, Verdict.NO_TIMINGS),
        (bool(generation.cached_tokens), Verdict.PROMPT_CACHED),
        (asked.is_recalled, Verdict.RECALLED),
        (step.method == BASELINE and bool(generation.draft_n), Verdict.BASELINE_DRAFTED),
        (None not in (asked.alias, generation.model) and generation.model != asked.alias, Verdict.SERVER_CHANGED),
        (abs(asked.clock_jump_s) > CLOCK_JUMP_S, Verdict.CLOCK_JUMPED),
        (asked.swapped_in_bytes > SWAP_STORM_BYTES, Verdict.SWAPPING),
        (asked.server_stopped or voids_all(generation, asked.pauses), Verdict.PAUSED),
    )
    found = [*generation.problems, *(verdict for holds, verdict in circumstances if holds)]
    found += _against_length(generation, asked, known_bad=bool(found))
    return tuple(dict.fromkeys(str(reason) for reason in found))


def _against_length(generation: Generation, asked: RequestContext, *, known_bad: bool) -> list[Verdict]:
    """What the number of tokens says against a generation."""
    generated = generation.generated_tokens
    is_short = generated is not None and generated < asked.max_tokens
    if is_short and generation.finish_reason == "limit" and generation.is_truncated is not False:
        return [Verdict.CONTEXT_FULL]
    if not generation.chunks and not generation.problems:
        return [Verdict.ALL_THOUGHTS if generation.hidden_tokens else Verdict.NO_TEXT]
    if generated is None or not generation.chunks:
        return [] if known_bad else [Verdict.TOKEN_COUNT_MISMATCH]
    last = generation.chunks[-1]
    may_be_longer = EXACT_LENGTH in asked.untold and generated > asked.max_tokens
    is_other = generated != asked.max_tokens and not may_be_longer
    checks = (
        (last.counted and abs(last.predicted_n - generated) > 1, Verdict.TOKEN_COUNT_MISMATCH),
        (generation.finish_reason == "limit" and is_other, Verdict.WRONG_LENGTH),
        (generated < MIN_TOKENS, Verdict.TOO_SHORT),
    )
    return [verdict for holds, verdict in checks if holds]


def step_findings(
    step: Step, samples: Sequence[Sample], max_tokens: int, untold: Collection[str] = ()
) -> tuple[Finding, ...]:
    """What the valid samples of a step prove against it, together; empty when they may be counted.

    A K or a speculation that did not take place is said alone: it ends a step after one sample, too few for clocks.
    """
    good = [sample for sample in samples if sample.status == SampleStatus.OK]
    return _against_speculation(step, good, max_tokens, untold) or _against_clocks(good)


def _against_speculation(
    step: Step, good: Sequence[Sample], max_tokens: int, untold: Collection[str]
) -> tuple[Finding, ...]:
    """Proof of K and proof of speculation, as far as the server tells; what it does not tell is no fault."""
    if step.method == BASELINE or step.k is None or not good or _unproven(step, good, untold):
        return ()
    k_seen = max((sample.k_seen for sample in good if sample.k_seen is not None), default=None)
    if not _drafted(good):
        if step.may_draft_nothing:
            return ()
        what = "the draft model loaded" if step.draft is not None else f"{step.method} switched on"
        return (Finding(Verdict.SPECULATION_INACTIVE, f"the server has {what} and drafted nothing"),)
    if k_seen is None:
        said = f"K = {step.k} cannot be proven: no draft length was seen"
        return (Finding(Verdict.K_NOT_EFFECTIVE, said),)
    if k_seen > step.k or (k_seen < step.k and not step.is_ceiling):
        said = f"K = {step.k} was asked for, up to {k_seen} tokens a step were drafted"
        if k_seen == expected_k_seen(step.k, max_tokens):
            said += f", as answers of {max_tokens} tokens have no room for more; raise max_tokens"
        return (Finding(Verdict.K_NOT_EFFECTIVE, said),)
    return ()


def _drafted(good: Sequence[Sample]) -> bool:
    """Whether any sample shows drafts: by a count, or by their length alone where nobody counted them."""
    return any(sample.draft_tokens or sample.k_seen for sample in good)


def _short_of_k(step: Step, good: Sequence[Sample], *, reaches_k: bool) -> tuple[Finding, ...]:
    """That nothing proves a K which is a ceiling: its drafts were all shorter, as they would be at other Ks too.

    `reaches_k`: the same speculation was seen to reach it where nothing ends drafts before.
    """
    longest = max((sample.k_seen for sample in good if sample.k_seen is not None), default=None)
    if reaches_k or not step.is_ceiling or step.k is None or longest is None or longest >= step.k:
        return ()
    said = (
        f"K = {step.k} was asked for, and no draft was longer than {longest}: every K from {longest} on may do the same"
    )
    return (Finding(Verdict.K_UNPROVEN, said),)


def _unproven(step: Step, good: Sequence[Sample], untold: Collection[str]) -> tuple[Finding, ...]:
    """That nothing proves the K of a step, where its server does not tell what was drafted.

    The samples are looked at together: a draft length in any one of them is evidence of the K of all.
    """
    if step.method == BASELINE or step.k is None or not good:
        return ()
    silent = DRAFTED in untold or all(DRAFTED in sample.unknown for sample in good)
    no_lengths = K_SEEN in untold or all({DRAFTED, K_SEEN} & sample.unknown.keys() for sample in good)
    if not (silent or no_lengths) or any(sample.k_seen is not None for sample in good):
        return ()
    if not silent and not _drafted(good) and not step.may_draft_nothing:
        return ()
    said = (
        "this server does not tell what it drafted" if silent else "this server does not tell how long its drafts are"
    )
    names = (DRAFTED, K_SEEN) if silent else (K_SEEN,)
    reasons = dict.fromkeys(sample.unknown.get(name, "") for name in names for sample in good)
    why = next((reason for reason in reasons if reason), said)
    return (Finding(Verdict.K_UNPROVEN, f"K = {step.k} was asked for: {why}"),)


def _against_clocks(good: Sequence[Sample]) -> tuple[Finding, ...]:
    """The clocks disagree when they do so in most samples: a pause of either process spoils one."""
    apart = [sample for sample in good if _clocks_apart(sample)]
    if len(apart) * 2 <= len(good):
        return ()
    server_s = sum(sample.decode_time_s or 0.0 for sample in apart)
    client_s = sum(sample.client_decode_time_s or 0.0 for sample in apart)
    said = f"decoding took {server_s:.3f} s by the server's clock and {client_s:.3f} s by this machine's"
    return (Finding(Verdict.CLOCKS_DISAGREE, said),)


def _clocks_apart(sample: Sample) -> bool:
    """More than 5 % apart, and by more than a busy machine takes to wake a process up.

    A first token that is delivered late shortens the decode that we see, and nothing else: by as much as it came later
    than the server's prefill, the two may differ in that direction. Seen where a whole short answer arrives at once.
    """
    server_s, client_s = sample.decode_time_s, sample.client_decode_time_s
    if sample.clock != "server" or server_s is None or client_s is None:
        return False
    if client_s < server_s and sample.ttft_s is not None and sample.prefill_time_s is not None:
        client_s = min(server_s, client_s + max(0.0, sample.ttft_s - sample.prefill_time_s))
    return clocks_disagree(server_s, client_s) and abs(server_s - client_s) > WAKE_UP_S


def is_unrecoverable(step: Step, samples: Sequence[Sample], untold: Collection[str] = ()) -> bool:
    """Whether more samples cannot save the step: a draft longer than K, or a reason that every try repeats."""
    if any(FATAL.intersection(sample.reasons) for sample in samples):
        return True
    good = [sample for sample in samples if sample.status == SampleStatus.OK]
    if not good and _is_stubborn(samples):
        return True
    if step.method == BASELINE or step.k is None:
        return False
    is_known = not step.may_draft_nothing and not _unproven(step, good, untold)
    if is_known and len(good) >= 2 and not _drafted(good):
        return True
    return any(sample.k_seen is not None and sample.k_seen > step.k for sample in good)


def _is_stubborn(samples: Sequence[Sample]) -> bool:
    """Whether one reason spoilt every answer so far, and is none of the moment: more of the same will not mend it.

    Those of a prompt are left out: the next one may be longer, or its answer.
    """
    if len(samples) < STUBBORN:
        return False
    return bool(set.intersection(*(set(sample.reasons) for sample in samples)) - PASSING - LASTING)


def is_spent(prompt_id: str, samples: Sequence[Sample]) -> bool:
    """Whether a prompt gave an answer before that is wrong for a reason which every try repeats."""
    return any(LASTING.intersection(sample.reasons) for sample in samples if sample.prompt_id == prompt_id)


def is_retryable(sample: Sample) -> bool:
    """Whether an invalid sample may turn out valid when it is taken again."""
    return sample.status != SampleStatus.OK and not LASTING.intersection(sample.reasons)


def verdict_of(
    step: Step, samples: Sequence[Sample], max_tokens: int, untold: Collection[str] = (), *, reaches_k: bool = False
) -> tuple[StepStatus, tuple[Finding, ...], str | None]:
    """A finished step's status, the findings against it, and the reason in words.

    `reaches_k`: the same speculation was seen to draft K tokens in this run where no parameter ends drafts before.
    """
    against = step_findings(step, samples, max_tokens, untold)
    if against:
        return StepStatus.INVALID, against, "; ".join(finding.detail for finding in against)
    if not any(sample.status == SampleStatus.OK for sample in samples):
        reasons = tuple(dict.fromkeys(reason for sample in samples for reason in sample.reasons))
        if not reasons:
            return StepStatus.FAILED, (), "no sample could be taken"
        known = tuple(Finding(Verdict(reason), "") for reason in reasons if reason in _NAMES)
        return StepStatus.INVALID, known, "no valid sample: " + ", ".join(reasons)
    good = [sample for sample in samples if sample.status == SampleStatus.OK]
    unproven = _unproven(step, good, untold) or _short_of_k(step, good, reaches_k=reaches_k)
    drafting = _idle(step, good, untold) or _in_some(step, good, untold)
    return StepStatus.OK, (*_gaps(samples), *unproven, *drafting, *_thinking(good)), None


def _idle(step: Step, good: Sequence[Sample], untold: Collection[str]) -> tuple[Finding, ...]:
    """That nothing was drafted, where that is a result and the server would have told."""
    if not step.may_draft_nothing or not good or any(sample.draft_tokens for sample in good):
        return ()
    if DRAFTED in untold or any(DRAFTED in sample.unknown for sample in good):
        return ()
    return (Finding(Verdict.DRAFTED_NOTHING, f"{step.method} found nothing to draft in {len(good)} answers"),)


def _in_some(step: Step, good: Sequence[Sample], untold: Collection[str]) -> tuple[Finding, ...]:
    """That some answers were drafted and others were not, where drafting does not depend on the text.

    A draft model, a head and layers that predict propose something for every token; what looks n-grams up does not.
    Answers of which nobody tells are in neither count.
    """
    if step.method == BASELINE or step.may_draft_nothing or DRAFTED in untold:
        return ()
    told = [sample for sample in good if sample.k_seen or DRAFTED not in sample.unknown]
    drafted = sum(_drafted([sample]) for sample in told)
    if drafted in (0, len(told)):
        return ()
    return (Finding(Verdict.DRAFTED_IN_SOME, f"drafted in {drafted} of {len(told)} answers"),)


def _thinking(good: Sequence[Sample]) -> tuple[Finding, ...]:
    """That answers were thoughts alone: their rates are real, and their text is of no category."""
    thoughts = sum(sample.all_thoughts is True for sample in good)
    said = f"{thoughts} of {len(good)} answers were thoughts alone"
    return (Finding(Verdict.ALL_THOUGHTS, said),) if thoughts else ()


def _gaps(samples: Sequence[Sample]) -> tuple[Finding, ...]:
    """Which samples a good step lacks, by reason: their prompts are missing from its figures."""
    good = {sample.block for sample in samples if sample.status == SampleStatus.OK}
    lost = {sample.block: sample.reasons for sample in samples if sample.block not in good}
    reasons = dict.fromkeys(reason for found in lost.values() for reason in found if reason in _NAMES)
    detail = f"{len(lost)} of {len(lost) + len(good)} samples are missing"
    return tuple(Finding(Verdict(reason), detail) for reason in reasons)


def _between(start_s: float | None, end_s: float | None) -> float | None:
    """The time from `start_s` to `end_s`; None when either is unknown."""
    return end_s - start_s if start_s is not None and end_s is not None else None


def _per_second(count: int | None, seconds: float | None) -> float | None:
    """`count` / `seconds`; None when either is unknown or no time passed."""
    if count is None or seconds is None or seconds <= 0:
        return None
    return finite(count / seconds)
