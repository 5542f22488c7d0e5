"""Exports: whole files, tables that fit, and names that cannot become anything but text."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import resource
from pathlib import Path
from typing import Any

import pytest
from recorded_run import TARGET, folded, loaded, measured, started, step

from specdash.analysis.result import build_result
from specdash.core import events as ev
from specdash.core.plan import Step
from specdash.errors import Exit, StoreError
from specdash.store.export import COLUMNS, to_csv, to_json, to_markdown, write_atomic

CATEGORIES = ("coding", "math")
SLOW = [10.0, 12.0, 11.0, 10.0, 12.0]
FAST = [21.0, 23.0, 22.5, 20.5, 22.0]


def run_of(ks: tuple[int | None, ...] = (None, 4), **changes: Any) -> dict[str, Any]:
    """A finished result in which everything counts."""
    steps = [step(k, category, **changes) for k in ks for category in CATEGORIES]
    facts: list[ev.Fact] = [started(steps), *loaded(k=4)]
    for found in steps:
        facts += measured(found, SLOW if found.k is None else FAST)
    return build_result(folded([*facts, ev.RunFinished("finished", 0)]))


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def tables(text: str) -> list[list[list[str]]]:
    """The Markdown tables of a text as unescaped cells."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            found[-1].append([re.sub(r"\\(.)", r"\1", cell.strip()) for cell in cells])
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


# -- JSON -------------------------------------------------------------------------------------------------------------


def test_json_says_the_same_and_is_ascii() -> None:
    result = run_of((4,), draft="Qwén \u2028\ud800 \x1b[31m")
    text = to_json(result)
    assert json.loads(text) == result
    assert text.isascii()
    assert "\x1b" not in text


# -- CSV --------------------------------------------------------------------------------------------------------------


def test_csv_has_a_row_for_each_sample_with_all_digits() -> None:
    result = run_of()
    rows = rows_of(to_csv(result))
    assert len(rows) == 4 * 5
    assert tuple(rows[0]) == COLUMNS
    first = result["measurements"][0]["samples"][1]
    assert float(rows[1]["throughput_tok_s"]) == first["throughput_tok_s"]
    assert (rows[0]["draft"], rows[0]["k"], rows[0]["draft_tokens"]) == ("", "", "")
    assert (rows[10]["draft"], rows[10]["k"], rows[10]["k_seen"]) == ("0.5B", "4", "4")
    assert rows[10]["positions_drafted"] == "40;40;40;40"


def test_csv_shows_steps_without_samples_and_unfinished_ones() -> None:
    steps = [step(), step(4), step(8)]
    facts = [started(steps), ev.StepFinished(steps[0].id, None, "failed", ("hung",), 'no, "it" hung\nfor long')]
    facts += measured(steps[1], [20.0])[:-1]
    rows = rows_of(to_csv(build_result(folded(facts))))
    assert [(row["status"], row["block"]) for row in rows] == [("failed", ""), ("running", "0"), ("open", "")]
    assert (rows[0]["verdicts"], rows[0]["error"]) == ("hung", 'no, "it" hung for long')


@pytest.mark.parametrize("label", ["=HYPERLINK(1)", "+1", "-1", "@x"])
def test_no_text_cell_is_a_formula_and_numbers_stay_numbers(label: str) -> None:
    steps = [step(4, draft=label)]
    rows = rows_of(to_csv(build_result(folded([started(steps), *measured(steps[0], [20.0])]))))
    assert rows[0]["draft"] == "'" + label
    assert float(rows[0]["decode_tok_s"]) == 20.0


# -- Markdown ---------------------------------------------------------------------------------------------------------


def test_markdown_has_an_overall_table_and_one_by_category() -> None:
    overall, by_category = tables(to_markdown(run_of()))
    assert overall[0] == ["draft", "K", "tok/s", "vs baseline", "accepted", "tok/step", "n"]
    assert all(re.fullmatch("-+:?", cell) for table in (overall, by_category) for cell in table[1])
    assert overall[2] == ["none (baseline)", "-", "11.0 ± 0.9", "-", "-", "1.00", "10"]
    assert overall[3][:3] == ["0.5B", "4", "21.8 ± 1.0"]
    assert re.fullmatch(r"1\.98 \(1\.\d\d to 2\.\d\d\)", overall[3][3])
    assert overall[3][4:] == ["38 %", "2.50", "10"]
    assert [row[0] for row in by_category[2:]] == ["coding", "coding", "math", "math"]
    assert by_category[0][-1] == "drift"
    assert by_category[2][-1] == "+0.0 %"


def test_one_category_needs_one_table() -> None:
    steps = [step(), step(4)]
    facts = [started(steps), *measured(steps[0], SLOW[:2]), *measured(steps[1], FAST[:2])]
    text = to_markdown(build_result(folded(facts)))
    assert len(tables(text)) == 1
    assert "drift" not in text


def test_a_difference_inside_the_noise_is_marked() -> None:
    steps = [step(), step(4)]
    facts = [started(steps), *measured(steps[0], [10.0, 12.0, 14.0]), *measured(steps[1], [12.0, 11.0, 14.0])]
    table = tables(to_markdown(build_result(folded(facts))))[0]
    assert table[3][4].startswith("≈1.03 (0.")


def test_one_sample_is_no_verdict() -> None:
    steps = [step(), step(4)]
    facts = [started(steps), *measured(steps[0], [10.0]), *measured(steps[1], [1200.0])]
    table = tables(to_markdown(build_result(folded(facts))))[0]
    assert table[3][3:5] == ["1200", "120.00 (too few)"]


def test_what_does_not_count_is_in_no_table_but_listed_with_the_reason() -> None:
    steps = [step(k, category) for k in (None, 4, 8) for category in CATEGORIES]
    facts: list[ev.Fact] = [started(steps), *loaded()]
    for found in steps[:3]:
        facts += measured(found, SLOW if found.k is None else FAST)
    facts += measured(steps[3], [99.0] * 5, "invalid", verdicts=("k_not_effective",))
    facts += measured(steps[4], [98.0] * 5, "invalid", verdicts=("k_not_effective",))
    facts += [ev.StepFinished(steps[5].id, None, "failed", (), "the server died")]
    facts += [ev.LoadFinished("l001", "failed", error="exit 1", hint="Use less memory.")]
    text = to_markdown(build_result(folded(facts)))
    overall, by_category = tables(text)
    assert [row[:3] for row in overall[3:]] == [["0.5B", "4", "21.8 ± 1.0*"]]
    assert "lacks categories" in text
    assert len(by_category) == 2 + 3
    assert not re.search(r"9[89]\.0", text)
    listed = text.partition("## Not counted")[2].partition("## ")[0]
    assert "K=8 \\| math: failed: the server died" in listed
    assert "invalid (k_not_effective)" in listed
    assert "exit 1 Use less memory." in listed
    assert text.count("- k_not_effective: The server drafted another number of tokens") == 1


def test_a_baseline_that_does_not_count_leaves_no_speedup_and_says_why() -> None:
    steps = [step(), step(4)]
    facts = [started(steps), *measured(steps[0], SLOW, "invalid"), *measured(steps[1], FAST)]
    text = to_markdown(build_result(folded(facts)))
    assert [row[4] for row in tables(text)[0][2:]] == ["-"]
    assert "no speedup, its baseline is invalid" in text


def test_tables_stay_under_120_columns_whatever_the_names() -> None:
    long = "|" * 90 + "a very long label of a draft " * 5
    text = to_markdown(run_of((None, 4, 48), config=long, moe_experts=16, depth=100_000))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert max(map(len, lines)) < 120
    assert len({len(line) for line in lines[:5]}) == 1


def test_names_are_text_and_nothing_else() -> None:
    evil = "a|b`c\n# head <script>alert(1)</script> [x](javascript:alert(1)) \x1b[31m\u202e"
    steps = [
        Step(evil, None if k is None else evil, "draft" if k else "baseline", evil, None, k, "content", evil, 0)
        for k in (None, 4)
    ]
    facts: list[ev.Fact] = [
        started(steps, name=evil, run_id=evil, hardware={"label": evil, "cpu": evil}),
        ev.EngineFound(evil, evil, evil, evil),
        ev.ModelRead(evil, "target", evil, 1, evil, evil, evil, synthetic=True),
        *measured(steps[0], SLOW),
        ev.StepFinished(steps[1].id, None, "failed", (evil,), evil),
    ]
    text = to_markdown(build_result(folded(facts)))
    assert not re.search(r"(?<!\\)[<>`\[\]]", re.sub("`specdash --headless profile.toml`", "", text))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert [line for line in text.splitlines() if line.startswith("# ")] == [text.splitlines()[0]]
    assert len({len(row) for row in tables(text)[0]}) == 1
    assert "synthetic" in text


def test_the_footer_says_what_the_numbers_need() -> None:
    facts = [
        started([step()], model_family="Qwen2.5"),
        ev.EngineFound("llama-server", "/bin/llama-server", "b11669", "new"),
        ev.ModelRead(TARGET, "target", "/m", 77 * 2**30, "qwen2", "Q8_0", "dense-large"),
        *loaded(),
    ]
    text = to_markdown(build_result(folded([*facts, *measured(step(), SLOW)])))
    for wanted in ("b11669", "EPYC 9654", "96 cores", "384 GiB RAM", "specdash 0.1.0", "--headless", "iterations 5"):
        assert wanted in text
    assert "    llama-server -m '/models/big model.gguf'" in text
    assert f"## {TARGET} (qwen2, Q8_0, 77.0 GiB)" in text


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_atomic(path, "old")
    write_atomic(path, "new \ud800 é")
    assert path.read_bytes() == b"new \\ud800 \xc3\xa9"
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        write_atomic(tmp_path / "report.md", "x")
    finally:
        os.umask(mask)
    assert (tmp_path / "report.md").stat().st_mode & 0o777 == 0o644


def test_a_full_disk_leaves_the_old_report(tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    write_atomic(path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(StoreError, match=r"report\.md cannot be written") as caught:
            write_atomic(path, "x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.exit_code is Exit.UNSAFE
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_that_cannot_be_synced_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.md"
    write_atomic(path, "old")

    def fail(descriptor: int) -> bool:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("specdash.store.export.sync_file", fail)
    with pytest.raises(StoreError, match="Input/output error"):
        write_atomic(path, "new")
    assert path.read_text() == "old"


def test_a_folder_that_is_gone_is_an_error_for_the_user(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        write_atomic(tmp_path / "gone" / "result.json", "x")
