"""The result of a file that another tool wrote, and the values in it: what the file does not tell is unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from specdash import __version__
from specdash.analysis.build_result import concluded
from specdash.analysis.result import Arm, EngineUsed, Hardware, Imported, Measurement, Result, ResultSettings, RunInfo
from specdash.analysis.stats import Speedup, Summary
from specdash.core.measure import Sample
from specdash.core.methods import BASELINE, DRAFT
from specdash.core.numbers import finite
from specdash.core.plan import Step
from specdash.core.status import SampleStatus
from specdash.core.text import one_line

CATEGORY = "mixed"
"""The category of measurements over all prompts of a tool, which tells no kinds of text apart."""
NOTES_SHOWN = 20
TEXT_LIMIT = 300


@dataclass(frozen=True, slots=True)
class ImportOrigin:
    """Where a result comes from; `file` is the name of the file, `moment` ISO 8601 in UTC."""

    tool: str
    file: str
    name: str
    hardware: str | None = None
    backend: str | None = None
    program: str | None = None
    model_family: str | None = None
    moment: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImportedArm:
    """One arm as a file tells of it; `summary` by metric, in the units of a sample's fields.

    `speedup` over the file's own baseline, or None with `speedup_reason`. `error`: it failed. `samples` are those that
    the file has one by one.
    """

    target: str
    draft: str | None
    k: int | None = None
    summary: Mapping[str, Summary] = field(default_factory=dict)
    acceptance_rate: float | None = None
    speedup: Speedup | None = None
    speedup_reason: str | None = None
    wall_time_s: float | None = None
    error: str | None = None
    samples: Sequence[Sample] = ()

    @property
    def step(self) -> Step:
        """What was measured."""
        method = BASELINE if self.draft is None else DRAFT
        return Step.of(self.target, draft=self.draft, method=method, k=self.k, category=CATEGORY)

    @property
    def name(self) -> str:
        """The step as its tool would name it: it may have no K."""
        if self.draft is None:
            return f"{self.target} | {BASELINE}"
        return f"{self.target} + {self.draft} | {DRAFT}{'' if self.k is None else f' K={self.k}'}"


def sample(prompt_id: str, block: int, told: Mapping[str, Any]) -> Sample:
    """A sample of which a file tells only some fields."""
    unknown = Sample.broken(prompt_id=prompt_id, block=block, started_s=math.nan, reasons=())
    return replace(unknown, status=SampleStatus.OK, clock="", **told)


def imported_result(origin: ImportOrigin, findings: Sequence[ImportedArm], notes: Sequence[str]) -> Result:
    """The result of these findings."""
    found = concluded(
        Result(
            run=RunInfo(
                id=origin.file,
                name=origin.name,
                state="imported",
                finished=origin.moment,
                hardware=Hardware(label=origin.hardware),
                specdash_version=__version__,
                model_family=origin.model_family or "",
                reason="",
                resumes=0,
            ),
            engine=EngineUsed(kind=origin.backend, program=origin.program),
            settings=ResultSettings.of(origin.settings),
            measurements=tuple(_measurement(f"m{number:03d}", each) for number, each in enumerate(findings, start=1)),
            overall=tuple(map(_arm, findings)),
            imported=Imported(
                tool=origin.tool,
                file=origin.file,
                notes=_few(notes),
                has_samples=any(each.samples for each in findings),
            ),
        )
    )
    # The one category is all that there is: what holds of it is said once.
    once = tuple(each for each in found.recommendations if each.category != CATEGORY)
    return replace(found, recommendations=once)


def _few(notes: Sequence[str]) -> tuple[str, ...]:
    """The first notes, and how many more there are: a file may be broken on every line."""
    more = len(notes) - NOTES_SHOWN
    return (*notes[:NOTES_SHOWN], *([f"and {more} more like these"] if more > 0 else []))


def _measurement(name: str, found: ImportedArm) -> Measurement:
    return Measurement(
        id=name,
        name=found.name,
        step=found.step,
        status="ok" if found.error is None else "failed",
        error=found.error,
        samples=tuple(found.samples),
        summary=found.summary,
        acceptance_rate=found.acceptance_rate,
        speedup=found.speedup,
        speedup_reason=found.speedup_reason,
        wall_time_s=found.wall_time_s,
    )


def _arm(found: ImportedArm) -> Arm:
    return Arm(
        step=replace(found.step, category=""),
        categories=(CATEGORY,) if found.error is None else (),
        missing=() if found.error is None else (CATEGORY,),
        summary=found.summary,
        acceptance_rate=found.acceptance_rate,
        speedup=found.speedup,
    )


# Values from files that anybody may have written: taken where they are what they should be, else None.


def positive_number(value: object) -> float | None:
    """A finite number above 0."""
    found = finite(value)
    return found if found is not None and found > 0 else None


def short_text(value: object) -> str | None:
    """A text that is not empty, cut to a sane length."""
    return value.strip()[:TEXT_LIMIT] or None if isinstance(value, str) else None


def value_text(value: object) -> str:
    """A value for a sentence, made harmless and short."""
    if isinstance(value, str):
        return f'"{one_line(value, 40)}"'
    return "missing" if value is None else one_line(str(value)[:200], 40)


def moment(value: object) -> str | None:
    """A moment as the result document writes it: ISO 8601, UTC, milliseconds; None for what is none."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
        found = found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return found.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def scalars(value: object) -> dict[str, Any]:
    """The settings in a table that are plain values; those that are none of JSON's become None."""
    if not isinstance(value, dict):
        return {}
    found: dict[str, Any] = {}
    for name, each in value.items():
        if isinstance(each, str):
            found[str(name)] = each[:TEXT_LIMIT]
        elif each is None or isinstance(each, bool):
            found[str(name)] = each
        elif isinstance(each, int | float):
            found[str(name)] = each if finite(each) is not None else None
    return found
