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
DEFAULTS = {"llama-server": DEFAULT_PROGRAM, "llama-cli": "llama-speculative-simple", "mlx": "mlx_lm.server"}
"""The program of each kind of engine that starts one."""

MLX_SERVER, SPECDASH_MLX = "mlx_lm.server", "specdash-mlx"

_INSTALL = 'pip install "specdash[embedded]"'
_INSTALL_MLX = 'pip install "specdash[mlx]"'
# Programs that are a package of some Python, by kind: the package, its name for the user, how to install it.
_PYTHONS = {
    "llama-server": {EMBEDDED: ("xllamacpp", "the built-in llama.cpp", _INSTALL)},
    "mlx": {
        MLX_SERVER: ("mlx_lm", "mlx-lm", _INSTALL_MLX),
        SPECDASH_MLX: ("mlx_lm", "mlx-lm", _INSTALL_MLX),
    },
}
_ELSE = f'Give its path, or set program = "{EMBEDDED}" ({_INSTALL})'


def located(text: str, base: Path) -> str:
    """A program as an absolute path; a name without any slash stays a name, to be looked up on PATH."""
    expanded = expand_user(text)
    return str(absolute(text, base)) if "/" in expanded or expanded.startswith("~") else expanded


def read_program(engine: Table, base: Path, kind: str) -> str:
    """`engine.program` of a kind of engine: a name, an absolute path, or a name of ours with its interpreter."""
    text = engine.text("program", DEFAULTS[kind])
    path = engine.at("program")
    if not text:
        engine.findings.problem(path, "is empty", _ELSE)
        return DEFAULTS[kind]
    name, _, python = text.partition(":")
    package = _PYTHONS.get(kind, {}).get(name)
    if package is not None and python == "" and text != name:
        engine.findings.problem(path, "names no Python", f'Write "{name}" or "{name}:/path/of/venv/bin/python"')
        return name
    if package is not None and python:
        program = located(python, base)
        check_program(engine.findings, path, program, f"Name the python of an environment that has {package[0]}")
        return f"{name}:{program}"
    if package is not None and (name != MLX_SERVER or shutil.which(name) is None):
        if find_spec(package[0]) is None:
            engine.findings.lacks(path, f"{package[1]} is not installed here", package[2])
        return name
    if text in (SPECDASH_MLX, EMBEDDED):
        owner = "mlx" if text == SPECDASH_MLX else "llama-server"
        engine.findings.problem(path, f'is for kind = "{owner}"', f'This engine is "{kind}"')
        return DEFAULTS[kind]
    program = located(text, base)
    if kind == "llama-cli" and os.path.isdir(program):
        return program  # the folder of the programs: which are in it is asked when one is needed
    todo = _ELSE if kind == "llama-server" else f"Give its path; specdash doctor tells what kind {kind} needs"
    check_program(engine.findings, path, program, todo)
    return program


def check_program(findings: Findings, path: KeyPath, program: str, todo: str) -> None:
    """Notes a program as missing when it cannot be started from here."""
    if "/" not in program:
        if shutil.which(program) is None:
            findings.lacks(path, f"program {show(program)} is not on PATH", todo)
        return
    file = Path(program)
    if os.path.isdir(file):
        inside = file / DEFAULT_PROGRAM
        hint = f"Write {show(str(inside))}" if os.path.isfile(inside) else todo
        findings.lacks(path, f"is a folder, not a program: {show(program)}", hint)
    elif not os.path.isfile(file):
        what, hint = absence(file) or ("", "")
        findings.lacks(path, what, hint or todo)
    elif not os.access(file, os.X_OK):
        findings.lacks(path, f"is not executable: {show(program)}", f"chmod +x {plain(program)}")
