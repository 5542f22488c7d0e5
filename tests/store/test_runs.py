"""Run folders: made safely, found again, and meant unambiguously."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from specdash.core import events as ev
from specdash.core.plan import Step
from specdash.core.status import StepStatus
from specdash.errors import Exit, SpecdashError, StoreError
from specdash.store import runs
from specdash.store.journal import Journal
from specdash.store.runs import find_runs, known_results_dirs, new_run_dir, remember, resolve_run, run_info

NOON_S = 1795255200.0
STEPS = tuple(Step.of("big", method="baseline", category=f"c{number}") for number in range(3))


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This user's state files, for one test."""
    folder = tmp_path / "state"
    monkeypatch.setattr(runs, "_state_dir", lambda: folder)
    return folder


def started(run_id: str) -> ev.RunStarted:
    return ev.RunStarted(run_id, "qwen", "0.1.0", {"cpu": "x"}, "host", ev.RunSettings(), "digest", STEPS)


def make_run(results: Path, run_id: str, facts: list[ev.Fact]) -> Path:
    folder = results / run_id
    folder.mkdir(parents=True)
    journal = Journal.create(folder / "journal.jsonl")
    for fact in facts:
        journal.append(fact)
    journal.close()
    return folder


def finished(number: int, status: str) -> ev.StepFinished:
    return ev.StepFinished(STEPS[number].id, None, StepStatus(status))


def test_a_run_folder_is_named_for_what_it_holds(tmp_path: Path) -> None:
    path = new_run_dir(tmp_path / "new" / "results", "RTX 4090/24", "llama-server", "../Qwen 2.5", NOON_S)
    assert path == tmp_path / "new" / "results" / "RTX-4090-24_llama-server_Qwen-2.5_20261121T100000Z"
    assert list(path.iterdir()) == []


def test_two_runs_in_one_second_get_two_folders(tmp_path: Path) -> None:
    paths = {new_run_dir(tmp_path, "hw", "e", "n", NOON_S) for _ in range(3)}
    assert len(paths) == 3


def test_endless_labels_still_make_a_name(tmp_path: Path) -> None:
    path = new_run_dir(tmp_path, "h" * 500, "e" * 500, "n" * 500, NOON_S)
    assert len(path.name) < 200


def test_a_results_folder_that_is_a_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    place = tmp_path / "results"
    place.write_text("not a folder")
    with pytest.raises(StoreError, match=r"results: results cannot be kept there: .*\n.*results\.dir") as caught:
        new_run_dir(place, "hw", "e", "n", NOON_S)
    assert caught.value.exit_code is Exit.UNSAFE


@pytest.mark.parametrize("failing", ["fsync", "rename"])
def test_a_folder_is_proven_before_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if failing == "fsync" else Path, failing, fail)
    with pytest.raises(StoreError, match="No space left"):
        new_run_dir(tmp_path, "hw", "e", "n", NOON_S)


def test_runs_are_found_with_their_state(tmp_path: Path) -> None:
    good = [finished(number, "ok") for number in range(3)]
    make_run(tmp_path, "a_done", [started("a_done"), *good, ev.RunFinished("finished", 0)])
    make_run(tmp_path, "b_failed", [started("b"), *good[:2], finished(2, "failed"), ev.RunFinished("finished", 1)])
    make_run(tmp_path, "c_stopped", [started("c"), finished(0, "invalid"), ev.RunFinished("stopped", 75)])
    make_run(tmp_path, "d_killed", [started("d"), finished(0, "ok")])
    make_run(tmp_path, "e_resumed", [started("e"), ev.RunFinished("stopped", 130), ev.RunResumed("0.1.0")])
    (tmp_path / "no_run").mkdir()
    found = {run.id: run for run in find_runs([tmp_path, tmp_path / "." / "", tmp_path / "absent"])}
    told = {run.id: (run.state, run.n_done, run.n_failed, run.resumable) for run in found.values()}
    assert told == {
        "a_done": ("finished", 3, 0, False),
        "b_failed": ("finished", 3, 1, True),
        "c_stopped": ("stopped", 1, 1, True),
        "d_killed": ("unfinished", 1, 0, True),
        "e_resumed": ("unfinished", 0, 0, True),
    }
    assert found["a_done"].n_steps == 3
    assert found["a_done"].name == "qwen"
    assert found["a_done"].finished is not None
    assert found["d_killed"].finished is None


def test_what_was_skipped_is_not_counted_as_measured(tmp_path: Path) -> None:
    ends = [finished(0, "ok"), finished(1, "skipped"), finished(2, "invalid"), ev.RunFinished("finished", 1)]
    info = run_info(make_run(tmp_path, "one", [started("one"), *ends]))
    assert (info.n_steps, info.n_done, info.n_measured, info.n_failed, info.n_skipped) == (3, 3, 1, 1, 1)
    assert info.running_s is not None


def test_a_run_that_is_going_on_is_not_resumable(tmp_path: Path) -> None:
    path = make_run(tmp_path, "one", [started("one")])
    make_run(tmp_path, "two", [])
    found = {run.id: run for run in find_runs([tmp_path], lambda asked: True)}
    assert (found["one"].state, found["one"].resumable) == ("running", False)
    assert found["one"].path == path
    assert found["two"].state == "running"


def test_a_damaged_run_is_listed_with_the_reason(tmp_path: Path) -> None:
    path = make_run(tmp_path, "broken", [started("broken"), finished(0, "ok")])
    journal = path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"qwen", b"qwem"))
    make_run(tmp_path, "empty", [])
    broken, empty = find_runs([tmp_path])
    assert (broken.state, broken.resumable) == ("damaged", False)
    assert broken.problem is not None
    assert "journal.jsonl:1:" in broken.problem
    assert (empty.state, empty.problem) == ("damaged", "it has no first record: nothing was measured")


def test_a_run_is_meant_by_path_name_or_unique_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "results"
    one = make_run(results, "hw_one", [started("x")])
    make_run(results, "hw_one-2", [started("x")])
    two = make_run(tmp_path / "more", "hw_two", [started("x")])
    known = [results, tmp_path / "more"]
    assert resolve_run(str(one), []) == one
    assert resolve_run(str(one / "journal.jsonl"), []) == one
    assert resolve_run("hw_one", known) == one
    assert resolve_run("hw_t", known) == two
    monkeypatch.chdir(results)
    assert resolve_run("hw_one-2", []) == results / "hw_one-2"
    (results / "hw_t").mkdir()
    assert resolve_run("hw_t", known) == two


def test_an_ambiguous_name_lists_all_candidates(tmp_path: Path) -> None:
    for name in ("hw_one", "hw_two", "other"):
        make_run(tmp_path, name, [started("x")])
    with pytest.raises(SpecdashError) as caught:
        resolve_run("hw", [tmp_path])
    assert caught.value.exit_code is Exit.USAGE
    assert "several runs begin like that" in str(caught.value)
    assert "hw_one" in caught.value.todo
    assert "hw_two" in caught.value.todo
    assert "other" not in caught.value.todo
    with pytest.raises(SpecdashError, match="no such run") as caught:
        resolve_run("\x1b[31mred", [tmp_path])
    assert "\x1b" not in str(caught.value)
    with pytest.raises(SpecdashError, match="no such run\n  None is known"):
        resolve_run("", [])


def test_results_folders_are_remembered_once_and_forgotten_when_gone(tmp_path: Path, state: Path) -> None:
    first, second = tmp_path / "first\nline", tmp_path / "second"
    for folder in (first, second, first):
        folder.mkdir(exist_ok=True)
        remember(folder)
    assert known_results_dirs() == [first, second]
    second.rmdir()
    assert known_results_dirs() == [first]
    assert known_results_dirs([str(second)]) == [second]
    assert len((state / "results-folders.jsonl").read_bytes().splitlines()) == 2


def test_a_state_folder_that_cannot_be_written_stops_nothing(tmp_path: Path, state: Path) -> None:
    state.write_text("in the way")
    remember(tmp_path)
    assert known_results_dirs() == []


def test_a_broken_list_of_folders_loses_only_the_broken_lines(tmp_path: Path, state: Path) -> None:
    remember(tmp_path)
    with (state / "results-folders.jsonl").open("ab") as file:
        file.write(b'{"torn\n17\n\xff\n')
    assert known_results_dirs() == [tmp_path]
