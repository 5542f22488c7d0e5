"""The user's own settings file."""

from __future__ import annotations

from pathlib import Path

import pytest

from specdash.config.settings import Settings, load_settings, save_setting, settings_path
from specdash.errors import SpecdashError

IDS = ("main.skip", "leave", "queue.sort")


def read(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return load_settings(file, IDS)


def test_no_file_means_defaults(tmp_path: Path) -> None:
    found = load_settings(tmp_path / "none.toml")
    assert (found.theme, found.notifications, found.rate_hz, found.glyphs, found.mouse) == (
        None,
        "bell",
        2.0,
        "auto",
        True,
    )
    assert found.warnings == ()


def test_everything_is_read(tmp_path: Path) -> None:
    text = (
        'theme = "nord"\nnotifications = "osc9"\nfps = 0.5\nglyphs = "ascii"\nmouse = false\n'
        'model_dirs = ["/models", "mine"]\n[keys]\n"main.skip" = "w, ctrl+w"\nqueue.sort = "o"\n'
    )
    found = read(tmp_path, text)
    assert found.warnings == ()
    assert found.theme == "nord"
    assert (found.notifications, found.rate_hz, found.glyphs, found.mouse) == ("osc9", 0.5, "ascii", False)
    assert found.model_dirs == (Path("/models"), tmp_path / "mine")
    assert found.keys == {"main.skip": "w,ctrl+w", "queue.sort": "o"}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('\ntehme = "nord"', 2, 'Did you mean "theme"?'),
        ('[keys]\n"main.skp" = "w"', 2, 'Did you mean "main.skip"?'),
        ("[keys]\nleave = 3", 2, "must be keys in a string"),
        ("\n\nfps = 3", 3, "one of 5, 2, 1, 0.5, 0.2"),
        ('notifications = "bel"', 1, 'Did you mean "bell"?'),
        ("mouse = 1", 1, "true or false"),
        ("mouse = ", 1, "not TOML"),
        ("keys = 3", 1, "a table"),
    ],
)
def test_mistakes_are_said_with_their_line_and_stop_nothing(
    tmp_path: Path, text: str, line: int | None, said: str
) -> None:
    found = read(tmp_path, f"{text}\n" if text.startswith("[") else text)
    assert len(found.warnings) == 1
    assert found.warnings[0].line == line
    assert said in str(found.warnings[0])
    assert found.rate_hz == 2.0


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    assert "cannot be read" in str(load_settings(tmp_path).warnings[0])
    (tmp_path / "config.toml").write_bytes(b'theme = "\xff"')
    assert "0xff" in str(load_settings(tmp_path / "config.toml").warnings[0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        '# a comment\nfps = 1 # mine\n[keys]\nleave = "x"\n',
        'theme = "old" # dark\nfps = 1\n',
        "theme = '''old'''\n[keys]\nleave = 'x'",
        '[keys]\ntheme = "t"\n',
    ],
)
def test_saving_changes_one_setting(tmp_path: Path, text: str) -> None:
    import tomllib

    file = tmp_path / "sub" / "config.toml"
    if text:
        file.parent.mkdir()
        file.write_text(text)
    save_setting(file, "theme", 'a "quoted" # name')
    assert tomllib.loads(file.read_text()) == {**tomllib.loads(text), "theme": 'a "quoted" # name'}
    for line in text.splitlines():
        if "#" in line:
            assert line.partition("#")[2] in file.read_text()


def test_saving_spoils_no_file_that_it_does_not_understand(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    for text in ("this is not TOML", 'theme = """\na\nb"""\n'):
        file.write_text(text)
        with pytest.raises(SpecdashError, match="theme"):
            save_setting(file, "theme", "nord")
        assert file.read_text() == text
    assert [each.name for each in tmp_path.iterdir()] == ["config.toml"]


def test_a_linked_file_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("fps = 1\n")
    (tmp_path / "config.toml").symlink_to(real)
    save_setting(tmp_path / "config.toml", "theme", "nord")
    assert (tmp_path / "config.toml").is_symlink()
    assert 'theme = "nord"' in real.read_text()


def test_the_variable_names_the_file() -> None:
    assert settings_path({"SPECDASH_CONFIG": "/x/y.toml"}) == Path("/x/y.toml")
    assert settings_path({}).name == "config.toml"
