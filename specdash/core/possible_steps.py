"""Which steps of a plan their method can do something with, and what is left out of it with the reason. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from specdash.core.draft_lengths import Abilities
from specdash.core.methods import method_label
from specdash.core.plan import Step


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Ks of a method that are not measured as they were asked for; `taken` is the K that stands for them, if any does.

    `label` is the method with the size of its n-gram.
    """

    method: str
    label: str
    ks: tuple[int, ...]
    taken: int | None
    reason: str

    def __str__(self) -> str:
        ks = f"K = {', '.join(map(str, self.ks))}"
        what = "left out" if self.taken is None else f"measured as K = {self.taken}"
        return f"{self.label}: {ks} {'is' if len(self.ks) == 1 else 'are'} {what}, since it {self.reason}"


@dataclass(frozen=True, slots=True)
class Possible:
    """The steps that can be measured, and what was left out of those that were asked for.

    `was` maps ids of steps that stand for another K to the id of the first that asked for it.
    """

    steps: tuple[Step, ...]
    left_out: tuple[LeftOut, ...]
    was: Mapping[str, str]


def possible(steps: Iterable[Step], can: Callable[[Step], Abilities]) -> Possible:
    """The steps whose method can do something with their K, each once; `can` tells what that of a step can do.

    Where several Ks make one server, one step stands for all, under the K that is the truth.
    """
    kept: dict[Step, None] = {}
    was: dict[str, str] = {}
    out: dict[tuple[str, str, int | None, str], list[int]] = {}
    for step in steps:
        able = can(step)
        reason = able.why_not(step.k, step.ngram_n) if step.k is not None else None
        if step.k is None or reason is None:
            kept[step] = None
            continue
        taken = able.k_taken(step.k, step.ngram_n)
        out.setdefault((step.method, method_label(step.method, step.ngram_n), taken, reason), []).append(step.k)
        if taken is not None:
            same = replace(step, k=taken)
            if same not in kept:
                was[same.id] = step.id
            kept[same] = None
    found = (
        LeftOut(method, label, tuple(dict.fromkeys(ks)), taken, why) for (method, label, taken, why), ks in out.items()
    )
    return Possible(tuple(kept), tuple(found), was)
