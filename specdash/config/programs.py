"""The programs that a profile names: found or not, never run."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from specdash.config.entries import absence, absolute, expand_user
from specdash.config.fields import TomlTable
from specdash.config.lines import KeyPath
from specdash.config.problems import Findings, escaped, toml_text
from specdash.core.engine_kinds import DEFAULT, KINDS, Kind, Program


def located(text: str, base: Path) -> str:
    """A program as an absolute path; a name without any slash stays a name, to be looked up on PATH."""
    expanded = expand_user(text)
    return str(absolute(text, base)) if "/" in expanded or expanded.startswith("~") else expanded


def read_program(engine: TomlTable, base: Path, kind: Kind) -> str:
    """`engine.program` of a kind of engine: a name, an absolute path, or a name of ours with its interpreter."""
    default = kind.programs[0].name
    text = engine.text("program", default)
    path = engine.at("program")
    if not text:
        engine.findings.problem(path, "is empty", DEFAULT.program_todo)
        return default
    name, _, python = text.partition(":")
    listed = kind.program(name)
    if listed is not None and listed.package:
        if python:
            program = located(python, base)
            check_program(
                engine.findings, path, program, f"Name the python of an environment that has {listed.package}"
            )
            return f"{name}:{program}"
        if text != name:
            engine.findings.problem(path, "names no Python", f'Write "{name}" or "{name}:/path/of/venv/bin/python"')
            return name
        if not is_here(listed):
            engine.findings.lacks(path, f"{listed.package_title} is not installed here", listed.install)
        return name
    owner = next((each for each in KINDS.values() if (found := each.program(text)) and not found.on_path), None)
    if owner is not None:
        engine.findings.problem(path, f'is for kind = "{owner.name}"', f'This engine is "{kind.name}"')
        return default
    program = located(text, base)
    if kind.takes_folder and os.path.isdir(program):
        return program  # the folder of the programs: which are in it is asked when one is needed
    check_program(engine.findings, path, program, kind.program_todo)
    return program


def is_here(program: Program) -> bool:
    """Whether a program can be started on this machine: a file on PATH, or a package of this Python."""
    on_path = program.on_path and shutil.which(program.name) is not None
    return on_path or (program.package != "" and find_spec(program.package) is not None)


def check_program(findings: Findings, path: KeyPath, program: str, todo: str) -> None:
    """Notes a program as missing when it cannot be started from here."""
    if "/" not in program:
        if shutil.which(program) is None:
            findings.lacks(path, f"program {toml_text(program)} is not on PATH", todo)
        return
    file = Path(program)
    if os.path.isdir(file):
        inside = file / DEFAULT.programs[0].name
        hint = f"Write {toml_text(str(inside))}" if os.path.isfile(inside) else todo
        findings.lacks(path, f"is a folder, not a program: {toml_text(program)}", hint)
    elif not os.path.isfile(file):
        what, hint = absence(file) or ("", "")
        findings.lacks(path, what, hint or todo)
    elif not os.access(file, os.X_OK):
        findings.lacks(path, f"is not executable: {toml_text(program)}", f"chmod +x {escaped(program)}")
