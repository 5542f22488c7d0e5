"""A machine with fake servers, which do what real ones will not do on command."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.machine import (
    Machine,
    Run,
    assert_complete,
    assert_each_block_once,
    assert_gone,
    assert_well_behaved,
    delete_under,
    descendants,
    narrated,
    newest,
)
from tests.support.paths import FAKES

__all__ = [
    "Bench",
    "Run",
    "assert_complete",
    "assert_each_block_once",
    "assert_gone",
    "assert_well_behaved",
    "delete_under",
    "descendants",
    "narrated",
    "newest",
]

SPEED = "speed=3000"

Behaviours = str | Sequence[str]


class Bench(Machine):
    """A machine with models and programs too."""

    def __init__(self, folder: Path, fake: Path, models: tuple[Path, Path]) -> None:
        super().__init__(folder)
        self.fake = fake
        self.target, self.draft = models

    def model(self, name: str, source: Path) -> Path:
        """A copy of a model under another name."""
        path = self.folder / f"{name}.gguf"
        if not path.exists():
            shutil.copyfile(source, path)
        return path

    def program(self, rules: Mapping[str, Behaviours]) -> Path:
        """A server that behaves by the name of a model that it loads: in one way, or in several, launch by launch.

        Behaviours with a ";" in them are one for each streamed request.
        """
        cases = "".join(f'*"/{name}.gguf "*)\n{self._choice(name, rule)};;\n' for name, rule in rules.items())
        path = self.folder / "server"
        path.write_text(f'#!/bin/sh\nexport FAKE_SERVER="{SPEED}"\nB=\ncase "$* " in\n{cases}esac\n{self._launch()}')
        path.chmod(0o755)
        return path

    def _choice(self, name: str, rule: Behaviours) -> str:
        if isinstance(rule, str):
            return f"B='{rule}'\n"
        *early, last = rule
        branches = "".join(
            f"if mkdir '{self.folder}/.{name}.{number}' 2>/dev/null; then B='{each}'\nel"
            for number, each in enumerate(early)
        )
        return f"{branches}se B='{last}'\nfi\n"

    def _launch(self) -> str:
        sequence = FAKES / "llama_server_sequence.py"
        return f"""case "$B" in
"{{"*) FAKE_SERVER="$B" exec "{self.fake}" "$@";;
*";"*) FAKE_SEQUENCE="$B" exec "{sys.executable}" "{sequence}" "$@";;
*) FAKE_SERVER="{SPEED},$B" exec "{self.fake}" "$@";;
esac
"""

    def profile(
        self, targets: Sequence[str] = ("T",), drafts: Sequence[str] = (), name: str = "it", **tables: dict[str, Any]
    ) -> Path:
        """A profile of one category, two samples a step and 24 tokens a sample, unless `tables` says otherwise."""
        settings: dict[str, Any] = {
            "name": name,
            "hardware": "bench",
            "engine": {"program": str(self.fake), "env": {"FAKE_SERVER": SPEED}, "grace_s": 2},
            "sweep": {"k": [4]} if drafts else {"methods": []},
            "measure": {"categories": ["coding"], "max_tokens": 24, "iterations": 2, "warmup": 1},
            "limits": {"inhibit_sleep": False},
            "results": {"dir": str(self.results)},
        }
        for key, table in tables.items():
            settings[key] |= table
        for key, source, labels in (("targets", self.target, targets), ("drafts", self.draft, drafts)):
            if labels:
                settings[key] = [{"label": label, "path": str(self.model(label, source))} for label in labels]
        return self.write_profile(name, settings)
