"""The commands as a user types them: what they print, where, and with which exit code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from specdash import __version__
from specdash.cli import COMMANDS
from specdash.core.priors import PRIOR_START_S
from tests.support import fork_server

ROOT = Path(__file__).parents[2]
PROFILES = ROOT / "profiles"
MOE = PROFILES / "moe-480b-server-mode.toml"
Specdash = Callable[..., subprocess.CompletedProcess[str]]


def environment(home: Path) -> dict[str, str]:
    """A user's environment: no settings, runs or models of anybody, and Python's own buffering."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "SPECDASH_DEBUG", "PYTHON"))
    }
    return kept | {"HOME": str(home), "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


@pytest.fixture
def specdash(tmp_path: Path) -> Specdash:
    """Run a command line; its folder is empty but for what the test wrote."""

    def run(*args: object, **env: str) -> subprocess.CompletedProcess[str]:
        return fork_server.run(list(map(str, args)), tmp_path, environment(tmp_path) | env)

    return run


@pytest.fixture
def profile(tmp_path: Path, tiny_models: Path, fake_server: Path) -> Path:
    """A profile of which everything is there."""
    path = tmp_path / "good.toml"
    path.write_text(
        f"""name = "good"
[engine]
program = "{fake_server}"
[[targets]]
label = "T"
path = "{tiny_models / "target.gguf"}"
[[drafts]]
label = "D"
path = "{tiny_models / "draft.gguf"}"
[sweep]
k = [2, 4, 8]
[measure]
categories = ["coding"]
"""
    )
    return path


def assert_one_clear_error(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


# --- help, versions, words that are no commands


def test_version(specdash: Specdash) -> None:
    done = specdash("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"specdash {__version__}\n", "")


def test_help_lists_every_command_of_this_version(specdash: Specdash) -> None:
    done = specdash("--help")
    assert (done.returncode, done.stderr) == (0, "")
    listed = set(re.findall(r"^  (\w+) +\S", done.stdout, re.MULTILINE))
    assert {name for name, command in COMMANDS.items() if not command.hidden} <= listed
    assert not {name for name, command in COMMANDS.items() if command.hidden} & listed
    assert "exit codes" in done.stdout


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if not command.hidden])
def test_every_command_has_help_with_an_example(name: str, specdash: Specdash) -> None:
    done = specdash(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"specdash {name}" in done.stdout.splitlines()[0]
    example = " ".join(done.stdout.partition("example: ")[2].split())
    assert example.startswith(f"specdash {name}")


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if not command.hidden])
def test_what_prints_a_table_has_json(name: str, specdash: Specdash) -> None:
    tables = {"plan", "check", "runs", "compare", "doctor", "models"}
    assert ("--json" in specdash(name, "--help").stdout) == (name in tables)


@pytest.mark.parametrize(
    ("args", "meant"),
    [(["chekc"], "check"), (["paln", "profile.toml"], "plan"), (["model"], "models"), (["demmo", "--moe"], "demo")],
)
def test_a_mistyped_command_gets_the_nearest_one(args: list[str], meant: str, specdash: Specdash) -> None:
    assert_one_clear_error(specdash(*args), 2, args[0], f"specdash {meant}")


def test_other_words_lead_to_the_help(specdash: Specdash) -> None:
    assert_one_clear_error(specdash("zzzzzz.toml"), 2, "zzzzzz.toml", "specdash --help")
    assert_one_clear_error(specdash("--headless"), 2, "needs a profile", "example: specdash --headless")
    assert_one_clear_error(specdash("--headles", "x.toml"), 2)
    assert_one_clear_error(specdash("plan"), 2, "PROFILE")


def test_the_dashboard_needs_a_terminal(specdash: Specdash, profile: Path) -> None:
    for args in ([], [profile], ["attach"], ["attach", "--ssh", "tower"]):
        assert_one_clear_error(specdash(*args), 2, "needs a terminal", "specdash --headless")


# --- check


def test_check_of_a_good_profile(specdash: Specdash, profile: Path) -> None:
    done = specdash("check", profile)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no problems" in done.stdout
    done = specdash("check", profile, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])


def test_check_names_every_problem_with_line_and_key(specdash: Specdash, profile: Path) -> None:
    text = profile.read_text().replace("k = [2, 4, 8]", "k = [2, 0]").replace("[measure]", "[measure]\nitterations = 3")
    profile.write_text(text)
    lines = text.splitlines()
    done = specdash("check", profile)
    assert (done.returncode, done.stderr) == (2, "")
    assert len(done.stdout.splitlines()) == 2
    assert f"good.toml:{lines.index('k = [2, 0]') + 1}: sweep.k" in done.stdout
    assert f"good.toml:{lines.index('itterations = 3') + 1}: measure.itterations" in done.stdout
    assert "iterations" in done.stdout.replace("itterations", "")
    rows = json.loads(specdash("check", profile, "--json").stdout)
    assert [(row["kind"], row["line"]) for row in rows] == [
        ("error", lines.index("k = [2, 0]") + 1),
        ("error", lines.index("itterations = 3") + 1),
    ]


def test_check_tells_what_is_missing_here(specdash: Specdash, profile: Path) -> None:
    profile.write_text(re.sub(r'path = ".*draft.gguf"', 'path = "gone.gguf"', profile.read_text()))
    done = specdash("check", profile)
    assert (done.returncode, done.stderr) == (3, "")
    assert "missing: " in done.stdout
    assert "drafts[0].path: no such file" in done.stdout
    done = specdash("check", profile, "--json")
    assert done.returncode == 3
    assert [row["kind"] for row in json.loads(done.stdout)] == ["missing"]


def test_a_missing_model_deep_in_a_cache_is_named(specdash: Specdash, profile: Path) -> None:
    path = f"~/.cache/huggingface/hub/models--Qwen--Qwen2.5-Instruct-GGUF/snapshots/{'4f' * 20}/gone.gguf"
    profile.write_text(re.sub(r'path = ".*draft.gguf"', f'path = "{path}"', profile.read_text()))
    assert "gone.gguf" in specdash("check", profile).stdout


@pytest.mark.parametrize("what", ["nothing", "folder", "binary", "empty"])
def test_check_of_what_is_no_profile(what: str, specdash: Specdash, tmp_path: Path) -> None:
    path = tmp_path / "it.toml"
    if what == "folder":
        path.mkdir()
    elif what != "nothing":
        path.write_bytes(b"\x00\xff\x1b]0;x\x07" if what == "binary" else b"")
    done = specdash("check", path)
    assert done.returncode == 2
    assert "it.toml" in done.stdout
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_headless_refuses_what_check_refuses(specdash: Specdash, profile: Path) -> None:
    good = profile.read_text()
    profile.write_text(good.replace("k = [2, 4, 8]", 'k = "eight"'))
    assert_one_clear_error(specdash("--headless", profile), 2, "sweep.k", "good.toml")
    profile.write_text(re.sub(r'path = ".*draft.gguf"', 'path = "gone.gguf"', good))
    assert_one_clear_error(specdash("--headless", profile), 3, "drafts[0].path: no such file")
    assert not (profile.parent / "results").exists()


# --- plan


def test_plan_of_the_moe_flow_shows_three_and_five_loads(specdash: Specdash) -> None:
    done = specdash("plan", MOE)
    assert (done.returncode, done.stderr) == (0, "")  # a plan needs none of the 271 GB
    assert re.findall(r"^Where the server (.*): (\d+) loads$", done.stdout, re.MULTILINE) == [
        ("takes K per request", "3"),
        ("fixes K at start-up", "5"),
    ]
    assert "Missing on this machine" in done.stdout
    plans = json.loads(specdash("plan", MOE, "--json").stdout)["plans"]
    assert {scope: plan["n_loads"] for scope, plan in plans.items()} == {"request": 3, "startup": 5}
    assert [load["key"]["k"] for load in plans["startup"]["loads"]] == [None, None, 8, 16, 24]


def test_plan_of_models_that_are_here(specdash: Specdash, profile: Path) -> None:
    done = specdash("plan", profile, "--steps")
    assert (done.returncode, done.stderr) == (0, "")
    assert "request: 2 loads" in done.stdout
    assert "start-up: 4 loads" in done.stdout
    assert "T + D | draft K=8 | coding" in done.stdout
    assert "would need 4 loads" in done.stdout
    assert "unknown" not in done.stdout
    plan = json.loads(specdash("plan", profile, "--json").stdout)
    assert (len(plan["steps"]), plan["step_by_step_loads"], plan["missing"]) == (4, 4, [])
    assert plan["plans"]["startup"]["time_s"]["low_s"] < plan["plans"]["startup"]["time_s"]["high_s"]


def test_plan_of_a_curve_tells_the_most_loads_and_what_it_saves(specdash: Specdash) -> None:
    done = specdash("plan", PROFILES / "best-draft-few-loads.toml")
    assert done.returncode == 0
    assert "start-up: 3 loads at first, 13 at most" in done.stdout
    assert "request: 3 loads at first, 5 at most" in done.stdout
    assert "K = curve: from the load at the largest K" in done.stdout
    assert "± 2 %" in done.stdout
    assert "mirrored order" in done.stdout
    # 3 categories of one baseline and 2 drafts at the 7 Ks of a large dense model; texts once, samples in both passes.
    assert "would need 135 loads" in done.stdout


def test_plan_of_methods_without_a_draft_model_counts_a_load_for_each(specdash: Specdash, profile: Path) -> None:
    text = re.sub(
        r"(?m)^k = .*$", 'k = [4, 8]\nmethods = ["draft", "ngram-simple"]\nngram_n = [2, 4]', profile.read_text()
    )
    profile.write_text(text)
    done = specdash("plan", profile)
    assert (done.returncode, done.stderr) == (0, "")
    assert "request: 6 loads" in done.stdout
    assert "start-up: 7 loads" in done.stdout
    assert "T, ngram-simple n=2, K = 4  (1 step)" in done.stdout
    assert "would need 7 loads" in done.stdout
    profile.write_text(text.replace("[4, 8]", '"search"').replace('"draft", ', ""))
    alone = specdash("plan", profile).stdout
    assert "K = search" not in alone, "what is searched for is the K of drafts"
    assert "probe" not in alone


def test_plan_tells_which_ks_a_method_cannot_have_and_which_are_one_server(specdash: Specdash, profile: Path) -> None:
    text = re.sub(
        r"(?m)^k = .*$", 'k = [4, 16, 64]\nmethods = ["ngram-simple", "ngram-cache", "ngram-mod"]', profile.read_text()
    )
    profile.write_text(text + "\niterations = 99\n")
    done = specdash("plan", profile)
    assert (done.returncode, done.stderr) == (0, "")
    assert "start-up: 7 loads" in done.stdout, "the baseline, 2 of ngram-simple, 1 of ngram-cache, 3 of ngram-mod"
    assert "ngram-simple: K = 4 is left out, since it drops drafts shorter than its n-gram of 12" in done.stdout
    assert "ngram-cache: K = 4 is left out, since it drafts up to 8 tokens, whatever K is" in done.stdout
    assert "ngram-cache: K = 16, 64 are measured as K = 8" in done.stdout
    assert "T, ngram-cache, K = 8" in done.stdout
    assert re.search(r"ngram-mod: \d+ samples of a step at most, since its server remembers", done.stdout)
    told = json.loads(specdash("plan", profile, "--json").stdout)
    assert [(each["method"], each["ks"], each["taken"]) for each in told["left_out"]] == [
        ("ngram-simple", [4], None), ("ngram-cache", [4], None), ("ngram-cache", [16, 64], 8),
    ]  # fmt: skip
    assert all(each["reason"] for each in told["left_out"])


def test_the_time_of_a_plan_has_what_comes_later(specdash: Specdash, profile: Path) -> None:
    text = profile.read_text()

    def times(sweep: str, measure: str) -> dict[str, tuple[float, float]]:
        changed = re.sub(r"(?m)^k = .*$", sweep, text)
        assert "[measure]" in changed
        profile.write_text(changed.replace("[measure]", f"[measure]\n{measure}"))
        found = json.loads(specdash("plan", profile, "--json").stdout)["plans"]
        return {scope: (plan["time_s"]["low_s"], plan["time_s"]["high_s"]) for scope, plan in found.items()}

    once, listed = times('k = "curve"', ""), times("k = [16]", "")
    # The Ks to confirm may not be needed, so the low end has no load more; where K is fixed at start-up they take one
    # of ten seconds at most each.
    assert once["startup"][0] < listed["startup"][0] + PRIOR_START_S[0]
    assert once["startup"][1] > listed["startup"][1] + 2 * 10
    assert once["request"][1] > listed["request"][1]
    twice = times('k = "curve"', "passes = 2")
    assert twice["request"][0] > once["request"][0] + PRIOR_START_S[0]
    assert twice["startup"][1] - once["startup"][1] > 1.5 * (twice["request"][1] - once["request"][1])
    with_texts = times('k = "curve"', 'workloads = ["content", "lossless"]')
    assert with_texts["request"][0] > once["request"][0]
    assert (
        times('k = "curve"', "precision = 0.05\niterations = 40")["request"][0]
        < (times('k = "curve"', "iterations = 40")["request"][0])
    )


@pytest.mark.parametrize(("scope", "loads"), [("request", 2), ("capped", 2), ("startup", 4)])
def test_plan_obeys_a_forced_scope(scope: str, loads: int, specdash: Specdash, profile: Path) -> None:
    profile.write_text(profile.read_text().replace("[engine]", f'[engine]\nk_scope = "{scope}"'))
    plans = json.loads(specdash("plan", profile, "--json").stdout)["plans"]
    assert {name: plan["n_loads"] for name, plan in plans.items()} == {scope: loads}


def test_plan_refuses_a_bad_profile(specdash: Specdash, profile: Path) -> None:
    profile.write_text(profile.read_text().replace("[sweep]", "[swep]"))
    assert_one_clear_error(specdash("plan", profile), 2, "swep", "sweep")


# --- pipes


@pytest.mark.parametrize(
    "args", [["plan", MOE, "--steps"], ["plan", MOE, "--json"], ["check", MOE], ["--help"]], ids=str
)
def test_a_reader_that_goes_away_is_no_error(args: list[object], tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "specdash", *map(str, args)],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=write_end,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    finally:
        os.close(write_end)
    assert done.stderr == ""
    assert done.returncode in (0, 3)


def test_head_takes_the_first_line(tmp_path: Path) -> None:
    line = f'"{sys.executable}" -m specdash plan "{MOE}" --json | head -1'
    done = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


# --- new


@pytest.fixture
def on_path(tmp_path: Path, fake_server: Path) -> str:
    """A PATH on which llama-server is the fake one."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "llama-server").symlink_to(fake_server)
    return f"{tmp_path / 'bin'}:{os.environ['PATH']}"


def test_new_writes_a_profile_that_passes_check(
    specdash: Specdash, tiny_models: Path, tmp_path: Path, on_path: str
) -> None:
    target, draft = tiny_models / "target.gguf", tiny_models / "draft.gguf"
    done = specdash("new", target, draft, "-o", "mine.toml", PATH=on_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "specdash plan mine.toml" in done.stderr
    checked = specdash("check", "mine.toml", PATH=on_path)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == "mine.toml: no problems\n"
    assert (
        specdash("new", target, draft, PATH=on_path).stdout.replace("profile.toml", "mine.toml")
        == (tmp_path / "mine.toml").read_text()
    )


def test_new_without_a_draft_passes_check_too(specdash: Specdash, tiny_models: Path, on_path: str) -> None:
    assert specdash("new", tiny_models / "target.gguf", "-o", "mine.toml", PATH=on_path).returncode == 0
    assert specdash("check", "mine.toml", PATH=on_path).returncode == 0


def test_new_overwrites_nothing(specdash: Specdash, tiny_models: Path, profile: Path) -> None:
    before = profile.read_text()
    assert_one_clear_error(specdash("new", tiny_models / "target.gguf", "-o", profile), 2, "exists already")
    assert profile.read_text() == before


def test_new_refuses_what_is_no_model(specdash: Specdash, profile: Path) -> None:
    assert_one_clear_error(specdash("new", profile), 3, "good.toml")
    assert_one_clear_error(specdash("new", "gone.gguf"), 3, "gone.gguf")


@pytest.mark.parametrize("name", ["stop"])
def test_without_a_run_the_one_that_goes_on_is_meant(name: str, specdash: Specdash) -> None:
    assert_one_clear_error(specdash(name), 2, "no run is going on here", "specdash PROFILE")


def test_attach_needs_a_host_where_it_is_told_of_one(specdash: Specdash) -> None:
    assert_one_clear_error(specdash("attach", "--ssh", ""), 2, "--ssh")
