"""Keys that the user renames."""

from __future__ import annotations

import pytest

from specdash.ui.tui.keys import APP, ActionInfo, key_label, usable, with_keymap

ACTS = [
    ActionInfo(APP, "leave", "q", "leave", "Leave"),
    ActionInfo("main", "main.skip", "s", "skip", "Skip"),
    ActionInfo("queue", "queue.sort", "o", "sort", "Sort"),
]


def test_keys_that_are_free_are_had() -> None:
    keymap, problems = usable(ACTS, {"main.skip": "w,?", "queue.sort": "ctrl+o"})
    assert keymap == {"main.skip": "w,question_mark", "queue.sort": "ctrl+o"}
    assert problems == []
    assert with_keymap(ACTS, keymap)[1].keys == "w,question_mark"


def test_the_same_key_on_two_screens_is_no_conflict() -> None:
    assert usable(ACTS, {"queue.sort": "s"}) == ({"queue.sort": "s"}, [])


@pytest.mark.parametrize("wanted", [{"main.skip": "q"}, {"leave": "s"}, {"leave": "o"}])
def test_a_key_that_is_taken_is_said_and_left_out(wanted: dict[str, str]) -> None:
    keymap, problems = usable(ACTS, wanted)
    assert keymap == {}
    assert len(problems) == 1
    assert "already" in problems[0]


def test_two_actions_may_swap_their_keys() -> None:
    assert usable(ACTS, {"main.skip": "q", "leave": "s"}) == ({"main.skip": "q", "leave": "s"}, [])


@pytest.mark.parametrize(("key", "said"), [("spce", '"space"'), ("crtl+x", "no modifier"), ("blorp", "is no key")])
def test_a_key_that_is_none_is_said(key: str, said: str) -> None:
    keymap, problems = usable(ACTS, {"main.skip": f"{key},w"})
    assert keymap == {"main.skip": "w"}
    assert said in problems[0]


@pytest.mark.parametrize(
    "key", ["f5", "pageup", "ctrl+x", "shift+tab", "question_mark", "left_square_bracket", "é", "+"]
)
def test_keys_that_exist_are_taken(key: str) -> None:
    assert usable(ACTS, {"main.skip": key})[1] == []


def test_keys_are_shown_as_a_person_knows_them() -> None:
    assert [key_label(key) for key in ("question_mark", "ctrl+p", "space", "G", "shift+tab")][:3] == [
        "?",
        "^p",
        "space",
    ]
