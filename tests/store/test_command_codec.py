"""Commands on the wire: they come back as they were sent, and nothing else is understood."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdash.core import commands as cmd
from specdash.core.commands import BadCommand, Command
from specdash.store.codec import decode_command, decode_edit, encode_command, encode_edit
from tests.support.recorded_run import step

LABELS = st.text(st.characters(categories=["L", "N"], include_characters=' +-_."|'), max_size=9).filter(str.strip)
IDS = st.lists(st.text(max_size=20), max_size=4).map(tuple)
STEPS = st.lists(st.builds(step, k=st.sampled_from([None, 4]), category=LABELS), max_size=3).map(tuple)
MODELS = st.lists(
    st.builds(cmd.NewModel, LABELS, st.sampled_from(["target", "draft"]), st.text(min_size=1)), max_size=2
).map(tuple)
BEFORE = st.none() | st.text(max_size=20)
COUNT = st.integers(1, cmd.MOST_SAMPLES)
EDITS = st.one_of(
    st.builds(cmd.Skip, IDS),
    st.builds(cmd.Reopen, IDS),
    st.builds(cmd.Remove, IDS),
    st.builds(cmd.Move, IDS, BEFORE),
    st.builds(cmd.Add, STEPS, BEFORE, MODELS, st.none() | COUNT),
    st.builds(cmd.SetIterations, IDS, COUNT),
)
COMMANDS = st.one_of(
    st.builds(Command, st.sampled_from(sorted(cmd.NAMES - {cmd.EDIT}))),
    st.builds(Command, st.just(cmd.EDIT), st.lists(EDITS, min_size=1, max_size=4).map(tuple)),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(command=COMMANDS)
def test_a_command_comes_back_as_it_was_sent(command: Command) -> None:
    assert decode_command(json.loads(json.dumps(encode_command(command)))) == command


@given(body=st.dictionaries(st.sampled_from(["command", "edits"]) | st.text(), JSON))
def test_garbage_is_a_bad_command(body: dict[str, Any]) -> None:
    with pytest.raises(BadCommand) as raised:
        decode_command(body)
    assert len(str(raised.value)) < 500


@given(edit=EDITS, key=st.text(max_size=9), value=JSON, data=st.data())
def test_a_damaged_edit_is_understood_or_refused(edit: cmd.Edit, key: str, value: object, data: st.DataObject) -> None:
    body = encode_edit(edit)
    body[data.draw(st.sampled_from([*body, key]))] = value
    try:
        assert isinstance(decode_edit(body), cmd.Edit)
    except BadCommand as error:
        told = error
    else:
        return
    assert len(str(told)) < 500


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({}, "there is no command 'None'"),
        ({"command": ["pause"]}, "there is no command"),
        ({"command": "rm"}, "there is no command 'rm'"),
        ({"command": "edit"}, "edits must be a list"),
        ({"command": "edit", "edits": []}, "edits must be a list"),
        ({"command": "pause", "edits": [{"edit": "skip", "steps": []}]}, "edits must be a list"),
        ({"command": "edit", "edits": [{"edit": ["skip"]}]}, "an edit needs a type: skip, reopen"),
        ({"command": "edit", "edits": [{"edit": "skip"}]}, "skip: "),
        ({"command": "edit", "edits": [{"edit": "skip", "steps": "abc"}]}, "skip: Expected `array`, got `str`"),
        (
            {"command": "edit", "edits": [{"edit": "skip", "steps": [1]}]},
            "skip: Expected `str`, got `int` - at `$.steps[0]`",
        ),
        (
            {"command": "edit", "edits": [{"edit": "move", "steps": [], "before": 1}]},
            "move: Expected `str | null`, got `int` - at `$.before`",
        ),
        (
            {"command": "edit", "edits": [{"edit": "iterations", "steps": [], "iterations": None}]},
            "iterations: Expected `int`, got `null` - at `$.iterations`",
        ),
        (
            {"command": "edit", "edits": [{"edit": "iterations", "steps": [], "iterations": True}]},
            "iterations: Expected `int`, got `bool` - at `$.iterations`",
        ),
        ({"command": "edit", "edits": [{"edit": "add", "steps": [{"target": 1}]}]}, "a step's target cannot be '1'"),
        ({"command": "edit", "edits": [{"edit": "add", "steps": [{"k": 2**40}]}]}, "a step's k cannot be"),
        ({"command": "edit", "edits": [{"edit": "add", "steps": [{"k": -1}]}]}, "a step's k cannot be '-1'"),
        ({"command": "edit", "edits": [{"edit": "add", "steps": [{"argv": "x"}]}]}, "a step has no 'argv'"),
        (
            {"command": "edit", "edits": [{"edit": "add", "steps": [], "models": [{"label": "x"}]}]},
            "missing required field `role` - at",
        ),
        (
            {"command": "edit", "edits": [{"edit": "add", "steps": [], "models": [["x"]]}]},
            "add: Expected `object`, got `array` - at `$.models[0]`",
        ),
        (
            {
                "command": "edit",
                "edits": [{"edit": "add", "steps": [], "models": [{"label": "x", "role": "y", "path": "z"}]}],
            },
            "a model's role is target or draft, not 'y'",
        ),
    ],
)
def test_what_is_wrong_is_said(body: dict[str, Any], why: str) -> None:
    with pytest.raises(BadCommand) as raised:
        decode_command(body)
    assert why in str(raised.value)
