"""The example profiles are free of problems and ask for what their documents describe."""

from __future__ import annotations

from pathlib import Path

import pytest

from specdash.config.load import check_profile
from specdash.core.profile import Profile

FOLDER = Path(__file__).parents[2] / "profiles"
EXAMPLES = sorted(FOLDER.glob("*.toml"))


def example(name: str) -> Profile:
    profile = check_profile(FOLDER / name).profile
    assert profile is not None
    return profile


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_free_of_problems(path: Path) -> None:
    result = check_profile(path)
    assert [str(problem) for problem in result.problems + result.warnings] == []
    assert result.profile is not None
    assert result.profile.results_dir == FOLDER / "results"
    lacking = {".".join(problem.key.partition("[")[0].split(".")[:2]) for problem in result.missing}
    assert lacking <= {"targets", "drafts", "engine.program", "engine.wrap", "engine.launch"}


def test_draftbench_example() -> None:
    profile = example("draftbench-example.toml")
    assert [target.label for target in profile.targets] == ["72B Q8_0", "72B Q4_K_M"]
    assert [draft.label for draft in profile.drafts] == ["0.5B Q8_0", "1.5B Q4_K_M", "3B Q4_K_M"]
    assert (profile.name, profile.hardware, profile.measure.max_tokens) == ("qwen25-72b", "rtx4090-24gb", 1024)


def test_moe_flow() -> None:
    profile = example("moe-480b-server-mode.toml")
    assert (len(profile.targets), len(profile.drafts)) == (1, 1)
    assert (profile.sweep.listed("moe_experts"), profile.sweep.k, profile.sweep.baseline) == ((4,), (8, 16, 24), True)
    assert profile.targets[0].model_class == "moe"


def test_dense_range() -> None:
    profile = example("dense-70b-numactl.toml")
    assert profile.engine.wrap == ("numactl", "--interleave=all")
    assert profile.sweep.k == (4, 8, 16, 24, 32, 48)
    assert len(profile.sweep.pairs) == 3


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4
