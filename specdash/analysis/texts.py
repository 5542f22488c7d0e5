"""The greedy answers of a run, and where those of an arm leave its baseline's: what is said of texts rests on. Pure.

How far a server's own rounding moves the margins of its choices is seen in its baseline (`roundings`), which answers a
prompt cold, and again with the prompt from the cache. Both compute the same: the same weights, the same tokens before.
But what is read in one batch sums in another order than what is read in several, so the margins of the two differ by
what this server, with this model, these threads and this device, rounds. No constant knows that: of 12 layers in BF16
with two threads 99 % of the differences were below 0.105 nats and the largest was 0.36, on a machine where Q8_0 had
none at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from specdash.core.events import TextChecked
from specdash.core.methods import BASELINE
from specdash.core.plan import Step
from specdash.core.profile import LOSSLESS
from specdash.core.state import RunState
from specdash.core.step_state import StepState

_NO_ANSWERS = "no answer of it at temperature 0 was kept"


@dataclass(frozen=True, slots=True)
class AnswerText:
    """A greedy answer: `tokens` None where the journal lacks them; `ended` where the model itself ended it.

    `cached`: its prompt came from the cache.
    """

    text_hash: str
    tokens: tuple[int, ...] | None
    ended: bool = False
    margins: tuple[float | None, ...] = ()
    cached: bool = False


@dataclass(frozen=True, slots=True)
class TextComparison:
    """Two answers to a prompt: `tokens` are equal, then one differs at `diverges_at` (None: nowhere)."""

    category: str
    prompt_id: str
    tokens: int
    diverges_at: int | None
    margin: float | None = None
    told: bool = True  # False: unlike texts whose tokens are not known
    unit: str = "token"  # or "character", where a server tells no ids

    @property
    def prompt(self) -> tuple[str, str]:
        """Which prompt of the run it is."""
        return self.category, self.prompt_id

    @property
    def parts(self) -> bool:
        """Whether the texts part at a place where the baseline's margin is known."""
        return self.told and self.diverges_at is not None and self.margin is not None


def answers_of(found: StepState, view: RunState) -> dict[str, list[AnswerText]]:
    """The step's greedy answers by prompt: cold checks first, each text once, only those that can be compared."""
    answers: dict[str, list[AnswerText]] = {}
    for check in sorted(found.checks, key=lambda each: (not is_cold(each), is_cached(each))):
        text = AnswerText(
            check.text_hash, view.texts.get(check.text_hash), margins=check.margins, cached=is_cached(check)
        )
        answers.setdefault(check.prompt_id, []).append(text)
    if _is_greedy(found, view):
        for sample in found.good:
            if sample.text_hash is None:
                continue
            known = answers.setdefault(sample.prompt_id, [])
            ended = sample.finish_reason == "eos"
            answer = AnswerText(sample.text_hash, view.texts.get(sample.text_hash), ended)
            if found.step.method == BASELINE or answer not in known:
                known.append(answer)
    return answers


def _is_greedy(found: StepState, view: RunState) -> bool:
    """Whether the step's samples were taken at temperature 0."""
    if found.step.workload == LOSSLESS:  # its requests are always at temperature 0
        return True
    return view.settings.temperature == 0


def reason_no_answers(found: StepState, view: RunState) -> str:
    """Why there is no answer to compare."""
    if found.good and not _is_greedy(found, view):
        return "its samples were not taken at temperature 0, and no greedy check was made"
    return _NO_ANSWERS


def with_itself(category: str, answers: Mapping[str, Sequence[AnswerText]]) -> list[TextComparison]:
    """A baseline's further answers to each prompt against its first, which has margins.

    Those from the cache are left out: by how much they differ is what rounding is known from.
    """
    compared: list[TextComparison] = []
    for prompt, texts in answers.items():
        repeats = [each for each in texts if not each.cached]
        compared += [_against(category, prompt, other, repeats[0], texts) for other in repeats[1:]]
    return compared


def compare_texts(
    category: str, prompt: str, ours: Sequence[AnswerText], theirs: Sequence[AnswerText]
) -> Iterator[TextComparison]:
    """Each answer of an arm against that answer of the baseline which it follows longest, whatever that was asked for.

    A text that one of the baseline's own answers has as well is the baseline's.
    """
    for answer in ours:
        found = [_against(category, prompt, answer, other, theirs) for other in theirs]
        same = [each for each, other in zip(found, theirs, strict=True) if other.text_hash == answer.text_hash]
        yield (
            same[0]
            if same
            else min(found, key=lambda each: (not each.told, -each.tokens, each.diverges_at is not None))
        )


def _against(
    category: str, prompt: str, answer: AnswerText, base: AnswerText, known: Sequence[AnswerText]
) -> TextComparison:
    """One answer against one of the baseline, `known` being all of the baseline's to this prompt."""
    unit = "character" if answer.tokens and answer.tokens[0] < 0 else "token"
    if answer.text_hash == base.text_hash:
        return TextComparison(category, prompt, len(answer.tokens or ()), None, unit=unit)
    if answer.tokens is None or base.tokens is None:
        return TextComparison(category, prompt, 0, None, told=False, unit=unit)
    at = _first_difference(answer, base)
    if at is None:
        return TextComparison(category, prompt, min(len(answer.tokens), len(base.tokens)), None, unit=unit)
    return TextComparison(category, prompt, at, at, _margin(base.tokens, at, known), unit=unit)


def _first_difference(one: AnswerText, other: AnswerText) -> int | None:
    """The index of the first differing token; an answer that the model ended differs from a longer one at its end."""
    ours, theirs = one.tokens or (), other.tokens or ()
    common = min(len(ours), len(theirs))
    if ours[:common] != theirs[:common]:
        return next(at for at in range(common) if ours[at] != theirs[at])
    shorter = one if len(ours) < len(theirs) else other
    return common if shorter.ended and len(ours) != len(theirs) else None


def _margin(tokens: tuple[int, ...], at: int, known: Sequence[AnswerText]) -> float | None:
    """By how many nats the baseline preferred its token behind the first `at` of `tokens`, if it was asked there.

    A margin belongs to the context: any answer that began with the same tokens tells it, the cold ones first.
    """
    for each in known:
        if each.tokens is not None and at < len(each.margins) and each.tokens[:at] == tokens[:at]:
            margin = each.margins[at]
            if margin is not None and not math.isnan(margin):
                return abs(margin)  # below 0 where something in its arguments overruled the first choice
    return None


USUAL = 0.99  # the share of places whose margins move by no more than what is called usual
ENOUGH_PLACES = 100  # fewer have no 99 % quantile below their largest
_NOT_ASKED = "its baseline was not asked for margins both cold and from the cache"
_NOT_TOLD = "its server does not tell margins"
_NOT_CACHED = "its server kept no prompt in its cache, or does not tell"


@dataclass(frozen=True, slots=True)
class Rounding:
    """By how many nats margins differ between a cold prompt and a cached one, over `places` tokens.

    `usual_nats` is the 99 % quantile, `largest_nats` the largest. Both are None where the places are too few, for the
    `reason` given.
    """

    places: int
    usual_nats: float | None = None
    largest_nats: float | None = None
    reason: str = ""


def rounding_of(differences: Iterable[float]) -> Rounding:
    """The rounding that these differences (nats, one a place) show."""
    found = sorted(abs(each) for each in differences if math.isfinite(each))
    if len(found) < ENOUGH_PLACES:
        return Rounding(len(found), reason=f"its margins were compared at {len(found)} of {ENOUGH_PLACES} places")
    # The smallest of those that at least 99 % of all are not above.
    return Rounding(len(found), found[math.ceil(USUAL * len(found)) - 1], found[-1])


def roundings(view: RunState) -> Mapping[Step, Rounding]:
    """The rounding of each server without a draft, by the `arm` of its steps: over all its categories and workloads."""
    differences: dict[Step, list[float]] = {}
    why: dict[Step, str] = {}
    for found in view.steps.values():
        if found.step.method != BASELINE or not found.checks:
            continue
        arm = found.step.arm
        differences.setdefault(arm, []).extend(_differences(found.checks, view))
        why[arm] = _why_none(found.checks)
    return {arm: rounding_of(found) if found else Rounding(0, reason=why[arm]) for arm, found in differences.items()}


def is_cold(check: TextChecked) -> bool:
    """Whether an answer's prompt was read anew, as the server tells."""
    return check.cached_tokens == 0


def is_cached(check: TextChecked) -> bool:
    """Whether an answer's prompt came from the cache, as the server tells."""
    return bool(check.cached_tokens)


def _differences(checks: Iterable[TextChecked], view: RunState) -> Iterator[float]:
    """Of each prompt's answer from the cache: how far its margins are from those of the cold one."""
    cold: dict[str, TextChecked] = {}
    for check in checks:
        if is_cold(check) and check.margins:
            cold.setdefault(check.prompt_id, check)
    for check in checks:
        first = cold.get(check.prompt_id)
        if is_cached(check) and first is not None:
            yield from _between(first, check, view.texts)


def _between(cold: TextChecked, cached: TextChecked, texts: Mapping[str, tuple[int, ...]]) -> Iterator[float]:
    """The differences up to where the texts part, that place included: there the two lead each over the other."""
    ours, theirs = texts.get(cold.text_hash), texts.get(cached.text_hash)
    if ours is None or theirs is None:
        return
    for one, other, before, after in zip(ours, theirs, cold.margins, cached.margins, strict=False):
        if before is not None and after is not None:
            yield before - after if one == other else before + after
        if one != other:
            return


def _why_none(checks: Iterable[TextChecked]) -> str:
    """Why no place of a server was compared."""
    known = list(checks)
    if not any(check.margins for check in known):
        return _NOT_TOLD
    if any(is_cached(check) for check in known):
        return _NOT_ASKED
    repeated = len({check.prompt_id for check in known}) < len(known)
    return _NOT_CACHED if repeated else _NOT_ASKED
