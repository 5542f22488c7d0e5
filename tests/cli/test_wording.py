"""What commands say to someone who is new or has made a mistake."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from specdash.cli import dispatch
from specdash.errors import SpecdashError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without settings, runs or models, whose folder is the working one."""
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_new_warns_of_a_draft_that_is_no_smaller(tiny_models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target, draft = str(tiny_models / "target.gguf"), str(tiny_models / "draft.gguf")
    dispatch(["new", target, draft])
    assert capsys.readouterr().err == ""
    dispatch(["new", draft, target])
    assert "is no smaller than the target" in capsys.readouterr().err


def test_the_next_command_after_new_can_be_pasted(tiny_models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dispatch(["new", str(tiny_models / "target.gguf"), "-o", "my profile.toml"])
    command = capsys.readouterr().err.partition("next: ")[2].partition(",")[0]
    assert shlex.split(command) == ["specdash", "plan", "my profile.toml"]
    assert dispatch(shlex.split(command)[1:]) == 0


def test_new_in_a_folder_that_is_not_there_says_what_to_do(tiny_models: Path) -> None:
    with pytest.raises(SpecdashError) as caught:
        dispatch(["new", str(tiny_models / "target.gguf"), "-o", "gone/x.toml"])
    assert "gone/x.toml cannot be written" in caught.value.what
    assert caught.value.todo


def test_models_offers_a_command_that_works(home: Path, tiny_models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = home / "my models"
    folder.mkdir()
    for name in ("target.gguf", "draft.gguf"):
        shutil.copy(tiny_models / name, folder)
    dispatch(["models", str(folder)])
    command = capsys.readouterr().out.rpartition("first pair: ")[2].strip()
    words = shlex.split(command)
    assert words[:2] == ["specdash", "new"]
    assert [Path(word).name for word in words[2:4]] == ["target.gguf", "draft.gguf"]
    assert dispatch(words[1:]) == 0
    assert (home / "profile.toml").exists()


def test_models_offers_nothing_where_nothing_fits(
    tiny_models: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = home / "one"
    folder.mkdir()
    shutil.copy(tiny_models / "target.gguf", folder)
    dispatch(["models", str(folder)])
    assert "specdash new" not in capsys.readouterr().out


def test_runs_tells_a_missing_folder_from_an_empty_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SpecdashError, match="gone: there is no such folder"):
        dispatch(["runs", "gone"])
    (home / "empty").mkdir()
    assert dispatch(["runs", "empty"]) == 0
    assert capsys.readouterr().out == "no runs in empty\n"
    assert dispatch(["runs"]) == 0
    assert "specdash demo" in capsys.readouterr().out
