"""The queue editor: what is staged, what it would do, and what of it reaches the run."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from specdash.config.load import load_profile
from specdash.config.queue_profile import measured_categories
from specdash.config.write import dump_profile
from specdash.core import commands as cmd
from specdash.core import events as ev
from specdash.core.plan import Step, steps_of
from specdash.core.profile import EngineConfig, Limits, Measure, ModelRef, Profile, Sweep
from specdash.core.queue import IllegalEdit
from specdash.core.state import RunState
from specdash.errors import StoreError
from specdash.remote.feed import fold_event
from specdash.remote.run_source import Gone, Origin
from specdash.ui.tui.app import Dashboard
from specdash.ui.tui.discovery import DiscoveredModel
from specdash.ui.tui.queue_editor import edit_actions, table
from specdash.ui.tui.queue_editor.addable_models import offers, unfit_pairs
from specdash.ui.tui.queue_editor.staging import (
    Effect,
    Staged,
    change_of,
    rebased,
    redo,
    stage,
    staged_on,
    staged_rows,
    undo,
)
from specdash.ui.tui.queue_editor.table import in_words
from specdash.ui.tui.terminal import ASCII, Terminal
from tests.support.dashboards import SIZES, ScriptedSource, dashboard, finished, screen_text
from tests.support.recorded_run import DRAFT, TARGET, folded, loaded, measured, recorded, sample, started, step

STEPS = [step(k, category) for k in (None, 4, 8, 16) for category in ("coding", "math", "creative")]
(B_CODE, B_MATH, B_ART, K4_CODE, K4_MATH, K4_ART, K8_CODE, K8_MATH, K8_ART, *K16) = STEPS
FOUND = [
    DiscoveredModel(
        "/m/t.gguf", "t", size_bytes=40 * 2**30, vocabulary="qwen2, 152,064 tokens", drafts=("/m/d.gguf", "/m/n.gguf")
    ),
    DiscoveredModel("/m/d.gguf", "d", size_bytes=2**29, vocabulary="qwen2, 152,064 tokens"),
    DiscoveredModel(
        "/m/n.gguf", "Qwen 1.5B", size_bytes=2**30, model_class="dense-small", vocabulary="qwen2, 152,064 tokens"
    ),
    DiscoveredModel("/m/l.gguf", "Llama 1B", size_bytes=2**30, vocabulary="llama-bpe, 128,256 tokens"),
    DiscoveredModel("/m/b.gguf", "broken [bold]", problem="the file is cut short"),
]


def facts(scope: str = "startup") -> list[ev.Fact]:
    """A run in the midst: baselines done, one failed, K 4 at work, the rest queued, one load for each K."""
    return [
        started(STEPS),
        ev.EngineFound("llama-server", "/bin/llama-server", "b1", "new", scope),
        ev.ModelRead(TARGET, "target", "/m/t.gguf", 40 * 2**30, "qwen2", "Q8_0", "dense-large"),
        ev.ModelRead(DRAFT, "draft", "/m/d.gguf", 2**29, "qwen2", "Q8_0", "dense-small"),
        *loaded(),
        *measured(B_CODE, [10, 10.2, 10.1, 10, 9.9]),
        *measured(B_MATH, [10, 10.2, 10.1, 10, 9.9]),
        *measured(B_ART, [10.0], "failed"),
        ev.LoadFinished("l001", "stopped"),
        *loaded("l002", 4)[:2],
        ev.StepStarted(K4_CODE.id, "l002", "fp"),
        ev.SampleTaken(K4_CODE.id, "l002", sample(20.0, 0, 4), 3.0),
    ]


def view(scope: str = "startup") -> RunState:
    return folded(facts(scope))


async def find() -> list[DiscoveredModel]:
    return FOUND


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    yield
    os.chdir(before)


def edits_of(app: Dashboard) -> tuple[cmd.Edit, ...]:
    edits: tuple[cmd.Edit, ...] = app.screen_stack[-1].staged.edits  # type: ignore[attr-defined]
    return edits


# -- staging ---------------------------------------------------------------------------------------------------


def test_what_edits_do_is_known_before_they_are_applied() -> None:
    staged = stage(staged_on(view()), [cmd.Skip(tuple(each.id for each in K16))])
    assert staged.effect.loads == -1
    assert staged.effect.time_s is not None
    assert staged.effect.time_s < 0
    assert in_words(staged.effect).startswith("1 load fewer, -")
    assert staged.base.steps[K16[0].id].status == "open"


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        (Effect(-2, -216.0), "2 loads fewer, -3m36"),
        (Effect(1, 45.0), "1 load more, +45s"),
        (Effect(0, 0.0), "same time"),
        (Effect(0, None), "time unknown"),
    ],
)
def test_an_effect_in_words(effect: Effect, words: str) -> None:
    assert in_words(effect) == words


def test_undo_and_redo() -> None:
    first = stage(staged_on(view()), [cmd.Skip((K8_CODE.id,))])
    both = stage(first, [cmd.Remove((K8_MATH.id,))])
    assert undo(both).steps == first.steps
    assert redo(undo(both)).steps == both.steps
    assert undo(undo(both)).steps == view().steps
    assert stage(undo(both), [cmd.Skip((K8_ART.id,))]).undone == ()


def test_an_illegal_edit_says_why_and_changes_nothing() -> None:
    staged = staged_on(view())
    with pytest.raises(IllegalEdit, match="is running"):
        stage(staged, [cmd.Remove((K4_CODE.id,))])
    with pytest.raises(IllegalEdit, match="changes nothing"):
        stage(staged, [cmd.Move((K8_CODE.id,), K8_MATH.id)])


def test_an_edit_that_the_run_has_overtaken_is_kept_with_the_reason_until_it_is_taken_back() -> None:
    staged = stage(staged_on(view()), [cmd.Remove((K4_MATH.id,))])
    staged = stage(staged, [cmd.Skip((K8_CODE.id,))])
    later = folded([*facts(), *measured(K4_CODE, [20.0] * 4, load="l002"), ev.StepStarted(K4_MATH.id, "l002", "fp")])
    moved_on = rebased(staged, later)
    assert moved_on.problem == f"{K4_MATH.id} is running: skip it instead"
    assert moved_on.steps[K8_CODE.id].by_user
    without = undo(moved_on)
    assert without.problem is None
    assert without.edits == (cmd.Skip((K8_CODE.id,)),)
    with pytest.raises(IllegalEdit):
        redo(without)


def test_what_would_be_removed_stays_in_its_place() -> None:
    staged = stage(staged_on(view()), [cmd.Remove((K8_CODE.id, K8_MATH.id))])
    assert staged_rows(staged) == tuple(each.id for each in STEPS)
    assert change_of(staged, K8_CODE.id) == "removed"


def test_each_change_has_a_word() -> None:
    staged = staged_on(view())
    for edits in (
        [cmd.Skip((K8_CODE.id,))],
        [cmd.Reopen((B_ART.id,))],
        [cmd.SetIterations((K8_MATH.id,), 9)],
        [cmd.SetIterations((B_CODE.id,), 9)],
        [cmd.Add((step(2),))],
        [cmd.Move((K16[0].id,), K8_MATH.id)],
    ):
        staged = stage(staged, edits)
    changes = [change_of(staged, each.id) for each in (K8_CODE, B_ART, K8_MATH, B_CODE, step(2), K16[0], K4_CODE)]
    assert changes == ["switched off", "measured again", "samples 5 > 9", "more samples", "new", "moved", None]


# -- what keys mean --------------------------------------------------------------------------------------------


def order(edits: tuple[cmd.Edit, ...]) -> list[str]:
    staged = stage(staged_on(view()), edits)
    return [f"k{found.step.k} {found.step.category}" for found in staged.steps.values() if found.status == "open"]


def test_a_step_goes_past_its_neighbour_or_past_a_whole_server() -> None:
    from specdash.core.plan import KScope

    steps = view().steps
    down = edit_actions.shifted(steps, (K8_CODE.id,), True, KScope.STARTUP)
    assert order(down)[2:5] == ["k8 math", "k8 coding", "k8 creative"]
    past = edit_actions.shifted(steps, (K8_ART.id,), True, KScope.STARTUP)
    assert order(past)[2:5] == ["k16 coding", "k16 math", "k16 creative"]
    up = edit_actions.shifted(steps, (K16[0].id,), False, KScope.STARTUP)
    assert order(up)[2:5] == ["k16 coding", "k16 math", "k16 creative"]
    with pytest.raises(IllegalEdit, match="the first one"):
        edit_actions.shifted(steps, (K4_MATH.id,), False, KScope.STARTUP)
    with pytest.raises(IllegalEdit, match="the last one"):
        edit_actions.shifted(steps, (K16[2].id,), True, KScope.STARTUP)


def test_another_k_takes_the_place_of_a_step() -> None:
    edits = edit_actions.changed(view().steps, (K8_CODE.id, K8_MATH.id), (6, 8), None)
    assert order(edits)[2:7] == ["k8 coding", "k8 math", "k8 creative", "k6 coding", "k6 math"]
    edits = edit_actions.changed(view().steps, (K8_CODE.id, K8_MATH.id, K8_ART.id), (6,), 9)
    assert order(edits)[2:5] == ["k6 coding", "k6 math", "k6 creative"]
    staged = stage(staged_on(view()), edits)
    assert staged.steps[K8_CODE.with_values(k=6).id].iterations == 9


@pytest.mark.parametrize(
    ("ids", "ks", "iterations", "why"),
    [
        ((B_CODE.id,), (4,), None, "a baseline has no K"),
        ((K8_CODE.id,), (8,), None, "that is their K already"),
        ((K8_CODE.id,), (), None, "nothing is changed"),
        ((K4_CODE.id,), (2,), None, "the running step is locked"),
        ((), (2,), None, "there is no step to edit"),
    ],
)
def test_a_change_that_makes_no_sense(
    ids: tuple[str, ...], ks: tuple[int, ...], iterations: int | None, why: str
) -> None:
    with pytest.raises(IllegalEdit, match=why):
        edit_actions.changed(view().steps, ids, ks, iterations)


def test_ks_as_text() -> None:
    assert edit_actions.parsed_ks(" 8, 2 8,4,") == (8, 2, 4)
    assert edit_actions.parsed_ks("") == ()
    for text in ("0", "x", "2,-1", "1.5", "9" * 5000, "٣"):
        with pytest.raises(ValueError, match="is no K"):
            edit_actions.parsed_ks(text)
    with pytest.raises(ValueError, match="is no number of samples"):
        edit_actions.parsed_samples("many")


def test_a_matrix_leaves_out_what_is_there_and_what_cannot_work() -> None:
    matrix = edit_actions.Matrix(
        (TARGET,),
        (edit_actions.Drafter(), edit_actions.Drafter(DRAFT, "draft"), edit_actions.Drafter("L", "draft")),
        (8, 32),
        categories=("coding",),
        unfit=frozenset({(TARGET, "L")}),
    )
    new, taken = edit_actions.matrix_steps(matrix, view().steps)
    assert ([each.k for each in new], taken) == ([32], 2)
    copies, _ = edit_actions.matrix_steps(replace(matrix, as_copies=True, ks=(8,)), view().steps)
    assert [(each.k, each.copy) for each in copies] == [(None, 1), (8, 1)]


def test_models_are_offered_once_and_unfit_pairs_are_known() -> None:
    targets, drafts = offers(view(), FOUND, "target"), offers(view(), FOUND, "draft")
    assert [(row.label, row.is_new) for row in drafts] == [
        (DRAFT, False), (TARGET, True), ("Llama 1B", True), ("Qwen 1.5B", True), ("broken [bold]", True)
    ]  # fmt: skip
    assert unfit_pairs(view(), targets, drafts)[TARGET, "Llama 1B"] == "another vocabulary"
    assert (TARGET, "Qwen 1.5B") not in unfit_pairs(view(), targets, drafts)


def test_a_found_model_gets_a_label_of_its_own() -> None:
    other = DiscoveredModel("/other/place.gguf", DRAFT, size_bytes=1)
    assert offers(view(), [other], "draft")[-1].label == f"other {DRAFT}"


# -- the screen ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_it_looks_like_this(size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with dashboard(ScriptedSource(facts()), size=size, show="queue") as (app, pilot):
        app.clock = lambda: 1795255260.0
        await pilot.press("x", "down", "down", "J", "end", "D", "y", "k", "space", "r")
        app.paint_now()
        await pilot.pause()
        assert screen_text(app) == snapshot


async def test_the_dialog_to_add_steps_looks_like_this(snapshot: SnapshotAssertion) -> None:
    async with dashboard(ScriptedSource(facts()), show="queue") as (app, pilot):
        app.find_models = find  # type: ignore[method-assign]
        await pilot.press("a")
        await finished(pilot)
        await pilot.press("tab", "end", "up")
        await pilot.pause()
        assert screen_text(app) == snapshot


@pytest.mark.parametrize("size", [(1, 1), (12, 3), (40, 10), (41, 11), (60, 14), (79, 23), (240, 80)])
async def test_every_size_is_drawn(size: tuple[int, int]) -> None:
    async with dashboard(ScriptedSource(facts()), size=size, show="queue", terminal=Terminal(ASCII, "none", False)) as (
        app,
        pilot,
    ):
        app.find_models = find  # type: ignore[method-assign]
        await pilot.press("x", "J", "D", "n", "a")
        await pilot.press("escape", "c")
        await pilot.press("escape", "enter")
        await pilot.pause()
        assert screen_text(app).isascii()


async def test_edits_are_applied_as_one_command() -> None:
    source = ScriptedSource(facts())
    async with dashboard(source, show="queue") as (app, pilot):
        await pilot.press("x", "G", "p", "W")
        await finished(pilot)
        await pilot.pause()
        assert source.commands == [cmd.Command(cmd.EDIT, (cmd.Skip((K4_MATH.id,)), cmd.Move((K16[2].id,), K4_ART.id)))]
        assert edits_of(app) == ()
        assert "nothing changes until you apply" in screen_text(app)


async def test_a_refused_command_stays_staged() -> None:
    source = ScriptedSource(facts(), refusal="the run is being stopped")
    async with dashboard(source, show="queue") as (app, pilot):
        await pilot.press("x", "W")
        await finished(pilot)
        await pilot.pause()
        assert "refused, and still staged: the run is being stopped" in screen_text(app)
        assert edits_of(app) == (cmd.Skip((K4_MATH.id,)),)


async def test_nothing_is_sent_without_w() -> None:
    source = ScriptedSource(facts())
    async with dashboard(source, show="queue") as (app, pilot):
        await pilot.press("x", "J", "r", "D", "y", "u", "U", "escape", "y")
        await pilot.pause()
        assert edits_of(app) == ()
        assert source.commands == []


async def test_the_running_step_is_locked() -> None:
    async with dashboard(ScriptedSource(facts()), show="queue") as (app, pilot):
        await pilot.press("k")
        for key in ("x", "J", "p", "enter"):
            await pilot.press(key)
            if key == "enter":
                await pilot.pause()
            assert "the running step is locked here" in screen_text(app)
        await pilot.press("escape")
        assert edits_of(app) == ()


async def test_what_the_run_has_overtaken_blocks_until_it_is_taken_back() -> None:
    source = ScriptedSource(facts())
    async with dashboard(source, show="queue") as (app, pilot):
        await pilot.press("D", "y")
        last = len(facts())
        later = [*facts(), *measured(K4_CODE, [20.0] * 4, load="l002"), ev.StepStarted(K4_MATH.id, "l002", "fp")]
        for fact in recorded(later)[last:]:
            app.feed = fold_event(app.feed, fact)
        app.screen._next_look_s = 0.0  # type: ignore[attr-defined]
        app.paint_now()
        await pilot.press("W")
        await pilot.pause()
        assert "this cannot be applied" in screen_text(app)
        assert source.commands == []
        await pilot.press("u")
        await pilot.pause()
        assert edits_of(app) == ()


async def test_marks_filter_and_invert() -> None:
    async with dashboard(ScriptedSource(facts()), show="queue") as (app, pilot):
        await pilot.press("slash", *"k=8 math")
        await pilot.press("enter", "i", "escape")
        await pilot.press("x")
        await pilot.pause()
        assert edits_of(app) == (cmd.Skip((K8_MATH.id,)),)
        await pilot.press("escape", "home")
        await pilot.press("shift+down", "shift+down")
        await pilot.pause()
        assert "3 marked" in screen_text(app)


async def test_another_k_from_the_dialog() -> None:
    async with dashboard(ScriptedSource(facts()), show="queue") as (app, pilot):
        await pilot.press("enter", *"6,z")
        await pilot.pause()
        assert "'z' is no K" in screen_text(app)
        await pilot.press("enter", "backspace", "tab", "backspace", "7", "enter")
        await pilot.pause()
        assert edits_of(app) == (
            cmd.Remove((K4_MATH.id,)),
            cmd.Add((K4_MATH.with_values(k=6),), K4_ART.id, iterations=7),
        )


async def test_an_unchanged_clone_is_a_copy() -> None:
    async with dashboard(ScriptedSource(facts()), show="queue") as (app, pilot):
        app.find_models = find  # type: ignore[method-assign]
        await pilot.press("c", "enter")
        await pilot.pause()
        assert edits_of(app) == (cmd.Add((replace(K4_MATH, copy=1),), K4_ART.id),)


async def test_a_found_model_comes_along_with_its_steps() -> None:
    async with dashboard(ScriptedSource(facts()), show="queue") as (app, pilot):
        app.find_models = find  # type: ignore[method-assign]
        await pilot.press("a")
        await finished(pilot)
        await pilot.press("tab", "down", "space", "end", "up", "space", "tab", "asterisk", "space")
        await pilot.press("tab", *("backspace",) * 5, "5")
        await pilot.pause()
        assert "1 step: 1 load more, +" in screen_text(app)
        await pilot.press("enter")
        await pilot.pause()
        new = Step.of(TARGET, draft="Qwen 1.5B", method="draft", k=5, category="coding")
        assert edits_of(app) == (cmd.Add((new,), None, (cmd.NewModel("Qwen 1.5B", "draft", "/m/n.gguf"),)),)


async def test_a_megabyte_pasted_into_a_field_is_cut() -> None:
    from textual import events

    async with dashboard(ScriptedSource(facts()), show="queue") as (app, pilot):
        await pilot.press("enter")
        app.screen.focused.post_message(events.Paste("9" * 1_000_000))  # type: ignore[union-attr]
        await pilot.pause()
        assert "is no K" in screen_text(app)
        await pilot.press("escape", "x")
        await pilot.pause()
        assert len(edits_of(app)) == 1


async def test_the_mouse_moves_marks_and_switches() -> None:
    async with dashboard(ScriptedSource(facts()), show="queue") as (app, pilot):
        line = next(y for y, text in enumerate(screen_text(app).splitlines()) if "8 math" in text)
        await pilot.click("#queue-body", offset=(0, line - 1))
        await pilot.pause()
        assert "1 marked" in screen_text(app)
        await pilot.click("#queue-body", offset=(6, line - 1))
        await pilot.pause()
        assert edits_of(app) == (cmd.Skip((K8_MATH.id,)),)


async def test_only_the_rows_in_view_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [
        step(k, target=f"T{t}", category=f"c{c}") for t in range(25) for k in (None, 2, 4, 8, 16) for c in range(40)
    ]
    made: list[str] = []

    def counted(staged: Staged, step_id: str) -> str | None:
        made.append(step_id)
        return change_of(staged, step_id)

    monkeypatch.setattr(table, "change_of", counted)  # it is asked once for each row that is made
    async with dashboard(ScriptedSource([started(many)]), show="queue") as (_, pilot):
        made.clear()
        await pilot.press("end")
        await pilot.pause()
        assert many[-1].id in made
        assert len(set(made)) < 24


# -- saving ----------------------------------------------------------------------------------------------------


def run_folder(folder: Path) -> Path:
    run = folder / "run"
    run.mkdir()
    made = Profile(
        name="qwen",
        hardware="here",
        model_family="",
        engine=EngineConfig(),
        targets=(ModelRef(TARGET, Path("/m/t.gguf")),),
        drafts=(ModelRef(DRAFT, Path("/m/d.gguf")),),
        configs=(),
        sweep=Sweep(k=(4, 8, 16)),
        measure=Measure(categories=("coding", "math", "creative")),
        limits=Limits(),
        results_dir=folder,
        source=run / "profile.toml",
    )
    (run / "profile.toml").write_text(dump_profile(made), encoding="utf-8")
    return run


async def test_the_queue_is_saved_as_it_would_be(tmp_path: Path) -> None:
    source = ScriptedSource(facts())
    source.origin = Origin(str(run_folder(tmp_path)), "tower", 4711, True, "0.0")
    with inside(tmp_path):
        async with dashboard(source, show="queue") as (app, pilot):
            await pilot.press("x", "w", "enter")
            await finished(pilot)
            (tmp_path / "qwen-edited.toml").write_text("mine", encoding="utf-8")
            await pilot.press("w", "enter")
            await pilot.pause()
            assert "Overwrite" in screen_text(app)
            await pilot.press("n")
            await pilot.pause()
            assert (tmp_path / "qwen-edited.toml").read_text(encoding="utf-8") == "mine"
            await pilot.press("w", "enter", "y")
            await finished(pilot)
    saved = load_profile(tmp_path / "qwen-edited.toml")
    assert [each.id for each in steps_of(saved, {}, measured_categories(saved))] == [
        each.id for each in sorted(STEPS, key=lambda each: STEPS.index(each)) if each != K4_MATH
    ]


def test_a_profile_that_cannot_be_saved_leaves_the_one_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    origin = Origin(str(run_folder(tmp_path)), "tower", 4711, True, "0.0")
    (tmp_path / "mine.toml").write_text("mine", encoding="utf-8")
    (tmp_path / "link.toml").symlink_to("mine.toml")
    queue = list(folded(facts()).steps.values())
    for name in ("mine.toml", "link.toml"):
        with monkeypatch.context() as patch:
            patch.setattr("specdash.store.disk.write_all", full)
            with pytest.raises(StoreError, match="No space left on device"):
                edit_actions.save_queue_profile(tmp_path / name, origin, queue, [])
        assert (tmp_path / "mine.toml").read_text(encoding="utf-8") == "mine"
    edit_actions.save_queue_profile(tmp_path / "link.toml", origin, queue, [])
    assert (tmp_path / "link.toml").is_symlink()
    assert load_profile(tmp_path / "mine.toml").name == "qwen"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.toml", "mine.toml", "run"]


def test_a_run_elsewhere_cannot_be_saved_from_here(tmp_path: Path) -> None:
    remote = Origin("/r", "tower", 1, False, "0.0")
    assert (
        edit_actions.reason_not_saved(remote)
        == "the profile of this run is on tower: save the queue from a dashboard there"
    )
    assert "is gone" in str(edit_actions.reason_not_saved(Origin(str(tmp_path), "here", 1, True, "0.0")))


@pytest.mark.parametrize("text", ["", "  ", "/no/such/folder/x.toml", "/tmp", "a\0b"])
def test_a_file_that_cannot_be(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        edit_actions.wanted_path(text)


def test_the_rows_of_a_table_are_found_by_words() -> None:
    assert list(table.rows(staged_on(view()), "MATH k=16").shown) == [K16[1].id]


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (
            Gone("the engine died"),
            "refused, and still staged: the engine has gone, and edits need one: specdash resume",
        ),
        (
            Gone("broken", lost=True),
            "refused, and still staged: the line to the engine is lost; attach again: specdash attach",
        ),
    ],
    ids=["died", "lost"],
)
async def test_edits_that_nobody_takes_any_more_say_so(gone: Gone, said: str) -> None:
    source = ScriptedSource(facts(), gone=gone)
    async with dashboard(source, size=(160, 36), show="queue") as (app, pilot):
        await pilot.press("x", "W")
        await pilot.pause()
        assert said in screen_text(app)
        assert edits_of(app) == (cmd.Skip((K4_MATH.id,)),)
        assert source.commands == []
