"""Whether speculation changed the words: greedy answers compared token by token with those of the baseline. Pure.

Speculation checks every drafted token against the target's own choice, so at temperature 0 it must not change the
text. But a server verifies several tokens in one batch, and sums in another order than for one token round otherwise:
where the two best tokens are all but equal, either may come out. What tells that from an arm that computes something
else is the margin by which the baseline preferred its token, asked of the baseline, since drafted tokens carry none,
and how far this server's own rounding moves such margins (`analysis.texts`).

A server is accused on evidence alone: where the texts of two prompts part at margins that this rounding does not
usually move, and one of them beyond the largest that was ever seen of it; or where one parts at a margin that no
rounding turns. The prompts of all categories count together, for they are asked of one server. What lies between is
not known: more prompts would tell.

Token lists are compared over their common length: a check is shorter than a sample, and some builds drop the last
tokens of a request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from specdash.analysis.texts import (
    AnswerText,
    Rounding,
    TextComparison,
    answers_of,
    compare_texts,
    reason_no_answers,
    roundings,
    with_itself,
)
from specdash.core.methods import BASELINE
from specdash.core.plan import Step
from specdash.core.state import RunState
from specdash.core.step_state import StepState
from specdash.core.text import plural

IDENTICAL = "identical"
NEAR_TIE = "near_tie"
OUTPUT_DIFFERS = "output_differs"
UNKNOWN = "unknown"

BEYOND_ROUNDING_NATS = 1.0  # the other token was less than 0.37 times as likely: three times the largest rounding seen
LEAST_PROMPTS = 2  # that must part beyond the usual rounding: of a hundred places one does

_WORST_FIRST = (OUTPUT_DIFFERS, UNKNOWN, NEAR_TIE, IDENTICAL)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a step's greedy answers agree with those of its baseline; a baseline is compared with itself.

    `state` is "identical", "near_tie", "output_differs" or "unknown". `prompts` and `tokens` count what was compared
    and found equal, up to the first difference of each prompt (characters, where a server tells no token ids).
    `diverges_at` is the index of the first differing token
    (from 0), `margin` the nats by which the baseline preferred its own there, `prompt_id` where: of the prompt that
    decides the state. `reason` is a sentence for the user. `rounding` is what margins are held against; None where
    nothing was compared. `more_prompts`: the answers to more prompts could decide what is unknown.
    """

    state: str
    prompts: int
    tokens: int
    diverges_at: int | None
    margin: float | None
    prompt_id: str | None
    reason: str
    rounding: Rounding | None = None
    more_prompts: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the margins at which an arm's prompts part say of it; see `judge`.

    `convicted`: it does not compute the baseline's text; margins above `above_nats` are evidence of that.
    """

    convicted: bool
    above_nats: float


def judge(margins: Iterable[float], rounding: Rounding) -> Judgement:
    """Whether texts that part at these margins (nats, the largest of each prompt) are another model's.

    They are where two prompts part beyond the usual rounding and one of them beyond the largest, or where one parts
    beyond what any rounding turns. Where the rounding is not known, only the latter accuses.
    """
    found = list(margins)
    usual, largest = rounding.usual_nats, rounding.largest_nats
    if usual is not None and largest is not None:
        beyond = [margin for margin in found if margin > usual]
        if len(beyond) >= LEAST_PROMPTS and max(beyond) > largest:
            return Judgement(True, usual)
    never = max(BEYOND_ROUNDING_NATS, largest or 0.0)
    return Judgement(any(margin > never for margin in found), never)


def agreement(found: StepState, view: RunState) -> Agreement | None:
    """How the step's greedy answers agree with its baseline's; None for a step that was asked nothing yet."""
    return _Texts(view).agreement(found)


def agreements(view: RunState) -> Mapping[str, Agreement]:
    """The agreement of every step that was asked something, by step id."""
    texts = _Texts(view)
    found = {step_id: texts.agreement(step) for step_id, step in view.steps.items()}
    return {step_id: agreed for step_id, agreed in found.items() if agreed is not None}


@dataclass(slots=True)
class _Texts:
    """The texts of a run; what several steps need of it is worked out once."""

    view: RunState
    _arms: dict[Step, list[StepState]] | None = None
    _roundings: Mapping[Step, Rounding] | None = None
    _answered: dict[str, dict[str, list[AnswerText]]] = field(default_factory=dict)
    _compared: dict[str, list[TextComparison]] = field(default_factory=dict)
    _judgements: dict[Step, Judgement] = field(default_factory=dict)

    def agreement(self, found: StepState) -> Agreement | None:
        """How a step's greedy answers agree with its baseline's; None for a step that was asked nothing yet."""
        if not found.samples and not found.checks:
            return None
        if not self._answers(found):
            return _unknown(reason_no_answers(found, self.view))
        is_baseline = found.step.method == BASELINE
        if not is_baseline:
            base = self.view.steps.get(found.step.baseline().id)
            if base is None:
                return _unknown("no baseline is planned for it, so there is nothing to compare its text with")
            if not self._answers(base):
                return _unknown(f"of its baseline, {reason_no_answers(base, self.view)}")
        compared = self._comparisons(found)
        if not compared:
            once = "it answered each prompt once only, so it could not be compared with itself"
            return _unknown(once if is_baseline else "its baseline answered none of the same prompts")
        rounding = self._rounding(found.step)
        agreed = _verdict(compared, self._judged(found.step.arm, rounding), rounding, is_baseline=is_baseline)
        if is_baseline or agreed.state != OUTPUT_DIFFERS:
            return agreed
        itself = self._unlike_itself(found.step.baseline().arm, rounding)
        return agreed if itself is None else _unproven(agreed, itself)

    def _unlike_itself(self, arm: Step, rounding: Rounding) -> Agreement | None:
        """Where a baseline does not give its own text twice, beyond its usual rounding; None where it does."""
        for found in self._steps_of(arm):
            agreed = self.agreement(found)
            if agreed is None or agreed.diverges_at is None or agreed.state == NEAR_TIE:
                continue
            if agreed.margin is None or agreed.margin > (rounding.usual_nats or 0.0):
                return agreed
        return None

    def _judged(self, arm: Step, rounding: Rounding) -> Judgement:
        """What all prompts of an arm together say, in all its categories and workloads."""
        if arm not in self._judgements:
            self._judgements[arm] = judge(self._margins(arm), rounding)
        return self._judgements[arm]

    def _margins(self, arm: Step) -> list[float]:
        """The largest margin at which each prompt of an arm parts."""
        largest: dict[tuple[str, str], float] = {}
        for found in self._steps_of(arm):
            for each in self._comparisons(found):
                if each.parts and each.margin is not None:
                    largest[each.prompt] = max(each.margin, largest.get(each.prompt, 0.0))
        return list(largest.values())

    def _steps_of(self, arm: Step) -> list[StepState]:
        if self._arms is None:
            self._arms = {}
            for found in self.view.steps.values():
                self._arms.setdefault(found.step.arm, []).append(found)
        return self._arms.get(arm, [])

    def _rounding(self, step: Step) -> Rounding:
        if self._roundings is None:
            self._roundings = roundings(self.view)
        unasked = Rounding(0, reason="its baseline was not asked for margins")
        return self._roundings.get(step.baseline().arm, unasked)

    def _answers(self, found: StepState) -> dict[str, list[AnswerText]]:
        if found.step.id not in self._answered:
            self._answered[found.step.id] = answers_of(found, self.view)
        return self._answered[found.step.id]

    def _comparisons(self, found: StepState) -> list[TextComparison]:
        """A step's answers, each with the baseline's to the same prompt; of a baseline, each with its first."""
        step = found.step
        if step.id not in self._compared:
            ours = self._answers(found)
            if step.method == BASELINE:
                self._compared[step.id] = with_itself(step.category, ours)
            else:
                base = self.view.steps.get(step.baseline().id)
                theirs = self._answers(base) if base is not None else {}
                self._compared[step.id] = [
                    each
                    for prompt in ours
                    if prompt in theirs
                    for each in compare_texts(step.category, prompt, ours[prompt], theirs[prompt])
                ]
        return self._compared[step.id]


def _verdict(
    compared: Sequence[TextComparison], judged: Judgement, rounding: Rounding, *, is_baseline: bool
) -> Agreement:
    """The comparisons of a step's prompts as one statement: the worst decides, the clearest of these is shown."""
    state_of = {id(each): _state(each, judged, rounding) for each in compared}
    state = min(state_of.values(), key=_WORST_FIRST.index)
    tokens: dict[str, int] = {}
    for each in compared:
        if each.told:
            tokens[each.prompt_id] = max(each.tokens, tokens.get(each.prompt_id, 0))
    shown = max(
        (each for each in compared if state_of[id(each)] == state),
        key=lambda each: (each.diverges_at is not None, each.margin or 0.0),
    )
    if state == IDENTICAL:
        whose = "its own" if is_baseline else "the baseline's"
        reason = f"the same {shown.unit}s as {whose} for {plural(len(tokens), 'prompt')}"
        return Agreement(state, len(tokens), sum(tokens.values()), None, None, None, reason, rounding)
    return Agreement(
        state,
        len(tokens),
        sum(tokens.values()),
        shown.diverges_at,
        shown.margin,
        shown.prompt_id,
        _reason(state, shown, rounding, is_baseline=is_baseline),
        rounding,
        more_prompts=state == UNKNOWN and shown.parts and rounding.usual_nats is not None,
    )


def _state(each: TextComparison, judged: Judgement, rounding: Rounding) -> str:
    """What one comparison says of a step."""
    if each.told and each.diverges_at is None:
        return IDENTICAL
    if not each.parts or each.margin is None:
        return UNKNOWN
    if judged.convicted and each.margin > judged.above_nats:
        return OUTPUT_DIFFERS
    usual = rounding.usual_nats
    return NEAR_TIE if usual is not None and each.margin <= usual else UNKNOWN


def _reason(state: str, shown: TextComparison, rounding: Rounding, *, is_baseline: bool) -> str:
    """Why texts that are not the same are judged as they are."""
    whose = "its own" if is_baseline else "the baseline's"
    if not shown.told:
        return f"the text for prompt {shown.prompt_id} is not {whose}, and the journal does not hold their tokens"
    where = f"{shown.unit} {shown.diverges_at} of prompt {shown.prompt_id} is not {whose}"
    if shown.margin is None:
        return f"{where}, and how sure the baseline was of its own there is not known"
    by = f"{shown.margin:.2g} nats"
    if state == NEAR_TIE:
        return f"{where}, where its two first choices were {by} apart: a near tie ({_seen(rounding)})"
    where = f"{where}, though the baseline preferred its own by {by}"
    if state == OUTPUT_DIFFERS:
        if shown.margin > BEYOND_ROUNDING_NATS:
            return f"{where}, which no rounding turns"
        return f"{where}, and {LEAST_PROMPTS} prompts or more part beyond the server's own rounding ({_seen(rounding)})"
    if rounding.usual_nats is None:
        return f"{where}: how far the server's own rounding reaches is not known, since {rounding.reason}"
    return (
        f"{where}: more than the server's own rounding usually moves, and too little to say that it is another text "
        f"({_seen(rounding)}); the answers to more prompts would tell"
    )


def _seen(rounding: Rounding) -> str:
    """The rounding that was seen, in words."""
    usual, largest = rounding.usual_nats or 0.0, rounding.largest_nats or 0.0
    return f"99 % of {rounding.places} margins moved by at most {usual:.2g} nats, the largest by {largest:.2g}"


def _unproven(agreed: Agreement, itself: Agreement) -> Agreement:
    """A difference that proves nothing, because the baseline does not give its own text twice."""
    reason = (
        f"its text is not the baseline's, but the baseline does not repeat its own either: {itself.reason}; "
        "so the server is not reproducible, and nothing can be said of speculation"
    )
    return replace(agreed, state=UNKNOWN, reason=reason)


def _unknown(reason: str) -> Agreement:
    """No statement, for this reason."""
    return Agreement(UNKNOWN, 0, 0, None, None, None, reason)
