"""What there is to start with, as the commands of specdash tell it: here, or on the machine of a run."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from specdash.remote.run_source import MODELS, Gone, own_argv
from specdash.ui.tui import discovery
from specdash.ui.tui.discovery import DiscoveredModel, DoctorLine, FindError, models_of_machine
from specdash.ui.tui.wizard.answers import Answers, choices
from tests.support.dashboards import ScriptedSource
from tests.support.recorded_run import started, step


def told(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def far(program: str | None) -> ScriptedSource:
    """A run on another machine, where the program says which models there are."""
    source = ScriptedSource([started([step()])], models_argv=told(program) if program is not None else None)
    source.origin = replace(source.origin, is_local=False)
    return source


async def test_the_real_commands_are_asked(tiny_models: Path) -> None:
    found = {Path(each.path).name: each for each in await discovery.discover_models([str(tiny_models)])}
    assert str(tiny_models / "draft.gguf") in found["target.gguf"].drafts
    assert found["target.gguf"].refusal(found["draft.gguf"]) is None
    assert found["draft.gguf"].refusal(found["target.gguf"]) == "it is no smaller than the target"
    read = found["target.gguf"].read_as("target")
    assert read is not None
    assert read.architecture is not None
    findings = await discovery.run_doctor()
    assert any(each.what == "memory" for each in findings)


async def test_the_models_of_a_run_elsewhere_are_those_there() -> None:
    program = 'import json; print(json.dumps([{"path": "/a.gguf", "label": "A", "size_bytes": 5, "drafts": ["/b"]}]))'
    # Folders of this machine are no concern of that one.
    assert await models_of_machine(far(program), [Path("/mine")]) == [
        DiscoveredModel("/a.gguf", "A", size_bytes=5, drafts=("/b",))
    ]
    with pytest.raises(FindError, match="cannot be looked for from tower"):
        await models_of_machine(far(None))


async def test_the_user_s_own_folders_are_looked_into_beside_the_usual_ones(
    tmp_path: Path, tiny_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LLAMA_CACHE", str(tiny_models))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "own.gguf").write_bytes((tiny_models / "draft.gguf").read_bytes())
    for source in (
        None,
        ScriptedSource([started([step()])], gone=Gone("over"), models_argv=own_argv(*MODELS)),
    ):
        names = {Path(each.path).name for each in await models_of_machine(source, [mine])}
        assert {"own.gguf", "target.gguf"} <= names
    assert discovery.places_with(()) == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("import sys; print('boom', file=sys.stderr)", "failed: boom"),
        ("raise SystemExit('no \\x1b[31mluck')", "failed: no <1b>"),
        ("print('no json')", "said no JSON"),
        ("print('[[[')", "said no JSON"),
        ("print('{}')", "cannot be read"),
        ("print('[1]')", "cannot be read"),
        ("""print('[{"label": "x"}]')""", "cannot be read"),
        ("""print('[{"label": "x", "path": "y", "drafts": 1}]')""", "cannot be read"),
        ("import sys; sys.stdout.buffer.write(b'\\xff')", "said no JSON"),
    ],
)
async def test_a_search_that_fails_says_why(said: str, reason: str) -> None:
    with pytest.raises(FindError, match=reason):
        await models_of_machine(far(said))


async def test_a_search_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "MODELS_LIMIT_S", 0.2)
    with pytest.raises(FindError, match="on tower took longer than"):
        await models_of_machine(far("import time; time.sleep(600)"))


async def test_a_program_that_is_not_there_is_a_sentence() -> None:
    source = ScriptedSource([started([step()])], models_argv=["/no/such/program"])
    with pytest.raises(FindError, match="cannot be started: /no/such/program"):
        await models_of_machine(source)


async def test_a_new_profile_names_a_program_that_takes_such_models(tmp_path: Path) -> None:
    findings = [
        DoctorLine("ok", "llama-server", "b1", kind="llama-server", program="llama-server"),
        DoctorLine("ok", "embedded, draft models", "used"),
        DoctorLine("ok", "mlx, specdash-mlx", "0.32", kind="mlx", program="specdash-mlx"),
        DoctorLine("warn", "mlx, mlx_lm.server", "not usable here", kind="mlx", program="mlx_lm.server"),
        DoctorLine("ok", "script", "launch scripts"),
        DoctorLine("FAIL", "embedded", "broken", kind="llama-server", program="embedded"),
    ]
    found = discovery.engines(findings)
    assert [each.program for each in found] == ["llama-server", "specdash-mlx", "embedded"]
    for path, programs in ((tmp_path / "t.gguf", ["llama-server", "embedded"]), (tmp_path, ["specdash-mlx"])):
        answers = Answers(target=DiscoveredModel(str(path), "T"))
        assert [choice.value for choice in choices("program", answers, [], found)] == programs
