"""The fake server does what its keys say, in the shapes of the real ones."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

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
