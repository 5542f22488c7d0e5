"""What the tab key completes, asked of the program as a shell asks it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from specdash.cli import COMMANDS
from specdash.cli.completion import SHELLS, main, parser_for

ASK = "import sys; from specdash.cli import main; sys.argv[0] = 'specdash'; main()"


def completed(line: str, folder: Path) -> set[str]:
    """What a shell is told at the end of this line."""
    answer = folder / "answer"
    settings = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_SHELL": "bash", "_ARGCOMPLETE_IFS": "\n", "COMP_TYPE": "9"}
    settings |= {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)}
    settings |= {"HOME": str(folder), "XDG_STATE_HOME": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", ASK], env={**os.environ, **settings}, cwd=folder, check=True)
    return {word.strip() for word in answer.read_text().split("\n") if word.strip()}


def test_commands_options_and_profiles_are_completed(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").touch()
    (tmp_path / "other.txt").touch()
    first = completed("specdash ", tmp_path)
    assert {"plan", "doctor", "completion", "--headless", "mine.toml"} <= first
    assert not first & {"_engine", "relay", "other.txt"}
    assert completed("specdash plan m", tmp_path) == {"mine.toml"}
    assert "--max-regression" in completed("specdash compare --", tmp_path)


def test_examples_and_formats_are_completed(tmp_path: Path) -> None:
    assert completed("specdash new --example ml", tmp_path) == {"mlx", "mlx-cluster"}
    assert "md" in completed("specdash report RUN --format ", tmp_path)
    assert completed("specdash report RUN --format md,js", tmp_path) == {"md,json"}


def test_every_command_can_be_completed() -> None:
    for name, command in COMMANDS.items():
        if name != "_engine":
            parser_for([name])
            assert command.example


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_lines_of_its_own(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("completion", [shell]) == 0
    assert "specdash" in capsys.readouterr().out
