"""The greedy answers of a run, and where those of an arm leave its baseline's: what is said of texts rests on. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from specdash.analysis.rounding import is_cached, is_cold
from specdash.core.methods import BASELINE
from specdash.core.state import RunState
from specdash.core.steps import StepState

LOSSLESS = "lossless"  # the workload whose requests are always at temperature 0
_NO_ANSWERS = "no answer of it at temperature 0 was kept"


@dataclass(frozen=True, slots=True)
class Answer:
    """A greedy answer: `tokens` None where the journal lacks them; `ended` where the model itself ended it.

    `cached`: its prompt came from the cache.
    """

    text_hash: str
    tokens: tuple[int, ...] | None
    ended: bool = False
    margins: tuple[float | None, ...] = ()
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
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


def answers_of(found: StepState, view: RunState) -> dict[str, list[Answer]]:
    """The step's greedy answers by prompt: cold checks first, each text once, only those that can be compared."""
    answers: dict[str, list[Answer]] = {}
    for check in sorted(found.checks, key=lambda each: (not is_cold(each), is_cached(each))):
        text = Answer(check.text_hash, view.texts.get(check.text_hash), margins=check.margins, cached=is_cached(check))
        answers.setdefault(check.prompt_id, []).append(text)
    if _is_greedy(found, view):
        for sample in found.good:
            if sample.text_hash is None:
                continue
            known = answers.setdefault(sample.prompt_id, [])
            ended = sample.finish_reason == "eos"
            answer = Answer(sample.text_hash, view.texts.get(sample.text_hash), ended)
            if found.step.method == BASELINE or answer not in known:
                known.append(answer)
    return answers


def _is_greedy(found: StepState, view: RunState) -> bool:
    """Whether the step's samples were taken at temperature 0."""
    if found.step.workload == LOSSLESS:
        return True
    return view.settings.temperature == 0


def why_nothing(found: StepState, view: RunState) -> str:
    """Why there is no answer to compare."""
    if found.good and not _is_greedy(found, view):
        return "its samples were not taken at temperature 0, and no greedy check was made"
    return _NO_ANSWERS


def with_itself(category: str, answers: Mapping[str, Sequence[Answer]]) -> list[Comparison]:
    """A baseline's further answers to each prompt against its first, which has margins.

    Those from the cache are left out: by how much they differ is what rounding is known from.
    """
    compared: list[Comparison] = []
    for prompt, texts in answers.items():
        repeats = [each for each in texts if not each.cached]
        compared += [_against(category, prompt, other, repeats[0], texts) for other in repeats[1:]]
    return compared


def compare(category: str, prompt: str, ours: Sequence[Answer], theirs: Sequence[Answer]) -> Iterator[Comparison]:
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


def _against(category: str, prompt: str, answer: Answer, base: Answer, known: Sequence[Answer]) -> Comparison:
    """One answer against one of the baseline, `known` being all of the baseline's to this prompt."""
    unit = "character" if answer.tokens and answer.tokens[0] < 0 else "token"
    if answer.text_hash == base.text_hash:
        return Comparison(category, prompt, len(answer.tokens or ()), None, unit=unit)
    if answer.tokens is None or base.tokens is None:
        return Comparison(category, prompt, 0, None, told=False, unit=unit)
    at = _first_difference(answer, base)
    if at is None:
        return Comparison(category, prompt, min(len(answer.tokens), len(base.tokens)), None, unit=unit)
    return Comparison(category, prompt, at, at, _margin(base.tokens, at, known), unit=unit)


def _first_difference(one: Answer, other: Answer) -> int | None:
    """The index of the first differing token; an answer that the model ended differs from a longer one at its end."""
    ours, theirs = one.tokens or (), other.tokens or ()
    common = min(len(ours), len(theirs))
    if ours[:common] != theirs[:common]:
        return next(at for at in range(common) if ours[at] != theirs[at])
    shorter = one if len(ours) < len(theirs) else other
    return common if shorter.ended and len(ours) != len(theirs) else None


def _margin(tokens: tuple[int, ...], at: int, known: Sequence[Answer]) -> float | None:
    """By how many nats the baseline preferred its token behind the first `at` of `tokens`, if it was asked there.

    A margin belongs to the context: any answer that began with the same tokens tells it, the cold ones first.
    """
    for each in known:
        if each.tokens is not None and at < len(each.margins) and each.tokens[:at] == tokens[:at]:
            margin = each.margins[at]
            if margin is not None and not math.isnan(margin):
                return abs(margin)  # below 0 where something in its arguments overruled the first choice
    return None
