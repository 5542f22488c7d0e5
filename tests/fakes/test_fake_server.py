"""The fake server does what its keys say, in the shapes of the real ones."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import statistics
import subprocess
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fakes.fake_flags import Behaviour, behaviour_of, read_behaviour
from tests.support import fake_truth

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
CURRENT = "-md {model} --spec-type draft-simple --spec-draft-n-max {k}"
OLD = "-md {model} --draft-max {k}"
STREAM = {"prompt": "one two", "n_predict": 40, "stream": True, "timings_per_token": True, "return_progress": True}


@pytest.fixture
def start(fake_server: Path, tmp_path: Path, launch: Callable[..., Any]) -> Callable[..., Any]:
    """Start the fake with these flags and this behaviour."""
    model = tmp_path / "model.gguf"
    model.touch()

    def begin(flags: str = "", behaviour: str = "", dialect: str = "current", k: int = 4) -> Any:
        args = flags.format(model=model, k=k).split()
        env = {"FAKE_SERVER": f"speed=100000,{behaviour}", "FAKE_DIALECT": dialect}
        return launch(fake_server, "-m", model, "--port", "0", "--metrics", *args, **env)

    return begin


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n") if line]


def stream(running: Any, **more: Any) -> list[dict[str, Any]]:
    if "listening on" not in running.log:
        running.url()
    return events(running.request("/completion", STREAM | more))


@pytest.mark.parametrize(
    ("dialect", "flags", "recording"),
    [
        ("current", CURRENT, "completion.stream.b11669.sse"),
        ("old", OLD, "completion.stream.xllamacpp-0.2.14.k4.sse"),
    ],
)
def test_events_have_the_recorded_shape(start: Callable[..., Any], dialect: str, flags: str, recording: str) -> None:
    real = events((RECORDINGS / recording).read_text())
    fake = stream(start(flags, dialect=dialect), return_progress=dialect == "current")
    for index in (0, 5, -1):
        assert list(fake[index].get("timings", {})) == list(real[index].get("timings", {}))
        assert set(real[index]) - set(fake[index]) == set()
    counts = [event["timings"]["predicted_n"] for event in fake[:-1] if event["timings"]["predicted_n"]]
    assert counts == sorted(counts)
    assert (len(set(counts)) == len(counts)) is (dialect == "current")


def test_text_does_not_depend_on_k_and_counters_add_up(start: Callable[..., Any]) -> None:
    texts, drafted = set(), []
    for flags, k in (("", 0), (CURRENT, 2), (CURRENT, 8)):
        running = start(flags, k=k)
        answer = stream(running)
        texts.add("".join(event["content"] for event in answer))
        drafted.append(answer[-1]["timings"].get("draft_n", 0))
        assert answer[-1]["timings"]["predicted_n"] == 40
        assert f"llamacpp:spec_decode_num_draft_tokens_total {drafted[-1]}\n" in running.request("/metrics")
    assert len(texts) == 1
    assert drafted[0] == 0 < drafted[1] < drafted[2]


@pytest.mark.parametrize(("scope", "follows"), [("request", [1, 16]), ("capped", [1, 4]), ("startup", [4, 4])])
def test_scope_of_k(start: Callable[..., Any], scope: str, follows: list[int]) -> None:
    running = start(CURRENT, f"k_scope={scope},acceptance=0")
    running.url()
    seen = []
    for k in (1, 16):
        answer = events(running.request("/completion", STREAM | {"speculative.n_max": k, "return_progress": False}))
        seen.append(answer[1]["timings"]["draft_n"])
    assert seen == follows


def test_a_draft_alone_drafts_only_in_the_old_dialect(start: Callable[..., Any]) -> None:
    assert "draft_n" not in stream(start("-md {model}"))[-1]["timings"]
    assert "draft_n" in stream(start("-md {model}", dialect="old"))[-1]["timings"]


@pytest.mark.parametrize(("behaviour", "health"), [("load_s=60", 503), ("load_s=60,early_200=1", 200)])
def test_loading_answers_503(start: Callable[..., Any], behaviour: str, health: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running = start(f"--port {port}", behaviour)
    running.log = f"http://127.0.0.1:{port}\n"
    running.wait_for("(loading model)")
    assert status_of(running, "/health", None) == health
    assert status_of(running, "/completion", STREAM) == 503


def status_of(running: Any, path: str, body: dict[str, Any] | None) -> int:
    try:
        running.request(path, body)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code
    return 200


def test_death_at_load(start: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError, match=r"(?s)ended with 3.*no memory"):
        start("", "die_at_load=3,death_text=no memory").url()


@pytest.mark.parametrize(
    ("behaviour", "code"), [("die_after_tokens=5,die_code=7", 7), ("die_after_tokens=1,die_signal=11", -11)]
)
def test_death_in_the_middle(start: Callable[..., Any], behaviour: str, code: int) -> None:
    running = start("", behaviour)
    with pytest.raises((OSError, http.client.IncompleteRead)):
        stream(running)
    assert running.process.wait() == code


def test_streams_break_as_ordered(start: Callable[..., Any]) -> None:
    assert stream(start("", "fin=5"))[-1]["stop"] is False
    with pytest.raises((ConnectionResetError, urllib.error.URLError)):
        stream(start("", "cut=5"))
    running = start("", "http500=1")
    running.url()
    assert [status_of(running, "/completion", STREAM) for _ in range(2)] == [500, 200]


def test_signals_are_counted_and_can_be_ignored(start: Callable[..., Any], tmp_path: Path) -> None:
    log = tmp_path / "signals"
    running = start("", f"ignore_term=1,signal_log={log}")
    running.url()
    running.process.terminate()
    assert status_of(running, "/completion", STREAM) == 200
    running.process.kill()
    assert running.process.wait() == -signal.SIGKILL
    assert log.read_text() == "SIGTERM\n"
    polite = start()
    polite.url()
    polite.process.terminate()
    assert polite.process.wait() == 0


def test_children_outlive_it(start: Callable[..., Any]) -> None:
    running = start("", "spawn_child=1,setsid_child=1")
    running.url()
    children = psutil.Process(running.process.pid).children()
    running.process.kill()
    running.process.wait()
    assert [child.is_running() for child in children] == [True, True]
    for child in children:
        child.kill()


def test_refusals(start: Callable[..., Any], fake_server: Path, tmp_path: Path) -> None:
    for args, message in (
        ("--foo", "invalid argument: --foo"),
        ("--draft-max 4", "has been removed"),
        ("-m", "expected value"),
    ):
        done = subprocess.run([fake_server, *args.split()], capture_output=True, text=True)
        assert (done.returncode, message in done.stderr) == (1, True)
    with pytest.raises(AssertionError, match=r"(?s)ended with 1.*failed to open"):
        start("-m /nowhere.gguf").url()
    help_text = subprocess.run(
        [fake_server, "--help"], capture_output=True, text=True, env={"FAKE_DIALECT": "old"}
    ).stdout
    assert "\n-c,    --ctx-size N                     size of the prompt context\n" in help_text
    assert "--spec-type" not in help_text


EXACT = "exact_clock=1,step_costs=0:1/1:1.1/8:1.8/9:2.6,first_step_extra=0.7,acceptances=0.9/0.8/0.7/0.4"


def rate_of(answer: list[dict[str, Any]]) -> float:
    timings = answer[-1]["timings"]
    return float((timings["predicted_n"] - 1) / timings["predicted_ms"] * 1e3)


@pytest.mark.parametrize("k", [0, 2, 8, 9])
def test_the_truth_is_what_the_server_shows(start: Callable[..., Any], k: int) -> None:
    behaviour = f"speed=2000,{EXACT}"
    running = start(CURRENT if k else "", behaviour, k=k)
    for prompt in ("one two", "three four five"):
        expected = fake_truth.rate(read_behaviour(behaviour), prompt, 40, k)
        assert rate_of(stream(running, prompt=prompt)) == pytest.approx(expected, rel=1e-9)
    speeds = fake_truth.rates(read_behaviour(behaviour), ["one two"], 40, (0, 2, 8, 9))
    assert speeds[0] < speeds[9] < speeds[8], "the jump of costs behind 8 must show"
    best = fake_truth.best_k(speeds)
    assert (fake_truth.regret(speeds, best), fake_truth.regret(speeds, 0) > 0.1) == (0.0, True)


def test_costs_between_and_beyond_the_table() -> None:
    cost = fake_truth.step_cost
    table = read_behaviour("step_costs=1:1.1/8:1.8/9:2.6")
    assert [cost(table, k) for k in (0, 1, 4, 8, 9, 10)] == pytest.approx([1.0, 1.1, 1.4, 1.8, 2.6, 3.4])
    assert [cost(read_behaviour("step_costs=0:2"), k) for k in (0, 5)] == [2.0, 2.0]
    assert cost(Behaviour(draft_cost=0.1, verify_cost=0.02), 5) == pytest.approx(1.6)


def test_acceptance_by_position_and_by_word() -> None:
    by_position = read_behaviour("acceptances=1/0,step_costs=0:1")
    assert fake_truth.rate(by_position, "x", 41, 8) == pytest.approx(2000.0)
    by_word = read_behaviour("acceptance_where=code:1.0/prose:0.0,speed=100,step_costs=0:1")
    assert fake_truth.rate(by_word, "some prose", 40, 8) == pytest.approx(100.0)
    assert fake_truth.rate(by_word, "some code", 46, 8) == pytest.approx(900.0)


def test_models_have_behaviours_of_their_own(start: Callable[..., Any]) -> None:
    keys = {"speed": 100000, "acceptance": 1.0, "models": {"model.gguf": {"acceptance": 0.0, "seed": 3}}}
    found = behaviour_of(read_behaviour(json.dumps(keys)), "/somewhere/model.gguf", "")
    assert (found.acceptance, found.seed, found.speed) == (0.0, 3, 100000)
    assert behaviour_of(read_behaviour(json.dumps(keys)), "other.gguf").acceptance == 1.0


def test_noise_leaves_the_mean(start: Callable[..., Any]) -> None:
    running = start("", "noise=0.1,exact_clock=1,speed=20000")
    times = [1 / rate_of(stream(running, prompt=f"number {number}", n_predict=101)) for number in range(20)]
    assert statistics.fmean(times) == pytest.approx(1 / 20000, rel=0.01)
    assert 0.003 < statistics.stdev(times) * 20000 < 0.03
    assert len(set(times)) == 20


def test_drift_goes_on_over_servers(start: Callable[..., Any], tmp_path: Path) -> None:
    shared = f"exact_clock=1,drift_per_request=-0.1,request_log={tmp_path / 'log'}"
    speeds = [rate_of(stream(running)) for running in (start("", shared), start("", shared)) for _ in range(2)]
    assert [speed / 100000 for speed in speeds] == pytest.approx([1.0, 0.9, 0.8, 0.7], rel=1e-6)
    alone = start("", "exact_clock=1,drift=1000000")
    assert rate_of(stream(alone)) > 150000


@pytest.mark.parametrize(("key", "sure"), [("differs_at", True), ("near_tie_at", False)])
def test_a_draft_that_changes_the_text(start: Callable[..., Any], key: str, sure: bool) -> None:
    base, other = start("", f"{key}=7"), start(CURRENT, f"{key}=7")
    texts = [[event["tokens"] for event in stream(running)[2:-1]] for running in (base, other)]
    assert texts[0][:7] == texts[1][:7]
    assert [a == b for a, b in zip(texts[0][7:], texts[1][7:], strict=True)] == [False] * 33
    answer = stream(base, n_probs=2)[2:-1]
    top = [event["completion_probabilities"][0]["top_logprobs"] for event in answer]
    margins = [first["logprob"] - second["logprob"] for first, second in top]
    assert (margins[7] > 0.1) is sure
    assert min(margins[:7] + margins[8:]) > 0.1


def test_a_server_that_wavers(start: Callable[..., Any]) -> None:
    running = start("", "wavers_at=3")
    texts = [[event["tokens"] for event in stream(running)[2:-1]] for _ in range(3)]
    assert texts[0] == texts[2] != texts[1]
    assert texts[0][:3] == texts[1][:3]


def test_drafted_tokens_carry_no_probabilities(start: Callable[..., Any]) -> None:
    running = start(CURRENT, "acceptance=1")
    seen = ["completion_probabilities" in event for event in stream(running, n_probs=2, n_predict=7)]
    assert seen == [False, False, True, *[False] * 5, True, False]
    whole = running.request("/completion", {"prompt": "one two", "n_predict": 7, "n_probs": 2})
    entries = whole["completion_probabilities"]
    assert [len(entry["top_logprobs"]) for entry in entries] == [2, 0, 0, 0, 0, 0, 2]
    assert entries[1]["logprob"] == 0.0
    assert set(entries[0]) == {"id", "token", "bytes", "logprob", "top_logprobs"}
    assert entries[0]["top_logprobs"][0]["id"] == entries[0]["id"] != entries[0]["top_logprobs"][1]["id"]


def test_a_common_beginning_is_cached(start: Callable[..., Any]) -> None:
    running = start("", "exact_clock=1,prompt_speed=2000")
    cold = stream(running, prompt="one two three four", cache_prompt=False)[-1]["timings"]
    again = stream(running, prompt="one two three four", cache_prompt=True)[-1]["timings"]
    other = stream(running, prompt="one two five six", cache_prompt=True)[-1]["timings"]
    assert [each["cache_n"] for each in (cold, again, other)] == [0, 4, 3]
    assert [each["prompt_ms"] for each in (cold, again, other)] == pytest.approx([2.5, 0.5, 1.0])
    assert stream(running, prompt="one two five six", cache_prompt=False)[-1]["timings"]["cache_n"] == 0


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(SystemExit, match="unknown key 'exeptance'"):
        read_behaviour("exeptance=1")
