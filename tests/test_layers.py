"""Who may import whom: by the contracts, and by what is really loaded when a program runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCREENS_AND_SERVERS = {"textual", "aiohttp", "rich", "psutil", "msgspec", "plotext", "numpy", "gguf", "asyncio"}
CORE = sorted(
    f"specdash.core.{path.stem}" for path in (ROOT / "specdash" / "core").glob("*.py") if path.stem != "__init__"
)

LOADED = """
import atexit, json, os, sys
before = set(sys.modules)
report = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT)
atexit.register(lambda: os.write(report, json.dumps(sorted(set(sys.modules) - before)).encode()))
exec(sys.argv.pop(1))
"""

LOADED_BY_EACH = """
import importlib, os, sys
for name in sys.argv[1:]:
    if os.fork() == 0:
        importlib.import_module(name)
        print(name, *(each for each in sys.modules if each.startswith("specdash.")), flush=True)
        os._exit(0)
    os.wait()
"""


def python(*args: object) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *map(str, args)], capture_output=True, text=True, env=env, timeout=60)


def loaded(tmp_path: Path, code: str, *args: object) -> tuple[set[str], subprocess.CompletedProcess[str]]:
    """The top-level packages that running `code` loads."""
    report = tmp_path / "modules"
    done = python("-c", LOADED, report, code, *args)
    assert report.is_file(), done.stderr
    return {name.partition(".")[0] for name in json.loads(report.read_text())}, done


def command(tmp_path: Path, *args: object) -> tuple[set[str], subprocess.CompletedProcess[str]]:
    """What one command of specdash loads."""
    return loaded(tmp_path, "from specdash.cli import main; main()", *args)


def test_the_contracts_hold() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    if not program.is_file():
        pytest.skip("no import-linter: pip install -e '.[dev]'")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_core_and_errors_load_the_standard_library_only(tmp_path: Path) -> None:
    found, done = loaded(tmp_path, "; ".join(f"import {name}" for name in [*CORE, "specdash.errors", "specdash"]))
    assert done.returncode == 0, done.stderr
    assert "specdash" in found
    assert found - {"specdash"} <= sys.stdlib_module_names


@pytest.fixture(scope="module")
def loaded_by() -> dict[str, list[str]]:
    """Our modules that each module of the core loads, each in a process that has loaded nothing before."""
    done = python("-c", LOADED_BY_EACH, *CORE, "specdash.errors")
    return {name: names for line in done.stdout.splitlines() for name, *names in [line.split()]}


@pytest.mark.parametrize("name", [*CORE, "specdash.errors"])
def test_a_module_of_the_core_knows_nothing_above_it(name: str, loaded_by: dict[str, list[str]]) -> None:
    allowed = ("specdash.core", "specdash.errors")
    assert not [each for each in loaded_by[name] if not each.startswith(allowed)]
    assert name in loaded_by[name]


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["check", "--help"], ["chekc"], ["compare"]], ids=str)
def test_small_talk_loads_nothing_heavy(args: list[str], tmp_path: Path) -> None:
    found, done = command(tmp_path, *args)
    assert done.returncode in (0, 2)
    heavy = SCREENS_AND_SERVERS - ({"msgspec"} if "check" in args else set())
    assert not found & heavy


@pytest.mark.parametrize("args", [[], ["attach"]], ids=str)
def test_a_dashboard_without_a_terminal_is_refused_before_it_is_loaded(args: list[str], tmp_path: Path) -> None:
    found, done = command(tmp_path, *args)
    assert done.returncode == 2
    assert not found & (SCREENS_AND_SERVERS - {"asyncio"})


def test_help_loads_the_standard_library_only(tmp_path: Path) -> None:
    found, done = command(tmp_path, "--help")
    assert done.returncode == 0
    assert found - {"specdash"} <= sys.stdlib_module_names


@pytest.mark.parametrize("name", ["check", "plan"])
def test_looking_at_a_profile_loads_no_screen_and_no_http(name: str, tmp_path: Path) -> None:
    found, done = command(tmp_path, name, ROOT / "profiles" / "moe-480b-server-mode.toml")
    assert done.returncode in (0, 3), done.stderr
    assert not found & {"aiohttp", "textual", "rich", "plotext", "numpy", "gguf", "xllamacpp"}
    if name == "check":
        assert "psutil" not in found


def test_check_runs_a_program_without_an_http_library(tmp_path: Path, tiny_models: Path, fake_server: Path) -> None:
    profile = tmp_path / "p.toml"
    profile.write_text(
        f"[engine]\nprogram = '{fake_server}'\nargs = ['-cd', '1']\n[[targets]]\npath = '{tiny_models}/target.gguf'\n"
        "[sweep]\nmethods = []\n"
    )
    found, done = command(tmp_path, "check", profile)
    assert "no flag -cd" in done.stdout, done.stderr
    assert not found & {"aiohttp", "psutil", "textual", "rich", "plotext", "numpy", "gguf", "xllamacpp"}
