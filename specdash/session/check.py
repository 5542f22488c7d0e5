"""What is wrong with a profile on this machine, beyond what its text tells: the models that it names are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from specdash.config.load import CheckResult
from specdash.core.profile import Profile
from specdash.errors import Problem, ProfileError
from specdash.session.prepare import Prepared, prepare


def look_closer(found: CheckResult) -> CheckResult:
    """What `config.load.check` found, and what the files say that the profile names; starts no server."""
    if found.profile is None:
        return found
    try:
        prepared = prepare(found.profile)
    except ProfileError as error:
        return CheckResult(None, _joined(found.problems, error.problems), found.warnings, found.missing)
    warnings = _joined(found.warnings, _unfit(prepared))
    return CheckResult(found.profile, found.problems, warnings, _joined(found.missing, prepared.problems))


def _joined(known: Sequence[Problem], more: Iterable[Problem]) -> list[Problem]:
    """The problems in the order of the file; of two about one place the known one, which says more."""
    places = {(problem.line, problem.key) for problem in known}
    added = [problem for problem in more if (problem.line, problem.key) not in places]
    return sorted([*known, *added], key=lambda problem: problem.line or 0)


def _unfit(prepared: Prepared) -> list[Problem]:
    """Drafts that can serve no target that they stand beside: their steps are skipped."""
    profile: Profile = prepared.profile
    served = {step.draft for step in prepared.steps if prepared.usable(step)}
    return [
        Problem(str(profile.source), ref.line, ref.key, f"cannot draft for {target}: {reason}", "Its steps are skipped")
        for (target, draft), reason in prepared.unfit.items()
        for ref in profile.drafts
        if ref.label == draft and draft not in served
    ]
