"""Steps listed one by one in a profile, and edited queues written as profiles that say the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdash.config.load import CheckResult, check_profile
from specdash.config.prompts import CATEGORIES
from specdash.config.queue_profile import edited, measured_categories, profile_text
from specdash.core.commands import NewModel
from specdash.core.plan import Step, iterations_of, steps_of
from specdash.core.profile import EngineConfig, Limits, Measure, ModelRef, Profile, ServerConfig, Sweep
from specdash.core.status import StepStatus
from specdash.core.step_state import StepState
from specdash.errors import SpecdashError

HEAD = """\
[[targets]]
label = "T"
path = "t.gguf"
[[drafts]]
label = "D"
path = "d.gguf"
"""


def profile(folder: Path, **changes: object) -> Profile:
    def ref(label: str) -> ModelRef:
        return ModelRef(label, folder / f"{label}.gguf")

    made = Profile(
        name="p",
        hardware="here",
        model_family="",
        engine=EngineConfig(program="/bin/true"),
        targets=(ref("T"), ref("T2")),
        drafts=(ref("D"), ref("D2")),
        configs=(),
        sweep=Sweep(k=(2, 4)),
        measure=Measure(categories=("coding", "math")),
        limits=Limits(),
        results_dir=folder / "results",
        source=folder / "p.toml",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def read(folder: Path, text: str) -> CheckResult:
    (folder / "read.toml").write_text(text, encoding="utf-8")
    return check_profile(folder / "read.toml")


def loaded(folder: Path, text: str) -> Profile:
    result = read(folder, text)
    assert result.problems == []
    assert result.profile is not None
    return result.profile


def steps(of: Profile) -> tuple[Step, ...]:
    return steps_of(of, {}, measured_categories(of))


def views(of: Profile) -> list[StepState]:
    return [StepState(step) for step in steps(of)]


def told(result: CheckResult) -> list[str]:
    return [f"{problem.line} {problem.key}: {problem.what}" for problem in result.problems]


# -- reading ---------------------------------------------------------------------------------------------------


def test_a_queue_is_the_list_of_steps_in_its_order(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        HEAD + '[measure]\ncategories = ["coding", "math"]\n'
        '[[queue]]\ntarget = "T"\ndraft = "D"\nk = [8, 2]\ndepth = [0, 4096]\ncategories = ["math"]\n'
        '[[queue]]\ntarget = "T"\niterations = 3\n',
    )
    assert [(step.draft, step.k, step.depth, step.category) for step in steps(found)] == [
        ("D", 8, 0, "math"),
        ("D", 8, 4096, "math"),
        ("D", 2, 0, "math"),
        ("D", 2, 4096, "math"),
        (None, None, 0, "coding"),
        (None, None, 0, "math"),
    ]
    assert iterations_of(found, ("coding", "math")) == {"T | baseline | coding": 3, "T | baseline | math": 3}
    assert found.depths == (0, 4096)
    assert found.sweep == Sweep()


def test_a_copy_is_a_step_of_its_own(tmp_path: Path) -> None:
    found = loaded(tmp_path, HEAD + '[[queue]]\ntarget = "T"\n[[queue]]\ntarget = "T"\ncopy = 1\n')
    assert [step.copy for step in steps(found)] == [0] * 9 + [1] * 9


def test_the_label_of_a_pattern_stands_for_all_its_files(tmp_path: Path) -> None:
    for name in ("x1.gguf", "x2.gguf"):
        (tmp_path / name).touch()
    text = HEAD.replace("d.gguf", "x*.gguf") + '[[queue]]\ntarget = "T"\ndraft = "D"\nk = [4]\n'
    assert [entry.draft for entry in loaded(tmp_path, text).queue] == ["D x1", "D x2"]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ('target = "U"', '8 queue[0].target: no target is called "U"'),
        ("copy = 1", "7 queue[0]: has no target"),
        ('target = "T"\ndraft = "E"\nk = [4]', '9 queue[0].draft: no draft is called "E"'),
        ('target = "T"\ndraft = "D"', "7 queue[0]: drafts and has no K"),
        ('target = "T"\ndraft = "D"\nk = []', "10 queue[0].k: drafts and has no K"),
        ('target = "T"\nk = [4]', "9 queue[0].k: needs a draft"),
        ('target = "T"\nk = "auto"', '9 queue[0].k: must be a list of whole numbers; found "auto"'),
        ('target = "T"\ncategories = ["codin"]', '9 queue[0].categories[0]: unknown: "codin"'),
        ('target = "T"\ncategories = []', '9 queue[0].categories: must be "all" or a list with at least one category'),
        ('target = "T"\nconfig = "c"', '9 queue[0].config: no configuration is called "c"'),
        ('target = "T"\niterations = 0', "9 queue[0].iterations: must be a whole number, 1 to 10000; found 0"),
        ('target = "T"\nmoe_experts = 0', "9 queue[0].moe_experts: must be a whole number, 1 or more; found 0"),
        ('target = "T"\ncopy = -1', "9 queue[0].copy: must be a whole number, 0 or more; found -1"),
        ('target = "T"\nkk = [4]', "9 queue[0].kk: unknown key"),
        ('target = "T"\n[sweep]\nk = [4]', "9 sweep: is a matrix of steps, but [[queue]] lists them one by one"),
        (
            'target = "T"\ncategories = ["math"]\n[[queue]]\ntarget = "T"',
            '10 queue[1]: "T | baseline | math" is listed in queue[0] already',
        ),
    ],
)
def test_what_is_wrong_with_an_entry_is_told_with_its_line(tmp_path: Path, entry: str, problem: str) -> None:
    (found,) = told(read(tmp_path, f"{HEAD}[[queue]]\n{entry}\n"))
    assert found.startswith(problem)


def test_an_empty_list_is_no_queue(tmp_path: Path) -> None:
    assert told(read(tmp_path, f"queue = []\n{HEAD}")) == ["1 queue: lists no step"]


def test_entries_need_a_config_where_there_are_some(tmp_path: Path) -> None:
    text = HEAD + '[[configs]]\nlabel = "c"\n[[queue]]\ntarget = "T"\n'
    assert told(read(tmp_path, text)) == ["9 queue[0]: has no config"]


def test_a_k_that_no_answer_has_room_for_is_told(tmp_path: Path) -> None:
    text = HEAD + '[measure]\nmax_tokens = 16\n[[queue]]\ntarget = "T"\ndraft = "D"\nk = [40]\n'
    assert [warning.key for warning in read(tmp_path, text).warnings] == ["queue"]


# -- writing ---------------------------------------------------------------------------------------------------


def test_an_unedited_matrix_is_written_as_one(tmp_path: Path) -> None:
    made = profile(tmp_path)
    again = loaded(tmp_path, profile_text(edited(made, views(made))))
    assert again == replace(made, sweep=replace(made.sweep, k=(2, 4)))


def test_a_k_added_everywhere_is_still_a_matrix(tmp_path: Path) -> None:
    made = profile(tmp_path)
    wanted = steps(replace(made, sweep=Sweep(k=(2, 4, 16))))
    text = profile_text(edited(made, [StepState(step, iterations=7) for step in wanted]))
    again = loaded(tmp_path, text)
    assert "\n[[queue]]" not in text
    assert (steps(again), again.sweep.k, again.measure.iterations) == (wanted, (2, 4, 16), 7)


def test_a_target_that_was_removed_is_gone_from_the_matrix(tmp_path: Path) -> None:
    made = profile(tmp_path)
    kept = [view for view in views(made) if view.step.target == "T2" and view.step.draft != "D"]
    again = loaded(tmp_path, profile_text(edited(made, kept)))
    assert again.queue == ()
    assert ([t.label for t in again.targets], [d.label for d in again.drafts]) == (["T2"], ["D2"])
    assert steps(again) == tuple(view.step for view in kept)


def test_baselines_alone_are_a_matrix(tmp_path: Path) -> None:
    made = profile(tmp_path)
    kept = [view for view in views(made) if view.step.draft is None]
    again = loaded(tmp_path, profile_text(edited(made, kept)))
    assert (again.sweep.methods, again.queue) == ((), ())
    assert steps(again) == tuple(view.step for view in kept)


def test_what_is_no_matrix_is_listed(tmp_path: Path) -> None:
    made = profile(tmp_path)
    queue = views(made)
    wanted = [queue[9], *queue[:4], StepState(replace(queue[3].step, copy=1), iterations=9)]
    again = loaded(tmp_path, profile_text(edited(made, wanted)))
    assert steps(again) == tuple(view.step for view in wanted)
    assert iterations_of(again, measured_categories(again)) == {wanted[-1].step.id: 9}


def test_neighbours_share_an_entry(tmp_path: Path) -> None:
    made = profile(tmp_path, measure=Measure())
    queue = views(made)
    entries = edited(made, queue[9:] + queue[:9]).queue
    assert len(entries) == 6
    assert {entry.categories for entry in entries} == {"all"}
    assert entries[0].k == (2, 4)


def test_experts_are_listed_since_a_matrix_of_them_depends_on_the_model(tmp_path: Path) -> None:
    made = profile(tmp_path)
    wanted = [replace(view, step=view.step.with_values(moe_experts=4)) for view in views(made)]
    again = loaded(tmp_path, profile_text(edited(made, wanted)))
    assert steps(again) == tuple(view.step for view in wanted)
    assert again.asked("moe_experts") == (4,)


def test_what_was_switched_off_is_left_out_and_what_cannot_be_measured_is_not(tmp_path: Path) -> None:
    made = profile(tmp_path)
    queue = views(made)
    queue[0] = replace(queue[0], status=StepStatus.SKIPPED, by_user=True)
    queue[1] = replace(queue[1], status=StepStatus.SKIPPED)
    assert steps(edited(made, queue)) == tuple(view.step for view in queue[1:])


def test_nothing_is_no_profile(tmp_path: Path) -> None:
    made = profile(tmp_path)
    with pytest.raises(SpecdashError, match="every step of this queue is switched off"):
        edited(made, [StepState(steps(made)[0], StepStatus.SKIPPED, by_user=True)])


def test_new_models_come_along(tmp_path: Path) -> None:
    made = profile(tmp_path)
    added = steps(made)[-1].with_values(draft="New", k=3)
    models = [NewModel("New", "draft", str(tmp_path / "new.gguf")), NewModel("D", "draft", "/elsewhere.gguf")]
    again = loaded(tmp_path, profile_text(edited(made, [StepState(added)], models)))
    assert steps(again) == (added,)
    assert [(draft.label, draft.path) for draft in again.drafts] == [("New", tmp_path / "new.gguf")]


STEP = st.builds(
    Step.of,
    target=st.sampled_from(["T", "T2"]),
    draft=st.sampled_from([None, "D", "D2"]),
    method=st.just("draft"),
    config=st.sampled_from(["c1", "c2"]),
    moe_experts=st.sampled_from([None, None, 4]),
    k=st.sampled_from([2, 4]),
    workload=st.just("content"),
    category=st.sampled_from(CATEGORIES[:3]),
    depth=st.sampled_from([0, 1000]),
    copy=st.sampled_from([0, 0, 1]),
)


@given(found=st.lists(st.tuples(STEP, st.sampled_from([None, 5, 7])), min_size=1, max_size=40))
def test_what_is_saved_is_checked_and_gives_the_same_steps(
    tmp_path_factory: pytest.TempPathFactory, found: list[tuple[Step, int | None]]
) -> None:
    folder = tmp_path_factory.mktemp("saved")
    made = profile(
        folder,
        configs=(ServerConfig("c1"), ServerConfig("c2", ("-x",))),
        measure=Measure(categories=CATEGORIES[:3], iterations=5),
    )
    sound = {
        step: count
        for each, count in found
        for step in [each if each.draft else each.with_values(method="baseline", k=None)]
    }
    again = loaded(folder, profile_text(edited(made, [StepState(step, iterations=n) for step, n in sound.items()])))
    assert steps(again) == tuple(sound)
    counts = iterations_of(again, measured_categories(again))
    assert [counts.get(step.id, again.measure.iterations) for step in sound] == [n or 5 for n in sound.values()]


# -- methods without a draft model ----------------------------------------------------------------------------------


def methods_profile(folder: Path) -> Profile:
    sweep = Sweep(methods=("draft", "ngram-simple", "mtp"), lists={"ngram_n": (2, 4)}, k=(2, 4))
    return profile(folder, targets=(ModelRef("T", folder / "T.gguf"),), sweep=sweep)


def test_a_matrix_of_methods_comes_back_as_one(tmp_path: Path) -> None:
    before = methods_profile(tmp_path)
    again = edited(before, views(before))
    assert again.queue == ()
    assert (again.sweep.methods, again.sweep.listed("ngram_n")) == (("draft", "ngram-simple", "mtp"), (2, 4))
    assert steps(again) == steps(before)
    assert steps(loaded(tmp_path, profile_text(again))) == steps(before)


def test_methods_that_are_no_matrix_any_more_are_listed_with_their_sizes(tmp_path: Path) -> None:
    before = methods_profile(tmp_path)
    kept = [found for found in views(before) if (found.step.value("ngram_n"), found.step.k) != (2, 4)]
    again = edited(before, kept)
    assert {(entry.method, entry.values.get("ngram_n")) for entry in again.queue} == {
        ("baseline", None), ("draft", None), ("ngram-simple", 2), ("ngram-simple", 4), ("mtp", None),
    }  # fmt: skip
    assert steps(loaded(tmp_path, profile_text(again))) == tuple(found.step for found in kept)


def test_a_queue_without_any_draft_leaves_the_drafts_alone(tmp_path: Path) -> None:
    before = methods_profile(tmp_path)
    kept = [found for found in views(before) if found.step.draft is None]
    again = edited(before, kept)
    assert (again.queue, again.sweep.methods) == ((), ("ngram-simple", "mtp"))
    assert steps(loaded(tmp_path, profile_text(again))) == tuple(found.step for found in kept)
