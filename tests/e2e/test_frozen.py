"""Processes that are stopped for a while in every phase of a run: no figure holds that, and what it cost is told."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from specdash.core import events as ev
from specdash.core.measure import Sample, Verdict
from specdash.runtime import process as process_module
from specdash.runtime.request import TRIES
from specdash.runtime.stopped import is_stopped
from specdash.store.journal import read
from tests.support.machine import Command, Run, descendants, newest, wait_for
from tests.support.real_machine import ONE_THREAD
from tests.support.terminal_machine import Place

LONG_S = 0.8  # of what the engine's heartbeat has to see
STALL_S = 1.2  # in which a server that works does something
SHORT_S = 0.1  # of what the guard is told by the kernel
FREEZER = Path("/sys/fs/cgroup/freezer")

PROMPT, DECODING, BETWEEN = "prompt being read", "decoding", "between samples"
ENGINE, GUARD, SERVER, ALL, CONTAINER = "engine", "guard", "server", "all", "container"
STOP_THE_SERVER = (SERVER, ALL, CONTAINER)


@dataclass(frozen=True)
class Frozen:
    """A freeze that is over: who, in which phase, and when (seconds since 1970)."""

    who: str
    phase: str
    begun_s: float
    ended_s: float


class Watched:
    """A headless run whose engine, guard and server can be frozen, and what its server's log and slots tell."""

    def __init__(self, place: Place, profile: Path) -> None:
        self.command: Command = place.headless(profile)
        wait_for(lambda: newest(place.results) is not None)
        found = newest(place.results)
        assert found is not None
        self.path = found
        self.container: Path | None = None
        self._tasks = 0

    def facts(self) -> list[ev.Fact]:
        return [recorded.fact for recorded in read(self.path / "journal.jsonl").records]

    def family(self) -> dict[str, list[psutil.Process]]:
        """The processes by their part, once the guard has a child that has become the server's program.

        A child that is stopped before holds its parent in the kernel, and nothing can be stopped there.
        """
        engine = psutil.Process(self.command.process.pid)
        guard_script = str(process_module.GUARD)
        wait_for(lambda: [guard_script in each.cmdline() for each in descendants(engine.pid)] == [True, False])
        guard, *servers = descendants(engine.pid)
        return {ENGINE: [engine], GUARD: [guard], SERVER: servers, ALL: [*servers, guard, engine]}

    def log(self, words: str) -> int:
        """How often the log of the server has these words."""
        return sum(path.read_text(errors="replace").count(words) for path in self.path.glob("logs/l*.log"))

    def until_next_task(self) -> None:
        """Waits until the server takes up a request that it had not when this was asked last."""
        wait_for_soon(lambda: self.log("processing task") > self._tasks)
        self._tasks = self.log("processing task")

    def until_decoding(self) -> None:
        """Waits until the server says that it has decoded some tokens of a request."""
        self.until_next_task()
        argv = next(fact.argv for fact in self.facts() if isinstance(fact, ev.LoadStarted))
        url = f"http://127.0.0.1:{argv[argv.index('--port') + 1]}/slots"

        def decoded() -> bool:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return any(int(count) > 6 for count in re.findall(r'"n_decoded":\s*(\d+)', answer.read().decode()))

        wait_for_soon(decoded)

    def until_between(self) -> None:
        """Waits until the server is done with a request that it takes up from now on."""
        self.until_next_task()
        before = self.log("stop processing")
        wait_for_soon(lambda: self.log("stop processing") > before or self.log("processing task") > self._tasks)

    def freeze(self, who: str, phase: str, seconds: float) -> Frozen:
        """Stops processes for a while."""
        if who == CONTAINER:
            assert self.container is not None
            (self.container / "freezer.state").write_text("FROZEN")
            wait_for(lambda: (self.container / "freezer.state").read_text().strip() == "FROZEN")  # type: ignore[operator]
            begun_s = time.time()
            time.sleep(seconds)  # the freeze itself
            ended_s = time.time()
            (self.container / "freezer.state").write_text("THAWED")
            return Frozen(who, phase, begun_s, ended_s)
        processes = self.family()[who]
        for process in processes:
            process.suspend()
        wait_for(lambda: all(is_stopped(process.pid) for process in processes))
        begun_s = time.time()
        time.sleep(seconds)  # the freeze itself
        ended_s = time.time()
        for process in reversed(processes):
            process.resume()
        return Frozen(who, phase, begun_s, ended_s)

    def end(self) -> Run:
        """Ends it cleanly, wherever it is."""
        self.command.send(signal.SIGINT)
        return self.command.end()


def wait_for_soon(condition: Callable[[], bool]) -> None:
    """As `wait_for`, looking more often: phases are short."""
    until_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until_s, "it never came true"
        time.sleep(0.002)


@pytest.fixture
def container() -> Iterator[Path | None]:
    """A freezer to put processes in; None where this user may not make one."""
    path = FREEZER / f"specdash-test-{uuid.uuid4().hex[:8]}"
    if not os.access(FREEZER, os.W_OK) or not (FREEZER / "cgroup.procs").exists():
        yield None
        return
    path.mkdir()
    yield path
    (path / "freezer.state").write_text("THAWED")
    for pid in (path / "cgroup.procs").read_text().split():  # what a failed test has left stopped
        os.kill(int(pid), signal.SIGCONT)
    wait_for(lambda: not (path / "cgroup.procs").read_text().strip())
    path.rmdir()


def profile_of(place: Place, program: Path, model: Path, tokens: int, iterations: int, **engine: float) -> Path:
    """A baseline of one category, with prompts that take a while to read."""
    prompts = place.folder / "prompts.jsonl"
    words = "the quick brown fox jumps over the lazy dog and runs away"
    lines = [{"category": "coding", "prompt": f"{number}. {words}"} for number in range(3)]
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = {
        "name": "frozen",
        "hardware": "bench",
        "engine": {"program": str(program), "args": ONE_THREAD} | engine,
        "sweep": {"methods": []},
        "measure": {
            "prompts": str(prompts),
            "categories": ["coding"],
            "max_tokens": tokens,
            "iterations": iterations,
            "warmup": 1,
        },
        "limits": {"inhibit_sleep": False},
        "results": {"dir": str(place.results)},
        "targets": [{"label": "T", "path": str(model)}],
    }
    return place.write_profile("frozen", settings)


def taken_in(run: Run, frozen: Frozen) -> list[Sample]:
    """The samples whose requests were in flight during a freeze.

    A request begins some time after its sample, and ends some time before that is recorded: how long it took is known.
    """
    found = []
    for recorded in run.records:
        if isinstance(recorded.fact, ev.SampleTaken):
            sample = recorded.fact.sample
            took_s = sample.total_time_s
            if took_s is None:
                took_s = recorded.time_s - sample.started_s
            at_earliest = sample.started_s, sample.started_s + took_s
            at_latest = recorded.time_s - took_s, recorded.time_s
            if all(
                begun_s < frozen.ended_s and ended_s > frozen.begun_s for begun_s, ended_s in (at_earliest, at_latest)
            ):
                found.append(sample)
    return found


@pytest.mark.real
def test_no_sample_counts_a_pause(place: Place, llama_server: Path, small_models: Path, container: Path | None) -> None:
    watched = Watched(place, profile_of(place, llama_server, small_models / "smol-q4_1.gguf", 24, 60))
    if container is not None:
        (container / "cgroup.procs").write_text(str(watched.command.process.pid))
        watched.container = container
    watched.command.journal_says(lambda fact: isinstance(fact, ev.LoadStarted))
    watched.freeze(ALL, "load", LONG_S)
    watched.until_next_task()  # the one token that proves the server
    watched.until_next_task()
    watched.freeze(SERVER, "warm-up", SHORT_S)
    phases = {PROMPT: watched.until_next_task, DECODING: watched.until_decoding, BETWEEN: watched.until_between}
    watched.command.journal_says(lambda fact: isinstance(fact, ev.SampleTaken))
    watched.until_next_task()
    frozen = []
    for phase, until in phases.items():
        # What leaves the server alone comes between, so that no block is hit three times.
        for each in (SERVER, ENGINE, ALL, GUARD, *[CONTAINER] * (container is not None and phase == DECODING)):
            until()
            frozen.append(watched.freeze(each, phase, SHORT_S if each in (GUARD, SERVER) else LONG_S))
    watched.until_next_task()
    run = watched.end()
    assert run.code == 130, run.stderr
    (ready,), (warm,) = run.facts(ev.LoadReady), run.facts(ev.WarmedUp)
    assert (ready.load_time_s, warm.wall_s) == (None, None)
    hit = [sample for freeze in frozen if freeze.who in STOP_THE_SERVER for sample in taken_in(run, freeze)]
    assert [sample for sample in hit if sample.reasons != (Verdict.PAUSED,) and not was_over(sample)] == [], frozen
    for freeze in frozen:
        samples = taken_in(run, freeze)
        assert samples or freeze.phase == BETWEEN, freeze
        if freeze.who not in STOP_THE_SERVER:
            check(freeze, [sample for sample in samples if sample not in hit])
    paused = [fact for fact in run.facts(ev.SampleTaken) if fact.sample.reasons == (Verdict.PAUSED,)]
    again = run.result["effort"]["taken_again"]
    assert again == sum(each["taken_again"] for each in run.result["unfinished"])
    tries = Counter(fact.sample.block for fact in paused)
    given_up = sum(count == TRIES for count in tries.values())
    # The last one may not have been taken again yet.
    assert len(paused) - given_up - 1 <= again <= len(paused) - given_up
    assert max(tries.values()) <= TRIES
    assert f"{again} samples were taken again (paused)" in run.stderr
    void = [fact for fact in run.facts(ev.SampleTaken) if "total_time_s" in fact.sample.unknown]
    for name in ("report.md", "report.html"):
        assert run.path is not None
        text = (run.path / name).read_text()
        assert f"{again} samples were taken again (paused)" in text
        assert ("itself was stopped during" in text) == bool(void)


def was_over(sample: Sample) -> bool:
    """Whether all tokens had come before a pause: the total holds it, and no other figure."""
    return sample.status == "ok" and sample.unknown.keys() == {"total_time_s", "throughput_tok_s"}


def check(frozen: Frozen, samples: Sequence[Sample]) -> None:
    """What is known of samples during which the server worked on."""
    for sample in samples:
        if frozen.who == ENGINE and (sample.prefill_time_s or 0.0) > LONG_S / 2:
            continue  # a busy machine: the prompt took so long that it may hold the pause
        assert (sample.status, sample.clock) == ("ok", "server"), frozen
        assert sample.decode_tok_s is not None
        if frozen.who == ENGINE:
            assert (sample.total_time_s, sample.throughput_tok_s) == (None, None), frozen
            assert "specdash itself was stopped" in sample.unknown["total_time_s"]
            assert sample.ttft_s is None or frozen.phase != PROMPT, frozen


@pytest.mark.real
def test_a_stop_of_the_engine_makes_no_load_time_and_no_failure(
    place: Place, llama_server: Path, small_models: Path
) -> None:
    watched = Watched(place, profile_of(place, llama_server, small_models / "smol-q2_k.gguf", 16, 1, stall_s=STALL_S))
    watched.command.journal_says(lambda fact: isinstance(fact, ev.LoadStarted))
    watched.freeze(ENGINE, "load", LONG_S)
    watched.until_next_task()  # the one token that proves the server
    watched.until_next_task()
    watched.freeze(GUARD, "warm-up", SHORT_S)
    watched.until_next_task()
    # The server is done long before the engine goes on, and does nothing then: that is no hang of its own.
    watched.freeze(ENGINE, PROMPT, 2 * STALL_S)
    run = watched.command.end()
    assert run.code == 0, run.stderr
    (ready,), (warm,) = run.facts(ev.LoadReady), run.facts(ev.WarmedUp)
    assert ready.load_time_s is None
    assert warm.wall_s is not None
    assert run.result["loads"][0]["load_time_s"] is None
    assert run.result["effort"]["load_time_s"] is None
    assert "how long it took is unknown" in run.stderr
    (measured,) = run.result["measurements"]
    assert measured["status"] == "ok"
    assert len(run.facts(ev.LoadStarted)) == 1
