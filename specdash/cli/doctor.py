"""`specdash doctor`: what was found on this machine, what it can do, and what to install."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from specdash.cli import command_parser
from specdash.cli.table import print_folded
from specdash.core.text import human_bytes
from specdash.errors import Exit, SpecdashError

OK, WARN, FAIL = "ok", "warn", "FAIL"
K_SCOPE_WORDS = {
    "request": "takes K per request: one load serves every K",
    "capped": "takes K per request, up to its start-up value",
    "startup": "fixes K at start-up: one load for every K",
}


_PROGRAMS = ("llama-cli", "mlx")
# Kinds of which the user brings the server, with programs that start one where they are on PATH.
_USERS_OWN = {"script": ("mlx.launch",), "openai": ("vllm", "sglang", "lms", "ollama")}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination: a state, what was looked at, what was found, what to do about it.

    `kind` and `program` are those of a program that serves models, where the line says whether it can be used.
    """

    state: str
    what: str
    found: str
    todo: str = ""
    kind: str = ""
    program: str = ""


def main(name: str, arguments: list[str]) -> Exit:
    """Prints one line for each thing examined; 3 when no engine can be used, or one that was named cannot."""
    parser = command_parser(name)
    parser.add_argument("--program", action="append", default=[], metavar="PROGRAM", help="also examine this engine")
    parser.add_argument("--no-probe", action="store_true", help="start no server, so do not find out who decides K")
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    options = parser.parse_args(arguments)
    servers = [finding for program in _programs(options.program) for finding in _engine(program, not options.no_probe)]
    if not servers:
        servers = [
            Finding(
                FAIL,
                "llama-server",
                "none on PATH, and no built-in llama.cpp",
                _install("llama-server"),
                "llama-server",
                "llama-server",
            )
        ]
    programs = [finding for kind in _PROGRAMS for finding in _other_programs(kind)]
    findings = [*servers, *programs, *map(_users_own, _USERS_OWN), *_machine(), *_disk(), *_left_behind()]
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
    found = list(asked)
    if shutil.which("llama-server"):
        found.append("llama-server")
    if importlib.util.find_spec("xllamacpp") is not None:
        found.append("embedded")
    return found


def _engine(program: str, probe: bool) -> list[Finding]:
    """What one engine is, and who decides K on it."""
    from specdash.engines.llama_flags import SPEC_TYPE_NOTE, dialect_words
    from specdash.engines.llama_server import open_program

    kind = program if program == "embedded" else "llama-server"
    try:
        engine = open_program(program, None, "")
    except SpecdashError as error:
        return [Finding(FAIL, program, error.what, error.todo, kind, program)]
    info = engine.info
    text = f"{info.program}, {info.version}; K is set by {dialect_words(info.dialect)}"
    found = [Finding(OK, program, text, "", kind, program)]
    if "--spec-type" in engine.flags:
        found.append(Finding(OK, f"{program}, draft models", SPEC_TYPE_NOTE))
    if engine.flags.spec_types:
        methods = ", ".join(word for word in engine.flags.spec_types if word != "none")
        found.append(Finding(OK, f"{program}, methods (--spec-type)", methods))
    if "--override-kv" not in engine.flags:
        found.append(
            Finding(WARN, f"{program}, expert counts", "cannot be set", "use the llama-server program for moe_experts")
        )
    if probe:
        found.append(_k_scope(program, engine))
    return found


def _install(kind: str) -> str:
    from specdash.engines.registry import module_of

    return module_of(kind).INSTALL


def _other_programs(kind: str) -> list[Finding]:
    """Each program of a kind of engine: what was found, or why it cannot be used here."""
    from specdash.core.profile import EngineConfig
    from specdash.engines.registry import FindContext, module_of

    module = module_of(kind)
    found: list[Finding] = []
    for program in module.PROGRAMS:
        try:
            info = module.find(EngineConfig(kind=kind, program=program), FindContext()).info
        except SpecdashError as error:
            text = f"not usable here: {error.what}"
            found.append(Finding(WARN, f"{kind}, {program}", text, error.todo, kind, program))
        else:
            found.append(Finding(OK, f"{kind}, {program}", f"{info.program}, {info.version}", "", kind, program))
    return found


def _users_own(kind: str) -> Finding:
    """A kind of engine that needs nothing of specdash's own."""
    from specdash.engines.registry import module_of

    here = [name for name in _USERS_OWN[kind] if shutil.which(name)]
    on_path = f"; on PATH: {', '.join(here)}" if here else ""
    return Finding(OK, kind, f"{module_of(kind).TITLE}; needs nothing of specdash's own{on_path}")


def _k_scope(program: str, engine: object) -> Finding:
    from specdash.engines.llama_server import LlamaServer
    from specdash.session.engine_probe import probe_engine

    assert isinstance(engine, LlamaServer)
    try:
        result = probe_engine(engine)
    except SpecdashError as error:
        return Finding(WARN, f"{program}, K scope", f"could not be probed: {error.what}", error.todo)
    if result.scope is None:
        return Finding(WARN, f"{program}, K scope", "the server drafted nothing on the test pair")
    return Finding(OK, f"{program}, K scope", f"{result.scope.value} ({K_SCOPE_WORDS[result.scope.value]})")


def _machine() -> list[Finding]:
    """Processor, memory and its limits, GPUs, swap."""
    from specdash.probes.gpu import gpus
    from specdash.probes.machine import machine
    from specdash.probes.memory import lock_limit_bytes, system_memory

    facts = machine()
    memory = system_memory()
    found = [
        Finding(OK, "machine", f"{facts['cpu'] or facts['arch']}, {facts['cores']} cores, {facts['os']}"),
        Finding(OK, "memory", f"{human_bytes(memory.total_bytes)}, {human_bytes(memory.available_bytes)} available"),
    ]
    limit = lock_limit_bytes()
    if limit is not None:
        todo = "raise it (ulimit -l) before you use --mlock" if limit < memory.total_bytes // 2 else ""
        found.append(Finding(OK, "memory that may be locked", human_bytes(limit), todo))
    if memory.swap_used_bytes > 2**30:
        found.append(
            Finding(WARN, "swap", f"{human_bytes(memory.swap_used_bytes)} in use", "free memory before you measure")
        )
    report = gpus()
    found += [
        Finding(OK, "GPU", f"{gpu.name}, {human_bytes(gpu.total_bytes)}, {human_bytes(gpu.free_bytes)} free")
        for gpu in report.gpus
    ]
    if not report.gpus:
        found.append(Finding(OK, "GPU", "none found", report.missing or ""))
    return found


def _left_behind() -> list[Finding]:
    """Servers that run without their engine: they work beside whatever is measured."""
    from specdash.session.keeper import left_behind

    return [Finding(WARN, "server left behind", str(each), each.todo) for each in left_behind()]


def _disk() -> list[Finding]:
    """Python, and room for results."""
    free = shutil.disk_usage(Path.cwd()).free
    state, todo = (OK, "") if free > 2**30 else (WARN, "results and logs need some room")
    version = ".".join(map(str, sys.version_info[:3]))
    return [
        Finding(OK, "Python", version),
        Finding(state, "disk here", f"{human_bytes(free)} free", todo),
    ]
