"""The embedded llama.cpp, with both wheels: today's, and the one of early 2026 that honours K per request."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

EMBEDDED = Path(__file__).parents[2] / "specdash" / "programs" / "embedded.py"
DRAFT = {
    "current": "--spec-type draft-simple --spec-draft-n-max {k} --spec-draft-p-min 0",
    "old": "--draft-max {k} --draft-min 0 --draft-p-min 0",
}
LIMIT_S = 60.0
SYS_TGKILL = {"x86_64": 234, "aarch64": 131}
pytestmark = pytest.mark.real


@pytest.fixture(params=["current", "old"])
def wheel(request: pytest.FixtureRequest) -> tuple[str, list[object]]:
    """A dialect, and the beginning of a command line that runs the wheel that has it."""
    if request.param == "old":
        return "old", [request.getfixturevalue("old_xllamacpp_python"), "-I", EMBEDDED]
    request.getfixturevalue("embedded_available")
    return "current", [sys.executable, "-I", EMBEDDED]


@pytest.fixture
def serve(wheel: tuple[str, list[object]], tiny_models: Path, launch: Callable[..., Any]) -> Callable[..., Any]:
    """Start the wheel's server on the tiny target with these flags, and wait until the runner says so itself."""

    def start(flags: str) -> Any:
        running = launch(*wheel[1], "-m", tiny_models / "target.gguf", "--port", "0", "-t", "1", *flags.split())
        running.wait_for(r"main: server is listening on (http://\S+)")
        return running

    return start


def run(wheel: tuple[str, list[object]], *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(arg) for arg in (*wheel[1], *args)], capture_output=True, text=True, timeout=LIMIT_S)


def complete(running: Any, prompt: str = "baba dodo", n_predict: int = 40, k: int | None = None) -> dict[str, Any]:
    body = {"prompt": prompt, "n_predict": n_predict, "temperature": 0, "cache_prompt": False}
    body |= {} if k is None else {"speculative.n_max": k}
    answer: dict[str, Any] = running.request("/completion", body)
    return answer


def test_help_lists_what_this_wheel_has(wheel: tuple[str, list[object]]) -> None:
    done = run(wheel, "--help")
    names = {name.rstrip(",") for line in done.stdout.splitlines() if line.startswith("-") for name in line.split()}
    assert done.returncode == 0
    assert {"--model", "--ctx-size", "--model-draft", "--metrics", "--draft-p-min"} <= names
    assert ("--draft-max" in names, "--spec-draft-n-max" in names) == (wheel[0] == "old", wheel[0] == "current")
    assert "\n-c,    --ctx-size N                     size of the prompt context" in done.stdout


def test_version_names_the_wheel(wheel: tuple[str, list[object]]) -> None:
    done = run(wheel, "--version")
    assert done.returncode == 0
    assert done.stderr.startswith("version: ")
    assert "(xllamacpp)" in done.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--foo", "error: invalid argument: --foo"),
        ("--override-kv llama.expert_used_count=int:2", "cannot set --override-kv; use the llama-server program"),
        ("--port high", 'error while handling argument "--port"'),
        ("-m", 'error while handling argument "-m": expected value for argument'),
        ("-ctk q3_k", "unsupported cache type: q3_k"),
        ("-c 512", "error: no model"),
        ("-m /nowhere.gguf --port 0", "failed to open GGUF file '/nowhere.gguf'"),
    ],
)
def test_what_cannot_be_done_is_said(wheel: tuple[str, list[object]], args: str, message: str) -> None:
    done = run(wheel, *args.split())
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_flag_of_the_other_dialect_is_refused(wheel: tuple[str, list[object]]) -> None:
    flag = "--spec-draft-n-max" if wheel[0] == "old" else "--draft-max"
    done = run(wheel, flag, "4")
    assert done.returncode == 1
    assert f"error: invalid argument: {flag} (other versions" in done.stderr


def test_a_missing_wheel_is_named() -> None:
    done = subprocess.run([sys.executable, "-I", "-S", EMBEDDED], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 1
    assert "pip install 'specdash[embedded]'" in done.stderr


def test_flags_take_effect(wheel: tuple[str, list[object]], serve: Callable[..., Any], tiny_models: Path) -> None:
    own = "--load-mode none" if wheel[0] == "current" else "--no-mmap"
    running = serve(
        f"-md {tiny_models / 'draft.gguf'} {DRAFT[wheel[0]].format(k=6)} {own} --host 127.0.0.1 -c 1024 -b 256 -ub 128"
        " -tb 1 -td 1 -ngl 0 -ngld 0 -np 1 -ctk q8_0 -ctv q8_0 -ctkd f16 -ctvd f16 -fa on --metrics --no-warmup"
        " -a specdash-nonce --seed 7 --jinja --no-webui --numa distribute"
    )
    answer = complete(running)
    props = running.request("/props")
    assert answer["model"] == "specdash-nonce" == running.request("/v1/models")["data"][0]["id"]
    assert answer["generation_settings"]["seed"] == 7
    assert answer["timings"]["draft_n"] > 6
    assert props["default_generation_settings"]["n_ctx"] == 1024
    assert "llamacpp:tokens_predicted_total 40" in running.request("/metrics")


def test_the_scope_of_k(wheel: tuple[str, list[object]], serve: Callable[..., Any], tiny_models: Path) -> None:
    running = serve(f"-md {tiny_models / 'draft.gguf'} {DRAFT[wheel[0]].format(k=8)}")
    drafted = []
    for k in (1, 4, 8):
        complete(running, "kiki", n_predict=3)
        drafted.append(complete(running, k=k)["timings"]["draft_n"])
    assert sorted(set(drafted)) == drafted if wheel[0] == "old" else len(set(drafted)) == 1


def test_a_draft_alone_is_used_as_the_program_uses_it(
    wheel: tuple[str, list[object]], serve: Callable[..., Any], tiny_models: Path
) -> None:
    timings = complete(serve(f"-md {tiny_models / 'draft.gguf'}"))["timings"]
    assert ("draft_n" in timings) is (wheel[0] == "old")


def test_a_prompt_twice_in_a_row(wheel: tuple[str, list[object]], serve: Callable[..., Any], tiny_models: Path) -> None:
    """Builds of early 2026 then draft their previous answer: everything is accepted, and the draft costs nothing."""
    running = serve(f"-md {tiny_models / 'draft.gguf'} {DRAFT[wheel[0]].format(k=8)}")
    first, again = (complete(running)["timings"] for _ in range(2))
    complete(running, "kiki", n_predict=3)
    apart = complete(running)["timings"]
    assert first["draft_n_accepted"] < first["draft_n"]
    assert apart["draft_n"] == first["draft_n"]
    assert (again["draft_n_accepted"] == again["draft_n"]) is (wheel[0] == "old")


def test_ngrams_are_looked_up(wheel: tuple[str, list[object]], serve: Callable[..., Any]) -> None:
    flags = {
        "current": "--spec-ngram-simple-size-n 2 --spec-ngram-simple-size-m 3",
        "old": "--spec-ngram-size-n 2 --spec-ngram-size-m 3 --draft-max 3",
    }
    running = serve(f"--spec-type ngram-simple {flags[wheel[0]]}")
    timings = complete(running, "baba dodo lala bebe didi momo " * 6, n_predict=200)["timings"]
    assert timings["draft_n"] > 0
    done = run(wheel, "--spec-type", "ngram-giraffe")
    assert (done.returncode, "unknown value: ngram-giraffe" in done.stderr) == (1, True)


def test_term_ends_it(serve: Callable[..., Any]) -> None:
    process = serve("").process
    process.terminate()
    assert process.wait(LIMIT_S) == 0


@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine not in SYS_TGKILL, reason="no tgkill known here")
def test_term_ends_it_whichever_thread_it_reaches(serve: Callable[..., Any]) -> None:
    process = serve("").process
    libc = ctypes.CDLL(None, use_errno=True)
    others = {thread.id for thread in psutil.Process(process.pid).threads()} - {process.pid}
    assert libc.syscall(SYS_TGKILL[os.uname().machine], process.pid, min(others), signal.SIGTERM) == 0
    assert process.wait(LIMIT_S) == 0


def test_term_ends_it_while_it_loads(
    wheel: tuple[str, list[object]], launch: Callable[..., Any], tmp_path: Path
) -> None:
    """A pipe that nobody writes to is a model that never finishes loading; the program dies in the same way."""
    os.mkfifo(tmp_path / "slow.gguf")
    running = launch(*wheel[1], "-m", tmp_path / "slow.gguf", "--port", "0")
    running.wait_for("(loading model '.*slow.gguf')")
    running.process.terminate()
    assert running.process.wait(LIMIT_S) == -signal.SIGTERM
