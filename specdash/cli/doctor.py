"""`specdash doctor`: what was found on this machine, what it can do, and what to install."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from specdash.cli import command_parser
from specdash.cli.table import print_folded
from specdash.core.engine import Engine, FindContext
from specdash.core.engine_kinds import DEFAULT, KINDS, Kind
from specdash.core.text import human_bytes
from specdash.errors import Exit, SpecdashError

OK, WARN, FAIL = "ok", "warn", "FAIL"


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """One line of the examination: a state, what was looked at, what was found, what to do about it.

    `kind` and `program` where it says whether a program of a kind of engine can be used.
    """

    state: str
    what: str
    found: str
    todo: str = ""
    kind: str = ""
    program: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what this command takes."""
    parser.add_argument("--program", action="append", default=[], metavar="PROGRAM", help="also examine this engine")
    parser.add_argument("--no-probe", action="store_true", help="start no server, so do not find out who decides K")
    parser.add_argument("--json", action="store_true", help="the findings as JSON")


def main(name: str, arguments: list[str]) -> Exit:
    """Prints one line for each thing examined; 3 when no engine can be used, or one that was named cannot."""
    parser = command_parser(name)
    options = parser.parse_args(arguments)
    servers = [finding for program in _programs(options.program) for finding in _engine(program, not options.no_probe)]
    if not servers:
        what = "none on PATH, and no built-in llama.cpp"
        servers = [DoctorFinding(FAIL, DEFAULT.name, what, DEFAULT.install, DEFAULT.name, DEFAULT.name)]
    others = [kind for kind in KINDS.values() if kind is not DEFAULT]
    programs = [finding for kind in others for finding in _other_programs(kind)]
    users_own = [_users_own(kind) for kind in others if not kind.programs]
    findings = [*servers, *programs, *users_own, *_machine(), *_disk(), *_left_behind()]
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            print_folded(f"{finding.state:<4}  {finding.what}: {finding.found}", indent=6)
            if finding.todo:
                print_folded(f"      -> {finding.todo}", indent=9)
    usable = any(finding.state == OK for finding in (*servers, *programs))
    if any(finding.state == FAIL and finding.what in options.program for finding in servers):
        return Exit.NOTHING_MEASURED
    return Exit.OK if usable else Exit.NOTHING_MEASURED


def _programs(asked: list[str]) -> list[str]:
    """The engines to examine: those asked for, a llama-server on PATH, the built-in one."""
    from specdash.config.programs import is_here

    return [*asked, *(program.name for program in DEFAULT.programs if is_here(program))]


def _engine(program: str, probe: bool) -> list[DoctorFinding]:
    """What one engine is, and who decides K on it."""
    from specdash.engines.llama_cpp.flags import SPEC_TYPE_NOTE
    from specdash.engines.llama_cpp.methods import dialect_words
    from specdash.engines.llama_cpp.server import open_program

    try:
        engine = open_program(program, None, "")
    except SpecdashError as error:
        return [DoctorFinding(FAIL, program, error.what, error.todo, DEFAULT.name, program)]
    info = engine.info
    said = f"{info.program}, {info.version}; K is set by {dialect_words(info.dialect)}"
    found = [DoctorFinding(OK, program, said, kind=DEFAULT.name, program=program)]
    if "--spec-type" in engine.flags:
        found.append(DoctorFinding(OK, f"{program}, draft models", SPEC_TYPE_NOTE))
    if engine.flags.spec_types:
        methods = ", ".join(word for word in engine.flags.spec_types if word != "none")
        found.append(DoctorFinding(OK, f"{program}, methods (--spec-type)", methods))
    if "--override-kv" not in engine.flags:
        found.append(
            DoctorFinding(
                WARN, f"{program}, expert counts", "cannot be set", "use the llama-server program for moe_experts"
            )
        )
    if probe:
        found.append(_k_scope(program, engine))
    return found


def _other_programs(kind: Kind) -> list[DoctorFinding]:
    """Each program of a kind of engine: what was found, or why it cannot be used here."""
    from specdash.core.profile import EngineConfig
    from specdash.engines.registry import find

    found: list[DoctorFinding] = []
    for program in kind.programs:
        name, what = program.name, f"{kind.name}, {program.name}"
        try:
            info = find(EngineConfig(kind=kind.name, program=name), FindContext()).info
        except SpecdashError as error:
            found.append(DoctorFinding(WARN, what, f"not usable here: {error.what}", error.todo, kind.name, name))
        else:
            found.append(DoctorFinding(OK, what, f"{info.program}, {info.version}", kind=kind.name, program=name))
    return found


def _users_own(kind: Kind) -> DoctorFinding:
    """A kind of engine that needs nothing of specdash's own."""
    here = [name for name in kind.starters if shutil.which(name)]
    on_path = f"; on PATH: {', '.join(here)}" if here else ""
    return DoctorFinding(OK, kind.name, f"{kind.title}; needs nothing of specdash's own{on_path}")


def _k_scope(program: str, engine: Engine) -> DoctorFinding:
    """Who decides K on an engine, found by starting it."""
    from specdash.report.text import K_SCOPES
    from specdash.session.engine_probe import probe_engine

    try:
        result = probe_engine(engine)
    except SpecdashError as error:
        return DoctorFinding(WARN, f"{program}, K scope", f"could not be probed: {error.what}", error.todo)
    if result.scope is None:
        return DoctorFinding(WARN, f"{program}, K scope", "the server drafted nothing on the test pair")
    words = K_SCOPES[result.scope.value]
    said = ": ".join(filter(None, (words.sentence, words.loads)))
    return DoctorFinding(OK, f"{program}, K scope", f"{result.scope.value} ({said})")


def _machine() -> list[DoctorFinding]:
    """Processor, memory and its limits, GPUs, swap."""
    from specdash.probes.gpu import gpus
    from specdash.probes.machine import machine_facts
    from specdash.probes.memory import lock_limit_bytes, system_memory

    facts = machine_facts()
    memory = system_memory()
    found = [
        DoctorFinding(OK, "machine", f"{facts['cpu'] or facts['arch']}, {facts['cores']} cores, {facts['os']}"),
        DoctorFinding(
            OK, "memory", f"{human_bytes(memory.total_bytes)}, {human_bytes(memory.available_bytes)} available"
        ),
    ]
    limit = lock_limit_bytes()
    if limit is not None:
        todo = "raise it (ulimit -l) before you use --mlock" if limit < memory.total_bytes // 2 else ""
        found.append(DoctorFinding(OK, "memory that may be locked", human_bytes(limit), todo))
    if memory.swap_used_bytes > 2**30:
        found.append(
            DoctorFinding(
                WARN, "swap", f"{human_bytes(memory.swap_used_bytes)} in use", "free memory before you measure"
            )
        )
    report = gpus()
    found += [
        DoctorFinding(OK, "GPU", f"{gpu.name}, {human_bytes(gpu.total_bytes)}, {human_bytes(gpu.free_bytes)} free")
        for gpu in report.gpus
    ]
    if not report.gpus:
        found.append(DoctorFinding(OK, "GPU", "none found", report.missing or ""))
    return found


def _left_behind() -> list[DoctorFinding]:
    """Servers that run without their engine: they work beside whatever is measured."""
    from specdash.session.keeper import left_behind

    return [DoctorFinding(WARN, "server left behind", str(each), each.todo) for each in left_behind()]


def _disk() -> list[DoctorFinding]:
    """Python, and room for results."""
    free = shutil.disk_usage(Path.cwd()).free
    state, todo = (OK, "") if free > 2**30 else (WARN, "results and logs need some room")
    version = ".".join(map(str, sys.version_info[:3]))
    return [
        DoctorFinding(OK, "Python", version),
        DoctorFinding(state, "disk here", f"{human_bytes(free)} free", todo),
    ]
