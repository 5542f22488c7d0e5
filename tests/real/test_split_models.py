"""A model in several files, as llama-gguf-split writes them: every command and a real server take it as one model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from specdash.core import events as ev
from tests.support.machine import assert_complete
from tests.support.real_machine import ONE_THREAD, PROMPTS, Real, values_of

pytestmark = pytest.mark.real

PARTS = [f"smol-q2_k-0000{number}-of-00003.gguf" for number in (1, 2, 3)]


def specdash(*args: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "specdash", *map(str, args)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def test_a_split_target_is_measured_from_its_first_part(machine: Real, small_models: Path, llama_server: Path) -> None:
    parts = [small_models / name for name in PARTS]
    profile = machine.profile(
        llama_server,
        {"T": parts[0]},
        engine={"args": [*ONE_THREAD, "-c", "512"]},
        measure={"prompts": str(machine.prompts(PROMPTS[:1], "own")), "max_tokens": 16, "iterations": 2, "warmup": 0},
    )
    done = specdash("check", profile, folder=machine.folder)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    run = machine.run(profile)
    assert_complete(run)
    assert run.code == 0, run.stderr
    (load,) = run.facts(ev.LoadStarted)
    assert values_of(load.argv, "-m") == [str(parts[0])]
    assert load.size_bytes == sum(path.stat().st_size for path in parts)
    assert run.only(target="T").status == "ok"


@pytest.mark.parametrize("left", [(1, 3), (2, 3), (1, 2, 3)], ids=str)
def test_what_a_user_can_name_wrongly_is_told_by_every_command(
    left: tuple[int, ...], machine: Real, small_models: Path, llama_server: Path
) -> None:
    """A part that is missing, the first one among them, and a later part in place of the first."""
    for number in left:
        (machine.folder / PARTS[number - 1]).symlink_to(small_models / PARTS[number - 1])
    named = machine.folder / PARTS[0 if left == (1, 3) else 1]
    told = f"Name {machine.folder / PARTS[0]}" if 1 in left and named.name == PARTS[1] else "missing: smol-q2_k-0000"
    profile = machine.profile(llama_server, {"T": named})
    done = specdash("check", profile, folder=machine.folder)
    assert done.returncode == 3
    assert told in done.stdout
    assert told in specdash("plan", profile, folder=machine.folder).stdout
    done = specdash("new", named, folder=machine.folder)
    assert (done.returncode, told in done.stderr) == (3, True)
    done = specdash("--headless", profile, folder=machine.folder)
    assert (done.returncode, told in done.stderr) == (3, True)


def test_models_shows_a_split_model_once_with_all_its_bytes(small_models: Path, tmp_path: Path) -> None:
    for name in PARTS:
        (tmp_path / name).symlink_to(small_models / name)
    done = specdash("models", tmp_path, "--json", folder=tmp_path)
    (found,) = json.loads(done.stdout)
    assert (found["label"], found["quantisation"], found["problem"]) == ("smol-q2_k", "Q2_K", None)
    assert found["size_bytes"] == sum((small_models / name).stat().st_size for name in PARTS)
    done = specdash("new", tmp_path / PARTS[0], folder=tmp_path)
    assert done.returncode == 0
    assert f'path = "{tmp_path / PARTS[0]}"' in done.stdout
    assert 'label = "smol-q2_k"' in done.stdout
