"""Whether speculation changed the words: greedy answers compared token by token with those of the baseline. Pure.

Speculation checks every drafted token against the target's own choice, so at temperature 0 it must not change the
text. But a server verifies several tokens in one batch, and sums in another order than for one token round otherwise:
where the two best tokens are all but equal, either may come out. What tells that from an arm that computes something
else is the margin by which the baseline preferred its token, asked of the baseline, since drafted tokens carry none.

Token lists are compared over their common length: a check is shorter than a sample, and some builds drop the last
tokens of a request.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from specdash.core.methods import BASELINE
from specdash.core.steps import StepView
from specdash.core.view import View

IDENTICAL = "identical"
NEAR_TIE = "near_tie"
OUTPUT_DIFFERS = "output_differs"
UNKNOWN = "unknown"

# Rounding moves a margin by at most 0.0073 nats (BF16), 0.0014 (F16), 0.0002 (F32) and nothing at all (Q8_0, Q4_0)
# between a batch of 1 and batches of 2 to 17, and texts turned at margins of 0.0005 to 0.0015 only: seen on an AVX-512
# CPU with llama.cpp of early 2026 and b11549, demo models of 4 to 7 layers (b11669 as Debian builds it rounds alike
# whatever the batch). Deep models on a GPU are worse: where logits are kept in bfloat16, one step of a logit from 16
# to 32 is 0.125 nats, and a served text was seen to turn at just that (vllm-rbln, pull request 630). llama.cpp on CUDA
# was seen to change 76 to 80 % of answers of 400 tokens (its issue 27407), one token in 260 or so: an error of 0.03
# nats does that, if 3 % of a model's margins are below 0.1.
NEAR_TIE_NATS = 0.13
# A tie is an exception: of a model that is hardly ever sure, as one of random weights, every third margin is below
# 0.13. There only the least sure tenth of all tokens counts as tied. Rounding that reached beyond those would turn more
# than one token in a hundred. A server of made-up acceptance (--spec-synth-len 3) parted from the baseline at margins
# of 0.002 to 0.66 nats on such a model: 3 of 8 prompts are above 0.13, 5 above the least sure tenth.
NEAR_TIE_SHARE = 0.1
_ENOUGH_MARGINS = 30  # for a share of them to mean something

LOSSLESS = "lossless"  # the workload whose requests are always at temperature 0
_NO_ANSWERS = "no answer of it at temperature 0 was kept"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a step's greedy answers agree with those of its baseline; a baseline is compared with itself.

    `state` is "identical", "near_tie", "output_differs" or "unknown". `prompts` and `tokens` count what was compared
    and found equal, up to the first difference of each prompt (characters, where a server tells no token ids).
    `diverges_at` is the index of the first differing token
    (from 0), `margin` the nats by which the baseline preferred its own there, `prompt_id` where: of the prompt that
    decides the state. `reason` is a sentence for the user.
    """

    state: str
    prompts: int
    tokens: int
    diverges_at: int | None
    margin: float | None
    prompt_id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class _Answer:
    """A greedy answer: `tokens` None where the journal lacks them; `ended` where the model itself ended it."""

    text_hash: str
    tokens: tuple[int, ...] | None
    is_check: bool
    ended: bool = False
    margins: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Two answers to a prompt: `tokens` are equal, then one differs at `diverges_at` (None: nowhere)."""

    prompt_id: str
    tokens: int
    diverges_at: int | None
    margin: float | None = None
    tie: float = NEAR_TIE_NATS  # the largest margin that counts as one
    told: bool = True  # False: unlike texts whose tokens are not known
    unit: str = "token"  # or "character", where a server tells no ids

    @property
    def state(self) -> str:
        """What this says of the step."""
        if not self.told:
            return UNKNOWN
        if self.diverges_at is None:
            return IDENTICAL
        if self.margin is None:
            return UNKNOWN
        return NEAR_TIE if self.margin <= self.tie else OUTPUT_DIFFERS


_WORST_FIRST = (OUTPUT_DIFFERS, UNKNOWN, NEAR_TIE, IDENTICAL)


def agreement(found: StepView, view: View) -> Agreement | None:
    """How the step's greedy answers agree with its baseline's; None for a step that was asked nothing yet."""
    return _agreement(found, view, {})


def agreements(view: View) -> Mapping[str, Agreement]:
    """The agreement of every step that was asked something, by step id."""
    known: dict[str, Agreement] = {}
    for step_id, found in view.steps.items():
        agreed = _agreement(found, view, known)
        if agreed is not None:
            known[step_id] = agreed
    return known


def _agreement(found: StepView, view: View, known: Mapping[str, Agreement]) -> Agreement | None:
    """As `agreement`, with the baselines that were compared with themselves before."""
    if not found.samples and not found.checks:
        return None
    ours = _answers(found, view)
    if not ours:
        return _unknown(_why_nothing(found, view))
    if found.step.method == BASELINE:
        return _with_itself(ours)
    base_id = found.step.baseline().id
    base = view.steps.get(base_id)
    if base is None:
        return _unknown("no baseline is planned for it, so there is nothing to compare its text with")
    theirs = _answers(base, view)
    if not theirs:
        return _unknown(f"of its baseline, {_why_nothing(base, view)}")
    tie = _largest_tie(theirs)
    compared = [
        replace(each, tie=tie)
        for prompt in ours
        if prompt in theirs
        for each in _compare(prompt, ours[prompt], theirs[prompt])
    ]
    if not compared:
        return _unknown("its baseline answered none of the same prompts")
    agreed = _verdict(compared, "the baseline's")
    if agreed.state != OUTPUT_DIFFERS:
        return agreed
    itself = known.get(base_id) or _with_itself(theirs)
    return agreed if itself.state != OUTPUT_DIFFERS else _unproven(agreed, itself)


def _answers(found: StepView, view: View) -> dict[str, list[_Answer]]:
    """The step's greedy answers by prompt: checks first, each text once, only those that can be compared."""
    answers: dict[str, list[_Answer]] = {}
    for check in found.checks:
        text = _Answer(check.text_hash, view.texts.get(check.text_hash), True, margins=check.margins)
        answers.setdefault(check.prompt_id, []).append(text)
    if _is_greedy(found, view):
        for sample in found.good:
            if sample.text_hash is None:
                continue
            known = answers.setdefault(sample.prompt_id, [])
            ended = sample.finish_reason == "eos"
            answer = _Answer(sample.text_hash, view.texts.get(sample.text_hash), False, ended)
            if found.step.method == BASELINE or answer not in known:
                known.append(answer)
    return answers


def _is_greedy(found: StepView, view: View) -> bool:
    """Whether the step's samples were taken at temperature 0."""
    if found.step.workload == LOSSLESS:
        return True
    temperature = view.run.settings.get("temperature") if view.run is not None else None
    return isinstance(temperature, int | float) and temperature == 0


def _why_nothing(found: StepView, view: View) -> str:
    """Why there is no answer to compare."""
    if found.good and not _is_greedy(found, view):
        return "its samples were not taken at temperature 0, and no greedy check was made"
    return _NO_ANSWERS


def _with_itself(answers: Mapping[str, Sequence[_Answer]]) -> Agreement:
    """A baseline's agreement with itself: every further answer to a prompt against the first, which has margins."""
    tie = _largest_tie(answers)
    compared = [
        replace(_against(prompt, other, texts[0], texts), tie=tie)
        for prompt, texts in answers.items()
        for other in texts[1:]
    ]
    if not compared:
        return _unknown("it answered each prompt once only, so it could not be compared with itself")
    return _verdict(compared, "its own")


def _compare(prompt: str, ours: Sequence[_Answer], theirs: Sequence[_Answer]) -> Iterator[_Comparison]:
    """Each answer of an arm against that answer of the baseline which it follows longest.

    Checks are compared with checks and samples with samples where the baseline has them, else with what it has.
    """
    for answer in ours:
        alike = [other for other in theirs if other.is_check is answer.is_check] or theirs
        found = [_against(prompt, answer, other, theirs) for other in alike]
        yield min(found, key=lambda each: (not each.told, each.diverges_at is not None, -each.tokens))


def _against(prompt: str, answer: _Answer, base: _Answer, known: Sequence[_Answer]) -> _Comparison:
    """One answer against one of the baseline, `known` being all of the baseline's to this prompt."""
    unit = "character" if answer.tokens and answer.tokens[0] < 0 else "token"
    if answer.text_hash == base.text_hash:
        return _Comparison(prompt, len(answer.tokens or ()), None, unit=unit)
    if answer.tokens is None or base.tokens is None:
        return _Comparison(prompt, 0, None, told=False, unit=unit)
    at = _first_difference(answer, base)
    if at is None:
        return _Comparison(prompt, min(len(answer.tokens), len(base.tokens)), None, unit=unit)
    return _Comparison(prompt, at, at, _margin(base.tokens, at, known), unit=unit)


def _first_difference(one: _Answer, other: _Answer) -> int | None:
    """The index of the first differing token; an answer that the model ended differs from a longer one at its end."""
    ours, theirs = one.tokens or (), other.tokens or ()
    common = min(len(ours), len(theirs))
    if ours[:common] != theirs[:common]:
        return next(at for at in range(common) if ours[at] != theirs[at])
    shorter = one if len(ours) < len(theirs) else other
    return common if shorter.ended and len(ours) != len(theirs) else None


def _margin(tokens: tuple[int, ...], at: int, known: Sequence[_Answer]) -> float | None:
    """By how many nats the baseline preferred its token behind the first `at` of `tokens`, if it was asked there.

    A margin belongs to the context: any answer that began with the same tokens tells it.
    """
    for each in known:
        if each.tokens is not None and at < len(each.margins) and each.tokens[:at] == tokens[:at]:
            margin = each.margins[at]
            if margin is not None and not math.isnan(margin):
                return abs(margin)  # below 0 where something in its arguments overruled the first choice
    return None


def _largest_tie(answers: Mapping[str, Sequence[_Answer]]) -> float:
    """The largest margin of a near tie, in nats, for a baseline with these answers."""
    margins = sorted(
        abs(margin)
        for texts in answers.values()
        for each in texts
        for margin in each.margins
        if margin is not None and not math.isnan(margin)
    )
    if len(margins) < _ENOUGH_MARGINS:
        return NEAR_TIE_NATS
    return min(NEAR_TIE_NATS, margins[int(NEAR_TIE_SHARE * len(margins))])


def _verdict(compared: Sequence[_Comparison], whose: str) -> Agreement:
    """The comparisons of all prompts as one statement: the worst decides, the clearest of these is shown."""
    state = min((each.state for each in compared), key=_WORST_FIRST.index)
    tokens: dict[str, int] = {}
    for each in compared:
        if each.told:
            tokens[each.prompt_id] = max(each.tokens, tokens.get(each.prompt_id, 0))
    shown = max(
        (each for each in compared if each.state == state),
        key=lambda each: (each.diverges_at is not None, each.margin or 0.0),
    )
    if state == IDENTICAL:
        reason = f"the same {shown.unit}s as {whose} for {_count(len(tokens), 'prompt')}"
        return Agreement(state, len(tokens), sum(tokens.values()), None, None, None, reason)
    reason = _reason(state, shown, whose)
    return Agreement(state, len(tokens), sum(tokens.values()), shown.diverges_at, shown.margin, shown.prompt_id, reason)


def _reason(state: str, shown: _Comparison, whose: str) -> str:
    """Why texts that are not the same are judged as they are."""
    if not shown.told:
        return f"the text for prompt {shown.prompt_id} is not {whose}, and the journal does not hold their tokens"
    where = f"{shown.unit} {shown.diverges_at} of prompt {shown.prompt_id} is not {whose}"
    if shown.margin is None:
        return f"{where}, and how sure the baseline was of its own there is not known"
    if state == NEAR_TIE:
        return (
            f"{where}, where its two first choices were {shown.margin:.2g} nats apart: a near tie, which rounding turns"
        )
    return f"{where}, though the baseline preferred its own by {shown.margin:.2g} nats, which is no near tie"


def _unproven(agreed: Agreement, itself: Agreement) -> Agreement:
    """A difference that proves nothing, because the baseline does not give its own text twice."""
    reason = (
        f"its text is not the baseline's, but the baseline does not repeat its own either: {itself.reason}; "
        "so the server is not reproducible, and nothing can be said of speculation"
    )
    return Agreement(
        UNKNOWN, agreed.prompts, agreed.tokens, agreed.diverges_at, agreed.margin, agreed.prompt_id, reason
    )


def _unknown(reason: str) -> Agreement:
    """No statement, for this reason."""
    return Agreement(UNKNOWN, 0, 0, None, None, None, reason)


def _count(number: int, what: str) -> str:
    """A number of things in words."""
    return f"{number} {what}{'' if number == 1 else 's'}"
