"""The examples that `specdash new` writes are the repository's profiles."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from specdash.cli import guarded
from specdash.cli.new import scripts_of

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "profiles").glob("*.toml"))


def test_examples_are_listed_with_what_they_are_about(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(["new", "--example"]) == 0
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:]]
    assert {path.stem for path in EXAMPLES} <= {row[0] for row in rows}
    assert len(EXAMPLES) > 8


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_printed_as_it_is(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(["new", "--example", path.stem]) == 0
    out, err = capsys.readouterr()
    assert out == path.read_text()
    tomllib.loads(out)
    assert ("scripts" in err) == bool(scripts_of(out))


def test_an_example_goes_into_a_new_file_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "mine.toml"
    assert guarded(["new", "--example", "mlx.toml", "-o", str(output)]) == 0
    assert output.read_text() == (ROOT / "profiles" / "mlx.toml").read_text()
    assert guarded(["new", "--example", "mlx", "-o", str(output)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_scripts_of_an_example_come_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scripts").mkdir()
    mine = tmp_path / "scripts" / "mlx-cluster-stop.sh"
    mine.write_text("mine")
    mine.chmod(0o755)
    assert guarded(["new", "--example", "mlx-cluster", "-o", str(tmp_path / "mc.toml")]) == 0
    assert str(tmp_path / "scripts") in capsys.readouterr().err
    launch = tmp_path / "scripts" / "mlx-cluster-launch.sh"
    assert launch.read_text() == (ROOT / "profiles" / "scripts" / launch.name).read_text()
    assert launch.stat().st_mode & 0o100
    assert mine.read_text() == "mine"
    assert guarded(["check", str(tmp_path / "mc.toml")]) == 0, capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--example", "mxl"], "mxl: no such example"),
        (["--example", "../mlx"], "no such example"),
        (["--example", "mlx", "a.gguf"], "--example takes no models"),
        ([], "TARGET"),
    ],
)
def test_what_cannot_be_meant_is_said(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(["new", *arguments]) == 2
    assert said in capsys.readouterr().err
