"""What all benches share: rows of the final table, the surroundings of a measured specdash, and its journal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.support.fake_program import write_fake_server
from tests.support.paths import ROOT


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: what it is, the goal ("" for none), what was measured, and whether that meets the goal."""

    what: str
    goal: str
    measured: str
    met: bool | None = None


def spread(values: Sequence[float], form: str = "{:.0f}", unit: str = "") -> str:
    """Median, range and number of repeated measurements, in one cell."""
    middle, low, high = (form.format(value) for value in (median(values), min(values), max(values)))
    return f"{middle}{unit} ({low} to {high}, n = {len(values)})"


def print_table(rows: Sequence[Row]) -> None:
    """Prints rows under each other, goals beside what was measured."""
    cells = [("", "goal", "measured", "met")]
    cells += [(row.what, row.goal, row.measured, {None: "", True: "yes", False: "NO"}[row.met]) for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of its own for a bench: home, lock and results of every specdash started from it."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a user who has never run specdash, on a machine that runs nothing else."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "SPECDASH_"))}
        return kept | {"HOME": str(self.folder), "XDG_RUNTIME_DIR": str(self.folder), "PYTHONPATH": str(ROOT)}

    def command(self, *words: str | Path) -> list[str]:
        """The command line of specdash."""
        return [sys.executable, "-m", "specdash", *map(str, words)]

    def models(self) -> tuple[Path, Path]:
        """A tiny target and draft pair, written at first use."""
        folder = self.folder / "models"
        if not folder.exists():
            subprocess.run([sys.executable, "-m", "tests.tools.tiny_models", folder], cwd=ROOT, check=True)
        return folder / "target.gguf", folder / "draft.gguf"

    def fake_server(self) -> Path:
        """A program that is the fake llama-server."""
        return write_fake_server(self.folder)

    def profile(self, name: str, program: str | Path, k: Sequence[int], measure: str, engine: str = "") -> Path:
        """A profile for the tiny pair; without K values, for the target alone. `measure`, `engine`: lines of TOML."""
        target, draft = self.models()
        drafts = f'[[drafts]]\nlabel = "D"\npath = "{draft}"\n' if k else ""
        path = self.folder / f"{name}.toml"
        path.write_text(
            f'name = "{name}"\n[engine]\nprogram = "{program}"\n{engine}\n[[targets]]\nlabel = "T"\npath = "{target}"\n'
            f"{drafts}[sweep]\n{f'k = {list(k)}' if k else 'methods = []'}\n[measure]\n{measure}\n"
            '[limits]\nmemory = "off"\ninhibit_sleep = false\n'
        )
        return path

    def run(self, profile: Path, **environment: str) -> Path:
        """Runs a profile to its end; the run's folder. Raises RuntimeError with what specdash said if it failed."""
        done = subprocess.run(
            self.command("--headless", profile),
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{profile.name} ended with {done.returncode}:\n{done.stderr[-4000:]}")
        return Path(done.stdout.strip()).parent


@contextmanager
def place() -> Iterator[Place]:
    """A new place, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="specdash-bench-") as folder:
        yield Place(Path(folder))


def facts(run: Path, kind: str) -> list[dict[str, Any]]:
    """The facts of one type in a run's journal, in order."""
    lines = (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    return [fact for fact in map(json.loads, lines) if fact["type"] == kind]


def real_server() -> str:
    """The real llama-server where it is installed, else the llama.cpp of the xllamacpp wheel."""
    cache = Path.home() / ".cache" / "specdash-tests" / "llama.cpp" / "bin"
    program = Path(os.environ.get("LLAMA_CPP_BIN") or cache) / "llama-server"
    return str(program) if program.is_file() else "embedded"
