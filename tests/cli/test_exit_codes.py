"""What is not there, named to each command: 2 where the command line is wrong, 3 for a missing engine or model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import fork_server

CASES = [
    ("models /nope", 2, "there is no such folder"),
    ("models empty /nope", 2, "there is no such folder"),
    ("models text.txt", 3, "is a text file"),
    ("models empty", 0, "no models in empty"),
    ("models /nope --json", 2, "there is no such folder"),
    ("doctor --no-probe --program /nope", 3, "was not found"),
    ("doctor --no-probe --program /bin/ls --json", 3, "does not look like llama-server"),
    ("new /nope.gguf", 3, "does not exist"),
    ("new text.txt", 3, "is a text file"),
    ("runs /nope", 2, "there is no such folder"),
    ("report /nope", 2, "no such file or run"),
    ("report empty", 2, "without a journal"),
    ("compare /nope /nope", 2, "no such file or run"),
    ("resume /nope", 2, "no such run"),
    ("stop /nope", 2, "no such run"),
    ("check /nope", 2, "no such file"),
    ("plan /nope", 2, "no such file"),
    ("--headless /nope", 2, "no such file"),
    ("/nope", 2, "no such command or profile"),
]


@pytest.mark.parametrize(("line", "code", "said"), CASES, ids=[line for line, _, _ in CASES])
def test_what_is_not_there_has_its_exit_code(line: str, code: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("words")
    env = os.environ | {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    done = fork_server.run(line.split(), tmp_path, env)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in " ".join((done.stdout + done.stderr).split())


def test_a_broken_model_in_a_folder_is_only_listed(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    done = fork_server.run(["models", str(tmp_path)], tmp_path, os.environ)
    assert (done.returncode, "not usable" in done.stdout) == (0, True)
