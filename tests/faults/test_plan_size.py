"""A step costs the same in a small plan and in a large one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.fake_machine import Bench

PROGRAM = "tests.support.call_counter"
CATEGORIES = 9  # of the built-in prompts


def calls(bench: Bench, pairs: int, mode: str, loads: tuple[int, int]) -> int:
    """The calls of our own functions from one load to another of a plan of so many pairs."""
    labels = [f"D{number}" for number in range(pairs)]
    profile = bench.write_profile(
        f"{mode}-{pairs}",
        {
            "name": f"{mode}-{pairs}",
            "engine": {"program": str(bench.fake), "args": ["-c", "4096"]},
            "targets": [{"label": "T", "path": str(bench.target)}],
            "drafts": [{"label": label, "path": str(bench.draft)} for label in labels],
            "sweep": {"k": [4] if mode == "list" else mode},
            "measure": {"max_tokens": 24, "iterations": 1, "warmup": 0},
            "limits": {"memory": "off", "inhibit_sleep": False},
        },
    )
    done = subprocess.run(
        [sys.executable, "-m", PROGRAM, profile, *map(str, loads)],
        cwd=bench.folder,
        env=bench.environment(FAKE_SERVER="speed=1e6,prompt_speed=1e9"),
        capture_output=True,
        text=True,
    )
    assert "calls: " in done.stdout, done.stderr[-2000:]
    return int(done.stdout.rpartition("calls: ")[2])


# By the third load, what is found out once is known: who decides K.
@pytest.mark.parametrize("mode", ["list", "curve"])
def test_a_step_takes_as_much_work_in_a_plan_that_is_ten_times_as_large(bench: Bench, mode: str) -> None:
    small, large = calls(bench, 10, mode, (3, 5)), calls(bench, 100, mode, (3, 5))
    assert large < 1.05 * small, f"{small} calls in {11 * CATEGORIES} steps, {large} in {101 * CATEGORIES}"
