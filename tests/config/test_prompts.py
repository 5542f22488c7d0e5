from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdash.config import prompts as prompts_package
from specdash.config.prompts import CATEGORIES, context_filler, digest, load_builtin, load_jsonl, select
from specdash.config.prompts import jsonl as jsonl_module
from specdash.config.prompts.jsonl import parse_jsonl
from specdash.core.prompts import Message, Prompt
from specdash.errors import SpecdashError

LONG_WORDS = 200


def words(prompt: Prompt) -> int:
    """Words as white space separates them, over all messages; code and tables have more tokens than that."""
    return sum(len(message.content.split()) for message in prompt.as_messages())


# -- the built-in set


def test_builtin_covers_nine_categories_with_unique_ids() -> None:
    prompts = load_builtin()
    assert tuple(dict.fromkeys(prompt.category for prompt in prompts)) == CATEGORIES
    assert len(CATEGORIES) == 9
    assert min(Counter(prompt.category for prompt in prompts).values()) >= 4
    assert len({prompt.id for prompt in prompts}) == len(prompts)
    assert len({prompt.as_text() for prompt in prompts}) == len(prompts)
    assert all(prompt.id.startswith(f"{prompt.category}-") for prompt in prompts)


@pytest.mark.parametrize("category", CATEGORIES)
def test_half_of_a_builtin_category_is_long(category: str) -> None:
    lengths = [words(prompt) for prompt in load_builtin() if prompt.category == category]
    assert sum(length >= LONG_WORDS for length in lengths) * 2 >= len(lengths)
    assert min(lengths) >= 30
    assert max(lengths) <= 1000, "a prompt must leave room in a context of 4096 tokens"


def test_builtin_conversations_fit_any_chat_template() -> None:
    """Some templates refuse system messages, and turns that do not alternate."""
    conversations = [prompt.messages for prompt in load_builtin() if prompt.messages is not None]
    assert len(conversations) >= 3
    for messages in conversations:
        assert [message.role for message in messages] == ["user", "assistant"] * (len(messages) // 2) + ["user"]


def test_every_builtin_file_is_loaded_and_passes_as_a_users_file() -> None:
    folder = Path(prompts_package.__file__).parent
    assert {path.stem for path in folder.glob("*.jsonl")} == set(CATEGORIES)
    for path in folder.glob("*.jsonl"):
        found, problems = load_jsonl(path)
        assert problems == []
        assert {prompt.category for prompt in found} == {path.stem}


# -- a prompt


def test_prompt_as_messages_and_as_text() -> None:
    single = Prompt("a", "x", text="Count to ten.")
    assert single.as_messages() == (Message("user", "Count to ten."),)
    assert single.as_text() == "Count to ten."
    one = Prompt("b", "x", messages=(Message("user", "Hello"),))
    assert one.as_text() == "Hello"
    turns = (Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Go"))
    several = Prompt("c", "x", messages=turns)
    assert several.as_messages() == turns
    assert several.as_text() == "system: Be brief.\n\nuser: Hi\n\nassistant: Yes?\n\nuser: Go\n\nassistant:"


@pytest.mark.parametrize("content", [{}, {"text": "a", "messages": (Message("user", "a"),)}, {"messages": ()}])
def test_prompt_needs_exactly_one_content(content: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either a text or messages"):
        Prompt("a", "x", **content)


# -- a file of the user's


def write(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), "utf-8")
    return path


def test_ids_are_made_within_the_category_around_those_given(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"category": "a", "prompt": "1"},
        {"category": "b", "prompt": "2"},
        "",
        {"category": "a", "prompt": "3"},
        {"id": "a-2", "category": "a", "messages": [{"role": "user", "content": "4"}]},
        {"category": "a", "prompt": "5"},
    )
    prompts, problems = load_jsonl(path)
    assert problems == []
    assert [prompt.id for prompt in prompts] == ["a-1", "b-1", "a-3", "a-2", "a-4"]
    assert prompts[3] == Prompt("a-2", "a", (Message("user", "4"),), None)


def test_every_problem_is_found_at_once(tmp_path: Path) -> None:
    good = {"category": "a", "prompt": "x"}
    path = write(
        tmp_path,
        {"category": "a", "prompt": "fine", "id": "one"},
        '{"category": "a", "prompt": ',
        {"prompt": "no category"},
        {"category": "a"},
        good | {"messages": [{"role": "user", "content": "x"}]},
        {"category": 7, "prompt": ["x"]},
        good | {"promt": "x"},
        good | {"id": "one"},
        "[1, 2]",
        {"category": "a", "messages": []},
        {"category": "a", "messages": [{"role": "usr", "content": "x"}, {"role": "user"}, "x"]},
        {"category": "a", "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
        {"category": "a", "prompt": " \n"},
        '{"category": "a", "category": "b", "prompt": "x"}',
        '{"category": "a", "prompt": "\\ud800"}',
        {"category": "a\x1b[31m", "prompt": "x"},
        "[" * 100_000,
        '{"category": "a", "prompt": "x", "id": 1' + "0" * 5000 + "}",
        {"category": "a", "messages": [{"role": "user", "content": "x", "name": "y"}]},
    )
    prompts, problems = load_jsonl(path)
    assert {problem.where for problem in problems} == {str(path)}
    found = {(problem.line, problem.key) for problem in problems}
    assert found == {
        (2, ""),
        (3, "category"),
        (4, ""),
        (5, ""),
        (6, "category"),
        (6, "prompt"),
        (7, "promt"),
        (8, "id"),
        (9, ""),
        (10, "messages"),
        (11, "messages[0].role"),
        (11, "messages[1].content"),
        (11, "messages[2]"),
        (12, "messages[1].role"),
        (13, "prompt"),
        (14, "category"),
        (15, "prompt"),
        (16, "category"),
        (17, ""),
        (18, ""),
        (19, "messages[0].name"),
    }
    said = {(problem.line, problem.key): str(problem) for problem in problems}
    assert 'Did you mean "prompt"?' in said[7, "promt"]
    assert 'Did you mean "user"?' in said[11, "messages[0].role"]
    assert "line 1" in said[8, "id"]
    assert "found a number" in said[6, "category"]
    assert "both prompt and messages" in said[5, ""]
    assert not any("\x1b" in text for text in said.values())
    assert prompts[0].text == "fine"


def one_problem(path: Path) -> str:
    prompts, problems = load_jsonl(path)
    assert prompts == ()
    assert len(problems) == 1
    return str(problems[0])


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (b"", None, "has no prompts"),
        (b"\n \n\n", None, "has no prompts"),
        (b'[\n{"category": "a", "prompt": "x"}\n]\n', None, "one JSON array"),
        (b'{"category": "a", "prompt": "x"}\n{"category": "a", "prompt": "\xe4"}\n', 2, "byte 0xe4"),
        (b'\xef\xbb\xbf\n{"category": "\xe4"', 2, "byte 0xe4"),
        (b"\x00GGUF", 1, "not JSON"),
    ],
)
def test_not_a_file_of_prompts(tmp_path: Path, content: bytes, line: int | None, said: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(content)
    place = str(path) if line is None else f"{path}:{line}"
    problem = one_problem(path)
    assert problem.startswith(f"{place}: ")
    assert said in problem


def test_a_path_that_cannot_be_read(tmp_path: Path) -> None:
    assert "no such file" in one_problem(tmp_path / "none.jsonl")
    assert "is a folder" in one_problem(tmp_path)
    assert "not a regular file" in one_problem(Path("/dev/zero"))
    assert "\n" not in one_problem(tmp_path / "two\nlines\x1b.jsonl")


def test_a_file_too_large_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl_module, "LARGEST_FILE_BYTES", 2**20)
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as file:
        file.truncate(2**40)
    assert "more than 1 MiB" in one_problem(path)


def test_many_problems_end_in_a_count(tmp_path: Path) -> None:
    _, problems = load_jsonl(write(tmp_path, *["nonsense"] * 5000))
    assert len(problems) == 101
    assert "4900 more problems" in str(problems[-1])


def test_bom_crlf_and_odd_separators_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes('\ufeff{"category": "a", "prompt": "x\u2028y"}\r\n{"category": "a", "prompt": "z"}'.encode())
    prompts, problems = load_jsonl(path)
    assert problems == []
    assert [prompt.text for prompt in prompts] == ["x\u2028y", "z"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
ENTRY = st.dictionaries(st.sampled_from(["id", "category", "prompt", "messages", "role"]), JSON)


@given(st.lists(ENTRY | JSON, max_size=4))
def test_any_json_gives_prompts_or_problems(entries: list[Any]) -> None:
    prompts, problems = parse_jsonl("\n".join(json.dumps(entry) for entry in entries), "f")
    assert problems or len(prompts) == len(entries) > 0
    for problem in problems:
        str(problem).encode("utf-8")
        assert str(problem).isprintable()


# -- choosing and naming


def test_select_keeps_the_order_of_the_prompts() -> None:
    prompts = load_builtin()
    assert select(prompts, "all") == prompts
    some = select(prompts, ["math", "coding"])
    assert list(dict.fromkeys(prompt.category for prompt in some)) == ["coding", "math"]
    with pytest.raises(SpecdashError, match='Did you mean "coding"'):
        select(prompts, ["codign"])


def test_digest_names_what_is_asked() -> None:
    a, b = Prompt("a", "x", text="one"), Prompt("b", "x", text="two")
    base = digest([a, b])
    assert re.fullmatch("[0-9a-f]{16}", base)
    assert base == digest((a, b))
    others = [
        [b, a],
        [a],
        [a, Prompt("b", "y", text="two")],
        [a, Prompt("c", "x", text="two")],
        [a, Prompt("b", "x", text="two ")],
        [a, Prompt("b", "x", (Message("user", "two"),))],
        [a, Prompt("b", "x", (Message("system", "two"), Message("user", "two")))],
    ]
    assert len({base, *map(digest, others)}) == len(others) + 1


# -- filler


def test_filler_is_the_same_everywhere_and_long() -> None:
    """Runs at a depth are comparable only while the filler stays as it is."""
    text = context_filler()
    assert 60_000 <= len(text) <= 61_000
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "c8f0d7fa6a757a64"
    assert "{" not in text
    assert context_filler(500) == text[: len(context_filler(500))]


def test_filler_never_repeats_a_long_stretch() -> None:
    tokens = context_filler(120_000).split()

    def repeats(length: int) -> int:
        runs = Counter(tuple(tokens[at : at + length]) for at in range(len(tokens) - length + 1))
        return sum(count - 1 for count in runs.values())

    assert repeats(50) == 0
    assert repeats(25) < len(tokens) / 50


def test_images_belong_to_a_prompt_and_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"png")
    file = tmp_path / "p.jsonl"
    file.write_text(
        '{"category": "vision", "prompt": "What is this?", "image": "cat.png"}\n'
        '{"category": "vision", "prompt": "And these?", "image": ["cat.png", "cat.png"]}\n'
    )
    prompts, problems = load_jsonl(file)
    assert problems == []
    assert [len(prompt.images) for prompt in prompts] == [1, 2]
    assert prompts[0].images == (tmp_path / "cat.png",)
    before = digest(prompts)
    (tmp_path / "cat.png").write_bytes(b"another")
    assert digest(prompts) != before, "another image is another prompt"
    file.write_text('{"category": "vision", "prompt": "What is this?", "image": "dog.png"}\n')
    (problem,) = load_jsonl(file)[1]
    assert (problem.line, problem.key) == (1, "image")
    assert "dog.png" in problem.what
    file.write_text('{"category": "vision", "prompt": "What is this?", "image": 3}\n')
    assert "must be the path of an image" in load_jsonl(file)[1][0].what
