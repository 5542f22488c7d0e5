"""What the documents promise is there, and what is there is in the documents."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest

from specdash import cli
from specdash.config.fields import TomlTable
from specdash.config.load import check_profile
from specdash.config.prompts import CATEGORIES
from specdash.config.schema import every_table
from specdash.errors import Exit
from specdash.store.result_json import from_document, to_document
from tests.tools.schemas import FOLDER, SCHEMAS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PROFILE = (ROOT / "docs" / "profile.md").read_text("utf-8")


@pytest.fixture(scope="module")
def tables() -> list[TomlTable]:
    """All tables of a profile, with the keys that its reader asks them for."""
    return every_table()


def sections(text: str) -> dict[str, str]:
    """The document's sections by heading."""
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented(table: TomlTable) -> set[str]:
    """The keys in the first column of the tables under the heading that names `table`."""
    title = f"`{table.title}`" if table.title else "Top of the file"
    body = next(body for heading, body in sections(PROFILE).items() if title in heading)
    rows = re.findall(r"^\| (`.*?) \|", body, re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`(\w+)`", row)}


def test_every_key_of_the_profile_is_documented_and_no_other(tables: list[TomlTable]) -> None:
    subtables = {str(table.path[0]) for table in tables if table.path}
    assert subtables == {"engine", "targets", "drafts", "configs", "sweep", "queue", "measure", "limits", "results"}
    assert sum(len(table.asked) for table in tables) > 40
    models = {key for table in tables if table.title in ("[[targets]]", "[[drafts]]") for key in table.asked}
    for table in tables:
        if table.path[1:2] == ("stages",):
            continue  # its keys are the names of methods, and the parameters that are documented as lists
        known = set(table.asked) - (subtables if not table.path else set())
        if table.title in ("[[targets]]", "[[drafts]]"):  # one section for both, which share most keys
            assert known < documented(table) == models
        else:
            assert known == documented(table), table.title


def test_every_category_is_documented() -> None:
    row = next(line for line in PROFILE.splitlines() if line.startswith("| `categories`"))
    assert set(re.findall(r"`(\w+)`", row)) >= set(CATEGORIES)


def test_the_example_of_the_least_profile_works(tmp_path: Path) -> None:
    example = re.findall(r"```toml\n(.*?)```", PROFILE, re.DOTALL)[0]
    (tmp_path / "least.toml").write_text(example)
    assert check_profile(tmp_path / "least.toml").problems == []


def command_lines(text: str) -> list[list[str]]:
    """Every `specdash ...` in code, as words without comments."""
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()] + re.findall(r"`(specdash [^`\n]+)`", text)
    found = [line.partition("#")[0].split() for line in lines]
    return [words[1:] for words in found if words[:1] == ["specdash"] and len(words) > 1]


@pytest.mark.parametrize("text", [README, PROFILE], ids=["README.md", "profile.md"])
def test_commands_and_their_options_exist(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = command_lines(text)
    assert lines
    for name, *rest in lines:
        if name.startswith("-"):
            assert name in cli.main_parser().format_help()
            continue
        if name.endswith(".toml"):
            continue  # a profile, for the dashboard
        command = cli.COMMANDS.get(name)
        assert command is not None, name
        assert command.module is not None, f"{name} is not in this version"
        options = [word for word in rest if word.startswith("--")]
        with pytest.raises(SystemExit):
            cli.dispatch([name, "--help"])
        shown = capsys.readouterr().out
        assert [word for word in options if word not in shown] == [], name


def test_every_command_of_this_version_is_in_the_readme() -> None:
    used = {words[0] for words in command_lines(README)}
    assert {name for name, command in cli.COMMANDS.items() if command.module and not command.hidden} <= used
    assert "--headless" in used


def test_exit_codes_are_in_the_readme() -> None:
    codes = {int(code) for code in Exit} - {int(Exit.REGRESSION)}  # of a command that is not in this version
    said = README.partition("Exit codes:")[2].partition("\n\n")[0]
    assert codes <= set(map(int, re.findall(r"\d+", said)))


def test_links_and_make_targets_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.findall(r"\bmake (\w+)", " ".join(re.findall(r"`[^`]*`|```.*?```", README, re.DOTALL)))
    assert {"demo", "test"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_the_schemas_are_those_of_reader_and_types() -> None:
    for name, make in SCHEMAS.items():
        schema = json.loads((FOLDER / name).read_text("utf-8"))
        assert schema == json.loads(json.dumps(make())), "make docs"
        jsonschema.Draft202012Validator.check_schema(schema)


def test_examples_and_results_are_valid_by_their_schemas() -> None:
    profile, result = (jsonschema.Draft202012Validator(make()) for make in SCHEMAS.values())
    examples = list((ROOT / "profiles").glob("*.toml"))
    kept = list((ROOT / "tests" / "data" / "runs").glob("*/result.json"))
    assert len(examples) > 8
    assert len(kept) == 3
    for path in examples:
        assert [error.message for error in profile.iter_errors(tomllib.loads(path.read_text("utf-8")))] == [], path
    for path in kept:
        old = json.loads(path.read_text("utf-8"))
        for document in (old, to_document(from_document(old))):
            assert [error.message for error in result.iter_errors(document)] == [], path


@pytest.mark.parametrize(
    "wrong", ["[sweep]\np_min = [1.5]", "[sweep]\nk = 'fast'", "[measure]\nmax_tokens = 'many'", "[sweeps]", "name = 3"]
)
def test_what_is_no_profile_is_none_by_its_schema(wrong: str) -> None:
    profile = tomllib.loads(f"{wrong}\n[[targets]]\npath = 'a.gguf'\n")
    assert not jsonschema.Draft202012Validator(SCHEMAS["profile.schema.json"]()).is_valid(profile)


def test_the_engines_are_documented_as_they_are() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "tests.tools.engine_docs"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs" / "engines.md").read_text("utf-8") == made.stdout, "make docs"
