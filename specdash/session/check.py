"""What is wrong with a profile on this machine, beyond what its text tells.

The models that it names are read, and the help of its programs, which arguments are held against; prompts are held
against the context. No server is started.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from specdash.config.load import CheckResult, sorted_result
from specdash.config.problems import Findings, escaped
from specdash.core.profile import Profile
from specdash.engines.argument_check import OwnHelp, helps_of
from specdash.errors import EngineError, Problem, ProfileError
from specdash.session.prepare import Prepared, prepare, server_environment
from specdash.session.prompt_lengths import findings_of


def look_closer(found: CheckResult) -> CheckResult:
    """What `config.load.check_profile` found, and what the files and programs say that the profile names."""
    if found.profile is None:
        return found
    profile, findings = found.profile, found.findings
    try:
        prepared = prepare(profile)
    except ProfileError as error:
        _add(findings.problems, error.problems)
        return sorted_result(profile, findings)
    _add(findings.missing, prepared.problems)
    _add(findings.warnings, _unfit(prepared))
    helps = _helps(prepared, findings)
    for own_help in helps:
        _check_arguments(profile, findings, own_help)
    folder = next((each.folder for each in helps), None)
    for each in findings_of(prepared, folder, _environment(profile)):
        (findings.problem if each.is_sure else findings.warn)(each.path, escaped(each.what), escaped(each.todo))
    return sorted_result(profile, findings)


def _add(known: list[Problem], more: Sequence[Problem]) -> None:
    """Adds problems; of two about one place the known one is kept, which says more."""
    places = {(problem.line, problem.key) for problem in known}
    known += [problem for problem in more if (problem.line, problem.key) not in places]


def _unfit(prepared: Prepared) -> list[Problem]:
    """Drafts that can serve no target that they stand beside: their steps are skipped."""
    profile = prepared.profile
    served = {step.draft for step in prepared.steps if prepared.usable(step)}
    return [
        Problem(str(profile.source), ref.line, ref.key, f"cannot draft for {target}: {reason}", "Its steps are skipped")
        for (target, draft), reason in prepared.unfit.items()
        for ref in profile.drafts
        if ref.label == draft and draft not in served
    ]


def _helps(prepared: Prepared, findings: Findings) -> tuple[OwnHelp, ...]:
    """What the programs of the profile list; () with the reason filed where they cannot be used."""
    profile = prepared.profile
    if any(problem.key == "engine.program" for problem in findings.missing):
        return ()
    loads = [(step.pair, prepared.has_vision(step.target)) for step in prepared.steps if prepared.usable(step)]
    try:
        return helps_of(profile.engine, list(dict.fromkeys(loads)), _environment(profile))
    except EngineError as error:
        findings.lacks(("engine", "program"), escaped(error.what.removeprefix("engine.program: ")), escaped(error.todo))
        return ()


def _environment(profile: Profile) -> dict[str, str]:
    """What the programs of a profile get as their environment."""
    return {**server_environment(os.environ)[0], **profile.engine.env}


def _check_arguments(profile: Profile, findings: Findings, own_help: OwnHelp) -> None:
    """Files what a program would refuse at its start, wherever arguments may stand in a profile."""
    known = {(problem.line, problem.key) for problem in findings.problems}
    places = [(("engine", "args"), profile.engine.args)]
    places += [(("configs", at, "args"), each.args) for at, each in enumerate(profile.configs)]  # type: ignore[misc]
    for path, args in places:
        for each in own_help.against(args):
            problem = findings.about((*path, each.index), escaped(each.what), escaped(each.todo))
            if (problem.line, problem.key) not in known:
                findings.problems.append(problem)
    for name in profile.engine.env:
        if name.startswith("LLAMA_ARG_") and not own_help.has_variable(name):
            findings.warn(
                ("engine", "env", name), f"{own_help.shown_as} reads no variable of this name", "Leave it out"
            )
