"""Paths that can be none, wherever they are written: a message about the path, never a bug of specdash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from specdash.cli import guarded
from specdash.errors import Exit

TOO_LONG = "a" * 300
TOO_DEEP = "/".join(["b" * 200] * 30)
COMMANDS = ("", "--headless", "check", "plan", "resume", "stop", "report", "new", "models", "runs")


def profiles() -> Iterator[tuple[str, Callable[[dict[str, Any], str], object]]]:
    """Every key of a profile that holds a path, and how it is set."""
    yield "target", lambda it, path: it["targets"][0].update(path=path)
    yield "pattern", lambda it, path: it["targets"][0].update(path=f"{path}/*.gguf")
    yield "mmproj", lambda it, path: it["targets"][0].update(mmproj=path)
    yield "draft", lambda it, path: it.update(drafts=[{"path": path}])
    yield "prompts", lambda it, path: it["measure"].update(prompts=f"{path}.jsonl")
    yield "results", lambda it, path: it.update(results={"dir": path})
    yield "program", lambda it, path: it["engine"].update(program=f"./{path}")
    yield "wheel", lambda it, path: it["engine"].update(program=f"embedded:{path}")
    yield "wrap", lambda it, path: it["engine"].update(wrap=[f"./{path}"])
    yield "launch", lambda it, path: it.update(engine={"kind": "script", "launch": [path], "port": 8123})
    yield (
        "pid_file",
        lambda it, path: it.update(engine={"kind": "script", "launch": ["true"], "port": 8123, "pid_file": path}),
    )


@pytest.mark.parametrize("path", [TOO_LONG, TOO_DEEP], ids=["long", "deep"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command or "dashboard")
def test_a_command_with_a_path_that_can_be_none(
    command: str, path: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = guarded([command, path] if command else [path])
    said = capsys.readouterr()
    assert code in (Exit.USAGE, Exit.NOTHING_MEASURED), said.err
    assert "a bug of specdash" not in said.err
    assert path[:20] in said.out + said.err


@pytest.mark.parametrize("path", [TOO_LONG, TOO_DEEP, "loop", "a\0b"], ids=["long", "deep", "loop", "nul"])
@pytest.mark.parametrize(("key", "put"), list(profiles()), ids=[key for key, _ in profiles()])
def test_a_profile_with_a_path_that_can_be_none(
    key: str,
    put: Callable[[dict[str, Any], str], object],
    path: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    profile: dict[str, Any] = {"engine": {}, "targets": [{"path": "T.gguf"}], "sweep": {"methods": []}, "measure": {}}
    put(profile, path)
    file = tmp_path / "profile.toml"
    file.write_text(tomli_w.dumps(profile))
    code = guarded(["check", str(file)])
    said = capsys.readouterr()
    assert code in (Exit.USAGE, Exit.NOTHING_MEASURED), said.out + said.err
    assert "a bug of specdash" not in said.out + said.err
