"""What a profile would do, and everything that is wrong with it, for somebody who is about to start it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from specdash.config.load import check
from specdash.core.plan import KScope, PlannedLoad
from specdash.core.text import human_bytes, human_seconds, one_line, plural
from specdash.errors import Problem, SpecdashError
from specdash.session.planned import plan_time
from specdash.session.prepare import Prepared, only_possible, prepare
from specdash.ui.tui.lines import Line

SENTENCE = 600


@dataclass(frozen=True, slots=True)
class Planned:
    """A profile as it was read: a digest of the file, its plan in lines, and whether it can be started."""

    path: Path
    digest: str
    name: str
    lines: tuple[Line, ...]
    can_start: bool


def digest_of(path: Path) -> str:
    """Return what tells whether a file has changed; "" for one that cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def plan_of(path: Path) -> Planned:
    """Read a profile and the headers of its models; takes a while, so it belongs into a thread."""
    digest = digest_of(path)
    found = check(path)
    if found.profile is None or found.problems:
        return Planned(path, digest, one_line(path.stem), tuple(_wrong(found.problems)), can_start=False)
    try:
        prepared = only_possible(prepare(found.profile))
    except SpecdashError as error:
        lines: tuple[Line, ...] = tuple(((one_line(each, SENTENCE), "bad"),) for each in str(error).splitlines())
        return Planned(path, digest, one_line(found.profile.name), lines, can_start=False)
    # A file that is not there is reported by both; the check names its neighbours too, so it goes first.
    absent = {(each.line, each.key): each for each in (*prepared.problems, *found.missing)}
    problems = sorted(absent.values(), key=lambda each: each.line or 0)
    lines = (*_summary(prepared), *_gaps(prepared, found.warnings), *(_wrong(problems) if problems else ()))
    return Planned(path, digest, one_line(found.profile.name), lines, can_start=not problems)


def _wrong(problems: Iterable[Problem]) -> list[Line]:
    return [(("It cannot be started:", "bad"),), *(((f"  {one_line(str(each), SENTENCE)}", ""),) for each in problems)]


def _summary(prepared: Prepared) -> list[Line]:
    measure = prepared.profile.measure
    usable = [step for step in prepared.steps if prepared.usable(step)]
    lines: list[Line] = [
        ((f"{len(usable)} steps", "title"), (f" in {len(prepared.prompts)} prompt categories, ", "")
         , (f"{measure.iterations} samples each of up to {measure.max_tokens} tokens", "")),
        (),
    ]  # fmt: skip
    forced = prepared.profile.engine.k_scope
    scopes = [KScope.REQUEST, KScope.STARTUP] if forced == "auto" else [KScope(forced)]
    has_drafts = any(step.draft is not None for step in usable)
    for scope in scopes if has_drafts else scopes[:1]:
        loads = prepared.loads(scope)
        where = {
            KScope.REQUEST: "where the server takes K per request",
            KScope.CAPPED: "K per request, up to the start-up value",
            KScope.STARTUP: "where the server fixes K at start-up",
        }[scope]
        count = plural(len(loads), "load")
        lines.append(
            ((count, "title"), (f"  {where}: " if has_drafts else "  ", ""), (_time(prepared, scope, loads), ""))
        )
        if scope is scopes[0]:
            lines += [((f"  {number:>3}. {_load(load)}", ""),) for number, load in enumerate(loads, 1)]
    if has_drafts and len(scopes) > 1:
        lines.append((("Which of the two it is, a probe on the first load with a draft tells.", "dim"),))
    return lines


def _load(load: PlannedLoad) -> str:
    ks = sorted({step.k for step in load.steps if step.k is not None})
    models = load.key.target if load.key.drafter is None else f"{load.key.target} + {load.key.drafter}"
    of_k = f", K = {', '.join(map(str, ks))}" if ks else ", no draft"
    return f"{one_line(models, 120)}{of_k}  ({plural(len(load.steps), 'step')})"


def _time(prepared: Prepared, scope: KScope, loads: Sequence[PlannedLoad]) -> str:
    sizes = {load.key: size for load in loads for size in [prepared.size_bytes(load.key)] if size is not None}
    time = plan_time(prepared, scope, loads, is_probed=prepared.profile.engine.k_scope == "auto")
    if time is None:
        return "time unknown, since not all models are here"
    largest = max(sizes.values(), default=0)
    told = f"{human_seconds(time.low_s)} to {human_seconds(time.high_s)}, before any measurement"
    return f"{told}; the largest load reads {human_bytes(largest)}"


def _gaps(prepared: Prepared, warnings: Iterable[Problem]) -> list[Line]:
    lines: list[Line] = [((f"warning: {one_line(str(each), SENTENCE)}", "warn"),) for each in warnings]
    for (target, draft), reason in prepared.unfit.items():
        lines.append(((f"skipped: {one_line(f'{target} + {draft}: {reason}', SENTENCE)}", "warn"),))
    return [(), *lines] if lines else []
