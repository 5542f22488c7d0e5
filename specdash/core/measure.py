"""What is read off one streamed request: tokens, verification steps, a sample, and the names of what is wrong with it.

Pure: nothing here asks a server or a clock. What a stream does not tell is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby, zip_longest
from types import MappingProxyType

from specdash.core.numbers import finite
from specdash.core.status import SampleStatus

CLOCK_TOLERANCE = 0.05
INFERRED = "inferred"  # of a source of draft counts: seen in how the tokens arrived, and told by nobody


@dataclass(frozen=True, slots=True)
class Chunk:
    """One stream event that carries generated tokens.

    `t_s` is its arrival by `time.monotonic()`. `predicted_n`, `predicted_ms`, `draft_n` and `draft_n_accepted` are the
    server's cumulative timings since the start of the request; `tokens` are the ids that this event carries. Where a
    server does not count tokens event by event, `counted` is False and `predicted_n` numbers the events: something to
    show, and nothing to measure by.
    """

    t_s: float
    predicted_n: int
    predicted_ms: float | None
    draft_n: int | None
    draft_n_accepted: int | None
    tokens: tuple[int, ...]
    counted: bool = True


@dataclass(frozen=True, slots=True)
class VerifyStep:
    """One pass of the target: `drafted` tokens were proposed, `accepted` of them kept, `generated` came out.

    `t_s` is the arrival of its first event, `end_ms` the server's `predicted_ms` at its end: the difference to the step
    before is what it took; the first token is there at about 0. The server sends nothing while a character is
    incomplete, so passes can hide behind one another: `exact` is False where that may have happened. The counts are
    then sums over `steps` passes, and no single draft length.
    """

    t_s: float
    generated: int
    drafted: int
    accepted: int
    steps: int = 1
    exact: bool = True
    end_ms: float | None = field(default=None, compare=False)


def verify_steps(chunks: Sequence[Chunk]) -> tuple[VerifyStep, ...]:
    """The verification steps behind a stream, in order; () where the timings do not tell them.

    The events of one step carry equal cumulative draft_n, draft_n_accepted and predicted_ms; a step's counts are the
    differences to the group before. The first token comes from the prompt and belongs to no step, so the generated
    tokens of all steps sum up to the last predicted_n - 1. predicted_n itself cannot group: some builds count it per
    token, others per step.

    Two passes that share their timings by coincidence are still told apart: draft_n grows with every pass that drafts,
    and a pass that drafts nothing makes exactly one token. Of passes that drafted, n together make accepted + n tokens.
    Without predicted_ms only drafting passes show, so a stream with neither it nor draft counters, and counters that
    run backwards, yield nothing.
    """
    if all(chunk.draft_n is None for chunk in chunks) and any(chunk.predicted_ms is None for chunk in chunks):
        return ()
    if not all(chunk.counted for chunk in chunks):
        return ()
    groups = [tuple(group) for _, group in groupby((chunk for chunk in chunks if chunk.predicted_n > 1), key=_timings)]
    # Where it counts per step, predicted_n tells nothing of single tokens, but is never behind either.
    per_step = len({chunk.predicted_n for chunk in chunks}) < len(chunks)
    steps: list[VerifyStep] = []
    seen, emitted, draft_n, draft_n_accepted = 1, 1, 0, 0
    for index, group in enumerate(groups):
        first, last = group[0], group[-1]
        produced = last.predicted_n - emitted
        drafted = 0 if last.draft_n is None else last.draft_n - draft_n
        accepted = 0 if last.draft_n_accepted is None else last.draft_n_accepted - draft_n_accepted
        if not 0 <= accepted <= drafted:
            return ()
        if drafted:
            passes = max(1, produced - accepted)
            generated = accepted + passes
            if index == len(groups) - 1:  # an end token among the accepted ones drops those behind it
                generated = max(0, min(generated, produced))
            exact = passes == 1 and (per_step or first.predicted_n == seen + 1)
            steps.append(VerifyStep(first.t_s, generated, drafted, accepted, passes, exact, last.predicted_ms))
        else:
            generated = max(0, produced)
            end_ms = last.predicted_ms if generated == 1 else None
            steps.extend([VerifyStep(first.t_s, 1, 0, 0, end_ms=end_ms)] * generated)
        seen = last.predicted_n
        emitted += generated
        draft_n += drafted
        draft_n_accepted += accepted
    return tuple(steps)


def _timings(chunk: Chunk) -> tuple[int | None, int | None, float | None]:
    """What all events of one verification step have in common."""
    return chunk.draft_n, chunk.draft_n_accepted, chunk.predicted_ms


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What the verification steps of one or several requests say together.

    `k_seen`: the most tokens drafted in one step, None if none was seen to draft. `steps`: target passes after the
    prompt, which made `generated` tokens; None where unknown. `positions_drafted[i]`: steps that drafted at least i + 1
    tokens; `positions_accepted[i]`: those of them that kept at least i + 1.
    """

    k_seen: int | None
    steps: int | None
    generated: int | None
    positions_drafted: tuple[int, ...]
    positions_accepted: tuple[int, ...]

    @property
    def tokens_per_step(self) -> float | None:
        """Tokens that one pass of the target makes; 1.0 without speculation."""
        return self.generated / self.steps if self.steps and self.generated is not None else None

    @property
    def accepted_per_position(self) -> tuple[float, ...] | None:
        """P(the first i + 1 draft tokens are all accepted), at index i; None where none were drafted, or counts differ.

        positions_accepted[i] / positions_drafted[i]. Only steps that drafted so far count below the line: the last
        steps of a request are short, and would make far positions look worse than they are.
        """
        if not self.positions_drafted or len(self.positions_accepted) != len(self.positions_drafted):
            return None  # a journal may say what no server can have told
        return tuple(kept / tried for kept, tried in zip(self.positions_accepted, self.positions_drafted, strict=True))


def step_facts(chunks: Sequence[Chunk]) -> StepFacts:
    """The facts of one request. Passes that may hide others count as steps, but neither for K nor for positions."""
    steps = verify_steps(chunks)
    single = [step for step in steps if step.drafted and step.exact]
    k_seen = max((step.drafted for step in single), default=None)
    positions = range(k_seen or 0)
    return StepFacts(
        k_seen=k_seen,
        steps=sum(step.steps for step in steps) if steps else None,
        generated=sum(step.generated for step in steps) if steps else None,
        positions_drafted=tuple(sum(step.drafted > i for step in single) for i in positions),
        positions_accepted=tuple(sum(step.accepted > i for step in single) for i in positions),
    )


def combine(facts: Iterable[StepFacts]) -> StepFacts:
    """The facts of several requests as those of one; requests whose steps are unknown are left out."""
    known = [each for each in facts if each.steps is not None and each.generated is not None]
    return StepFacts(
        k_seen=max((each.k_seen for each in known if each.k_seen is not None), default=None),
        steps=sum(each.steps or 0 for each in known) if known else None,
        generated=sum(each.generated or 0 for each in known) if known else None,
        positions_drafted=_sum_columns(each.positions_drafted for each in known),
        positions_accepted=_sum_columns(each.positions_accepted for each in known),
    )


def _sum_columns(rows: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    """Sums per position of rows of unlike lengths."""
    return tuple(sum(column) for column in zip_longest(*rows, fillvalue=0))


def expected_k_seen(k: int, max_tokens: int) -> int:
    """The longest draft that a request of `max_tokens` can show on a server that obeys K.

    llama-server drafts min(K, tokens still to generate - 1) in a step, and the prompt has made the first token before
    the first step: min(K, max_tokens - 2), at least 0.
    """
    return max(0, min(k, max_tokens - 2))


def decode_rate(tokens: int | None, seconds: float | None, untimed: float = 1.0) -> float | None:
    """Decoded tokens per second: (tokens - untimed) / seconds, since n tokens have n - 1 intervals.

    `untimed` is how many took none of the time: the first one, and those that came together with it. None where either
    is unknown, where no token came after the first ones, and where no time passed.
    """
    if tokens is None or seconds is None or tokens <= untimed or not seconds > 0:
        return None
    return finite((tokens - untimed) / seconds)


@dataclass(frozen=True, slots=True)
class Untimed:
    """How many tokens of an answer took none of the time from its first event to its last.

    `tokens` is the estimate, `error` by what share a rate that is made with it may be off, 0.0 where it is known.
    """

    tokens: float
    error: float = 0.0


def untimed_tokens(tokens: int, events: int, first: int | None, *, has_end: bool, first_share: float | None) -> Untimed:
    """What came with the first event of `tokens` tokens in `events` events, and with none.

    `first`: how many the first event says that it brings, where events count. Else they are taken to be alike, so that
    each brings tokens / events: of events of two tokens each, n - 2 took the time. A server that drafts sends the first
    token alone and then what each step makes: `first_share`, the first event's share of the text, then decides which of
    the two is nearer (None: it does not draft). `has_end`: an end token may have come without an event, as it has where
    all others had one each.
    """
    if first is not None:
        return Untimed(float(first))
    ended = 1 if has_end and tokens == events + 1 else 0
    alike = (tokens - ended) / events
    if alike <= 1:
        return Untimed(1.0 + ended)
    found = alike
    if first_share is not None and abs(first_share * tokens - 1) < abs(first_share * tokens - alike):
        found = 1.0
    left = tokens - found - ended
    return Untimed(found + ended, (alike - 1) / left if left > 0 else math.inf)


def clocks_disagree(server_s: float, client_s: float) -> bool:
    """Whether two measurements of one duration differ by more than 5 % of the longer one.

    Short ones may differ by a scheduling delay, which is for the caller to allow for.
    """
    return abs(server_s - client_s) > CLOCK_TOLERANCE * max(server_s, client_s)


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured request; an invalid one is kept too, with its reasons.

    Prefill: from the start of the prompt to the first token. Decode: from the first to the last token, by `clock`
    ("server" or "client"); the client's own figures stand beside it. `decode_tok_s` is the tokens after the first
    arrival per second, None with a reason in `unknown` where too many may have come with it. `prefill_tok_s` counts
    the prompt tokens that were processed, `throughput_tok_s` is (prompt + generated) / total time. `started_s` is
    seconds since 1970, UTC; `text_hash` is of the generated text. `k_seen` and the positions are those of `StepFacts`.
    `all_thoughts`: whether all text came as thoughts. `reasons` are names of `Verdict`, or sentences.
    `acceptance_source` and `unknown` are those of
    `core.generation.Generation`. Draft counts whose source is `INFERRED` take K as it was asked for: read them with
    `core.acceptance`.
    """

    prefill_time_s: float | None
    prefill_tok_s: float | None
    decode_time_s: float | None
    decode_tok_s: float | None
    throughput_tok_s: float | None
    ttft_s: float | None
    total_time_s: float | None
    prompt_tokens: int | None
    cached_tokens: int | None
    generated_tokens: int | None
    draft_tokens: int | None
    accepted_tokens: int | None
    steps: int | None
    clock: str
    prompt_id: str
    block: int
    started_s: float
    finish_reason: str | None
    text_hash: str | None
    k_seen: int | None
    positions_drafted: tuple[int, ...]
    positions_accepted: tuple[int, ...]
    client_decode_time_s: float | None
    client_decode_tok_s: float | None
    status: SampleStatus
    reasons: tuple[str, ...]
    acceptance_source: str | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)
    all_thoughts: bool | None = None

    @classmethod
    def broken(cls, *, prompt_id: str, block: int, started_s: float, reasons: tuple[str, ...]) -> Sample:
        """The invalid sample of a request that brought nothing to measure."""
        return cls(
            prefill_time_s=None,
            prefill_tok_s=None,
            decode_time_s=None,
            decode_tok_s=None,
            throughput_tok_s=None,
            ttft_s=None,
            total_time_s=None,
            prompt_tokens=None,
            cached_tokens=None,
            generated_tokens=None,
            draft_tokens=None,
            accepted_tokens=None,
            steps=None,
            clock="client",
            prompt_id=prompt_id,
            block=block,
            started_s=started_s,
            finish_reason=None,
            text_hash=None,
            k_seen=None,
            positions_drafted=(),
            positions_accepted=(),
            client_decode_time_s=None,
            client_decode_tok_s=None,
            status=SampleStatus.INVALID,
            reasons=reasons,
        )

    @property
    def step_facts(self) -> StepFacts:
        """The facts of this sample's steps, for `combine`."""
        generated = None if self.steps is None or self.generated_tokens is None else self.generated_tokens - 1
        return StepFacts(self.k_seen, self.steps, generated, self.positions_drafted, self.positions_accepted)


class Verdict(StrEnum):
    """What was found against a sample, a measurement or a pair of models; the names are part of result files."""

    K_NOT_EFFECTIVE = "k_not_effective"
    SPECULATION_INACTIVE = "speculation_inactive"
    BASELINE_DRAFTED = "baseline_drafted"
    PROMPT_CACHED = "prompt_cached"
    CLOCKS_DISAGREE = "clocks_disagree"
    TOO_SHORT = "too_short"
    STREAM_CUT = "stream_cut"
    TOKEN_COUNT_MISMATCH = "token_count_mismatch"  # noqa: S105 - a name, no password
    NO_FINISH_REASON = "no_finish_reason"
    NO_TIMINGS = "no_timings"
    NOT_FINITE = "not_finite"
    CLOCK_JUMPED = "clock_jumped"
    SWAPPING = "swapping"
    PAUSED = "paused"
    SERVER_CHANGED = "server_changed"
    WRONG_LENGTH = "wrong_length"
    HTTP_ERROR = "http_error"
    TIMEOUT = "timeout"
    HUNG = "hung"
    NOT_OUR_SERVER = "not_our_server"
    NOISY = "noisy"
    DRAFT_UNFIT = "draft_unfit"
    OUTPUT_DIFFERS = "output_differs"
    IMPOSSIBLE = "impossible"
    OFF_THE_CURVE = "off_the_curve"
    DRIFTED = "drifted"
    K_UNPROVEN = "k_unproven"
    DRAFTED_NOTHING = "drafted_nothing"
    DRAFTED_IN_SOME = "drafted_in_some"
    SAME_DRAFTS = "same_drafts"
    NO_TEXT = "no_text"
    ALL_THOUGHTS = "all_thoughts"
    CONTEXT_FULL = "context_full"
    RECALLED = "recalled"
    PROMPT_TOO_LONG = "prompt_too_long"


DESCRIPTION: Mapping[Verdict, str] = MappingProxyType(
    {
        Verdict.K_NOT_EFFECTIVE: "The server drafted another number of tokens than the K asked for, so the number "
        'belongs to no K: leave k_scope = "auto", which starts one server per K where requests cannot set it.',
        Verdict.SPECULATION_INACTIVE: "A draft model is loaded but nothing was drafted: check with `specdash models` "
        "that draft and target share a vocabulary, and that args do not switch speculation off.",
        Verdict.BASELINE_DRAFTED: "The baseline drafted tokens, so it is none: remove speculation options from args, "
        "env and wrap, or give the baseline a server of its own: url = { baseline = …, draft = … }.",
        Verdict.PROMPT_CACHED: "Part of the prompt came from the server's cache, so its prefill was not measured: "
        "remove options that force prompt caching from args.",
        Verdict.CLOCKS_DISAGREE: "The server's decode time and the one seen here differ by more than 5 %: look for "
        "other load on this machine, and do not trust this build's own timings until they agree.",
        Verdict.TOO_SHORT: "Fewer than 16 tokens were generated, too few for a rate: raise max_tokens, or use prompts "
        "that call for longer answers.",
        Verdict.STREAM_CUT: "The connection ended in the middle of the answer: read the end of the server's log in "
        "the run's logs folder.",
        Verdict.TOKEN_COUNT_MISMATCH: "The server counts other tokens than it sent: try another build of the server, "
        "since its rates cannot be trusted.",
        Verdict.NO_FINISH_REASON: "The answer ended without saying why, so it may be cut: read the server's log, and "
        "run the step again.",
        Verdict.NO_TIMINGS: "The server sent no timings of its own: use a build of llama-server that answers "
        "timings_per_token (`specdash doctor` tells).",
        Verdict.NOT_FINITE: "The server sent NaN or infinity as a number: try another build, and check the model file.",
        Verdict.CLOCK_JUMPED: "This machine slept or its clock was set during the request: keep inhibit_sleep on, and "
        "resume the run.",
        Verdict.SWAPPING: "The machine read memory back from swap during the request: close other programs, or use a "
        "smaller model, context or quantisation.",
        Verdict.PAUSED: "The server, or the whole machine, was stopped for a time during the request (a paused virtual "
        "machine, a frozen container, SIGSTOP), so its time is not the server's: keep the machine running, and resume "
        "the run.",
        Verdict.SERVER_CHANGED: "Another server answered than the one that was started: stop whatever else uses its "
        "port, or leave port = 0.",
        Verdict.WRONG_LENGTH: "Another number of tokens came back than was asked for, and the context was not full: an "
        "option in args limits generation.",
        Verdict.HTTP_ERROR: "The server refused the request: its answer and the end of its log say why; often the "
        "prompt does not fit the context, then raise -c in args.",
        Verdict.TIMEOUT: "The request took longer than timeout_s: raise it, or lower max_tokens or depth.",
        Verdict.HUNG: "The server made no progress and used no processor for stall_s: read its log in the run's logs "
        "folder, and resume the run.",
        Verdict.NOT_OUR_SERVER: "The process that listens on the port is not the one that was started: stop it, or "
        "leave port = 0 to take a free one.",
        Verdict.NOISY: "The samples scatter too much for a conclusion: close other programs, or raise iterations.",
        Verdict.DRAFT_UNFIT: "Draft and target have unlike vocabularies, so the server would never use this draft: "
        "choose another one; `specdash models` lists which fit.",
        Verdict.OUTPUT_DIFFERS: "At temperature 0 the text differs from the baseline's where the baseline was surer of "
        "its token than this server's own rounding explains, so this arm does not compute the target's answer and is "
        "never recommended: report it to the server's project, and try another build.",
        Verdict.IMPOSSIBLE: "The rate is above what this machine's memory can deliver for a model of this size, so the "
        "clock or the model is not what it seems: check the server's log for what it loaded, and try another build.",
        Verdict.OFF_THE_CURVE: "The measured rate lies off the predicted curve by more than the interval: measure this "
        "K again, and look for other load on this machine at that time.",
        Verdict.DRIFTED: "The baseline moved between the passes by more than the difference, so nothing can be said of "
        "the difference: let the machine cool down or close other programs, and run it again.",
        Verdict.DRAFTED_NOTHING: "Nothing was drafted in any answer, so this arm does what the baseline does and a "
        "difference between them is noise: it is a result, and never recommended.",
        Verdict.PROMPT_TOO_LONG: "The prompt is longer than the server's context, whatever the draft or K: raise -c in "
        "args, or take shorter prompts or less depth.",
        Verdict.DRAFTED_IN_SOME: "Some answers were drafted and others were not, so the mean is neither the rate with "
        "drafts nor that without, and the arm is never recommended: look into the server's log for why drafting "
        "stopped, and try another build.",
        Verdict.K_UNPROVEN: "Nothing proves that K took effect: this server does not tell how many tokens a step "
        "drafted, or K is the most that may be drafted and every draft was shorter, as at a smaller K; compare with an "
        "engine that tells, or with that K.",
        Verdict.SAME_DRAFTS: "Every draft was that of a smaller K, so both are one server under two names: the smaller "
        "K stands for both, and a difference between them is noise.",
        Verdict.NO_TEXT: "The server answered with 200 and without any text, so there is nothing to measure: look into "
        "its log, make its context larger where prompt and answer may not fit, and check the model's chat template.",
        Verdict.ALL_THOUGHTS: "The answer was thoughts from its first token to its last, so nothing came of what the "
        "category asks for: raise max_tokens, or switch thinking off, with llama-server and vLLM by "
        "body = { chat_template_kwargs = { enable_thinking = false } }.",
        Verdict.CONTEXT_FULL: "The answer ended as the context was full, before max_tokens: give the server a larger "
        "context (-c in args of llama.cpp, --max-model-len of vLLM), or lower max_tokens or depth.",
        Verdict.RECALLED: "This method keeps what its server has seen, and this prompt had been answered before, so "
        "the answer was drafted from memory and only first answers count: give more prompts to a category, or lower "
        "iterations.",
    }
)
