"""The programs that a profile names: found or not, never run."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from specdash.config.entries import absence, absolute, expand_user
from specdash.config.fields import Table
from specdash.config.lines import KeyPath
from specdash.config.report import Findings, plain, show
from specdash.core.profile import EMBEDDED

DEFAULT_PROGRAM = "llama-server"

_INSTALL = 'pip install "specdash[embedded]"'
_ELSE = f'Give its path, or set program = "{EMBEDDED}" ({_INSTALL})'


def located(text: str, base: Path) -> str:
    """A program as an absolute path; a name without any slash stays a name, to be looked up on PATH."""
    expanded = expand_user(text)
    return str(absolute(text, base)) if "/" in expanded or expanded.startswith("~") else expanded


def read_program(engine: Table, base: Path) -> str:
    """`engine.program`: a name, an absolute path, "embedded" or "embedded:PYTHON"."""
    text = engine.text("program", DEFAULT_PROGRAM)
    path = engine.at("program")
    if text == EMBEDDED:
        if find_spec("xllamacpp") is None:
            engine.findings.lacks(path, "the built-in llama.cpp is not installed here", _INSTALL)
        return text
    prefix, _, python = text.partition(":")
    if prefix == EMBEDDED:
        if not python:
            engine.findings.problem(
                path, "names no Python", f'Write "{EMBEDDED}" or "{EMBEDDED}:/path/of/venv/bin/python"'
            )
            return EMBEDDED
        program = located(python, base)
        check_program(engine.findings, path, program, "Name the python of an environment that has xllamacpp")
        return f"{EMBEDDED}:{program}"
    if not text:
        engine.findings.problem(path, "is empty", _ELSE)
        return DEFAULT_PROGRAM
    program = located(text, base)
    check_program(engine.findings, path, program, _ELSE)
    return program


def check_program(findings: Findings, path: KeyPath, program: str, todo: str) -> None:
    """Notes a program as missing when it cannot be started from here."""
    if "/" not in program:
        if shutil.which(program) is None:
            findings.lacks(path, f"program {show(program)} is not on PATH", todo)
        return
    file = Path(program)
    if file.is_dir():
        inside = file / DEFAULT_PROGRAM
        hint = f"Write {show(str(inside))}" if inside.is_file() else todo
        findings.lacks(path, f"is a folder, not a program: {show(program)}", hint)
    elif not file.is_file():
        what, hint = absence(file) or ("", "")
        findings.lacks(path, what, hint or todo)
    elif not os.access(file, os.X_OK):
        findings.lacks(path, f"is not executable: {show(program)}", f"chmod +x {plain(program)}")
