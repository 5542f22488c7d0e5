"""What a client may ask of a run that goes on: the journal tells the same story as the client was told."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from specdash.core import commands as cmd
from specdash.core import events as ev
from specdash.core.ticks import LogTick, MemoryTick, ServerTick, TokenTick
from specdash.remote.feed import RunFeed
from specdash.remote.run_source import CommandRefused
from specdash.store.journal import Journal
from tests.support.attached_client import Client, attached
from tests.support.fake_machine import Bench, assert_complete
from tests.support.machine import Command as Process
from tests.support.machine import newest, wait_for

SLOW = "speed=40"  # a token every 25 ms or so: there is time to ask for something


def slow_profile(bench: Bench, **tables: Any) -> Path:
    """A pair with K = 2 and 4, K taken per request, whose requests take about a second."""
    engine = {"env": {"FAKE_SERVER": f"{SLOW},k_scope=request"}}
    sweep = {"k": [2, 4], **tables.pop("sweep", {})}
    measure = {"iterations": 3, "warmup": 0, "max_tokens": 40, **tables.pop("measure", {})}
    return bench.profile(["T"], ["D"], engine=engine, sweep=sweep, measure=measure, **tables)


def folder(bench: Bench) -> Path:
    """The run folder, once clients can connect."""
    wait_for(lambda: (path := newest(bench.results)) is not None and (path / "engine.json").exists())
    path = newest(bench.results)
    assert path is not None
    return path


def sampling(feed: RunFeed) -> bool:
    """Whether a sample is being taken."""
    return feed.live.token is not None and feed.live.token.purpose == "sample" and feed.live.token.tokens > 0


def step_ids(feed: RunFeed, k: int | None) -> list[str]:
    return [step_id for step_id, found in feed.view.steps.items() if found.step.k == k]


def ended(process: Process, client: Client) -> None:
    """The end of the run, its folds in client and journal alike."""
    run = process.end()
    assert run.view == client.feed.view


async def test_a_run_pauses_with_its_server_up_and_goes_on(bench: Bench) -> None:
    process = bench.headless(slow_profile(bench))
    async with attached(folder(bench)) as client:
        await client.until(sampling)
        await client.ask(cmd.PAUSE)
        with pytest.raises(CommandRefused, match="paused already"):
            await client.ask(cmd.PAUSE)
        feed = await client.until(lambda feed: feed.live.server is not None and feed.live.server.state == "ready")
        samples = sum(len(found.samples) for found in feed.view.steps.values())
        assert feed.view.paused
        await client.ask(cmd.RESUME)
        await client.until(lambda feed: sum(len(each.samples) for each in feed.view.steps.values()) > samples)
        await client.ask(cmd.STOP)
        await client.until(lambda feed: feed.gone is not None)
        ended(process, client)
    run = process.end()
    assert run.code == 75
    assert [fact.command for fact in run.facts(ev.CommandAccepted)] == ["pause", "resume", "stop"]
    assert bench.resume(run.path).code == 0


async def test_a_step_that_is_skipped_while_it_runs_ends_at_once_and_costs_no_exit_code(bench: Bench) -> None:
    process = bench.headless(slow_profile(bench, measure={"max_tokens": 4000}))
    async with attached(folder(bench)) as client:
        feed = await client.until(sampling)
        assert feed.live.token is not None
        assert feed.live.token.step is not None
        await client.edit(cmd.Skip((feed.live.token.step,)))
        drafted = [*step_ids(feed, 2), *step_ids(feed, 4)]
        await client.edit(cmd.Skip(tuple(drafted[:1])))
        with pytest.raises(CommandRefused, match="skipped already"):
            await client.edit(cmd.Skip(tuple(drafted)))
        await client.edit(cmd.Skip(tuple(drafted[1:])))  # the run ends with that
        await client.until(lambda feed: feed.gone is not None)
        assert all(found.by_user for found in client.feed.view.steps.values())
    run = process.end()
    # Nothing at all was measured, and that is what the user asked for.
    assert run.code == 0
    assert all(found.status == "skipped" for found in run.view.steps.values())


async def test_a_k_that_is_added_joins_the_server_that_runs(bench: Bench) -> None:
    process = bench.headless(slow_profile(bench))
    async with attached(folder(bench)) as client:
        feed = await client.until(lambda feed: feed.view.k_scope is not None and sampling(feed))
        known = next(found.step for found in feed.view.steps.values() if found.step.k == 4)
        added = known.with_values(k=3)
        await client.edit(cmd.Add((added,)), cmd.SetIterations((added.id,), 2))
        with pytest.raises(CommandRefused, match="in the queue already"):
            await client.edit(cmd.Add((added,)))
        with pytest.raises(CommandRefused, match="no target of this run"):
            await client.edit(cmd.Add((replace(added, target="X"),)))
        await client.until(lambda feed: feed.gone is not None)
    run = process.end()
    assert run.code == 0
    assert len(run.view.loads) == 2
    assert len(run.only(k=3).good) == 2
    assert run.only(k=3).step.id in {found["step"] for found in run.result["measurements"]}


async def test_a_larger_k_gets_a_server_of_its_own(bench: Bench) -> None:
    process = bench.headless(slow_profile(bench))
    async with attached(folder(bench)) as client:
        feed = await client.until(lambda feed: feed.view.k_scope is not None and sampling(feed))
        known = next(found.step for found in feed.view.steps.values() if found.step.k == 4)
        await client.edit(cmd.Add((known.with_values(k=8),), iterations=3))
        await client.until(lambda feed: feed.gone is not None)
    run = process.end()
    assert run.code == 0
    assert [load.key.k_startup for load in run.view.loads.values()] == [None, 4, 8]


async def test_what_failed_is_tried_again_when_asked(bench: Bench) -> None:
    program = bench.program({"T": ["die_after_requests=1", "die_after_requests=1", ""], "U": SLOW})
    profile = bench.profile(["T", "U"], engine={"program": str(program)}, measure={"max_tokens": 100})
    process = bench.headless(profile)
    async with attached(folder(bench)) as client:
        feed = await client.until(lambda feed: any(each.status == "failed" for each in feed.view.steps.values()))
        (failed,) = [step_id for step_id, found in feed.view.steps.items() if found.status == "failed"]
        await client.edit(cmd.Reopen((failed,)))
        await client.until(lambda feed: feed.gone is not None)
    run = process.end()
    assert_complete(run)
    assert run.loads("T") == 3


async def test_the_run_stops_after_the_load_when_asked(bench: Bench) -> None:
    process = bench.headless(slow_profile(bench))
    async with attached(folder(bench)) as client:
        await client.until(sampling)
        await client.ask(cmd.STOP_AFTER_LOAD)
        await client.until(lambda feed: feed.gone is not None)
    run = process.end()
    assert run.code == 75
    assert [found.status for found in run.view.steps.values()] == ["ok", "open", "open"]


async def test_an_edited_queue_survives_its_engine(bench: Bench) -> None:
    process = bench.headless(slow_profile(bench))
    async with attached(folder(bench)) as client:
        feed = await client.until(sampling)
        two, four = step_ids(feed, 2)[0], step_ids(feed, 4)[0]
        added = feed.view.steps[four].step.with_values(k=6)
        await client.edit(cmd.Remove((two,)), cmd.Add((added,)), cmd.Move((added.id,), four))
    killed = process.kill()
    assert list(killed.view.steps) == [step_ids(feed, None)[0], added.id, four]
    run = bench.resume(killed.path)
    assert run.code == 0
    assert list(run.view.steps) == list(killed.view.steps)
    assert all(found.status == "ok" for found in run.view.steps.values())


async def test_clients_see_the_tokens_the_server_the_memory_and_the_log(bench: Bench) -> None:
    process = bench.headless(slow_profile(bench))
    async with attached(folder(bench)) as client, attached(folder(bench)) as other:
        await client.until(lambda feed: bool(feed.live.token and feed.live.token.accepted))
        await client.until(lambda feed: feed.live.log is not None and feed.live.memory is not None)
        token = client.feed.live.token
        assert token is not None
        await client.until(lambda feed: bool(feed.live.token and any(run.drafted for run in feed.live.token.text)))
        await other.until(lambda feed: feed.view.last_seq >= client.feed.view.last_seq)
        await client.ask(cmd.STOP)
        await asyncio.gather(*(each.until(lambda feed: feed.gone is not None) for each in (client, other)))
        assert client.feed.view == other.feed.view
        assert {type(tick) for tick in client.ticks} == {ServerTick, TokenTick, MemoryTick, LogTick}
        states = {tick.state for tick in client.ticks if isinstance(tick, ServerTick)}
        assert "busy" in states
        memory = next(tick for tick in client.ticks if isinstance(tick, MemoryTick))
        assert 0 < memory.available_bytes < memory.total_bytes
    process.end()


def drafting(feed: RunFeed) -> bool:
    """Whether a step with a draft is being sampled."""
    token = feed.live.token
    return feed.view.k_scope is not None and sampling(feed) and token is not None and "draft" in (token.step or "")


async def test_a_step_that_is_opened_again_in_mid_load_gets_all_its_blocks(bench: Bench) -> None:
    process = bench.headless(slow_profile(bench, sweep={"k": [2, 4, 6]}))
    async with attached(folder(bench)) as client:
        feed = await client.until(drafting)
        assert feed.live.token is not None
        victim = feed.live.token.step
        assert victim is not None
        await client.edit(cmd.Skip((victim,)))
        others = [each for k in (2, 4, 6) for each in step_ids(feed, k) if each != victim]
        await client.until(lambda feed: any(s.block >= 1 for each in others for s in feed.view.steps[each].samples))
        await client.edit(cmd.Reopen((victim,)))
        await client.until(lambda feed: feed.gone is not None)
    run = process.end()
    assert_complete(run)
    assert sorted(each.block for each in run.view.steps[victim].good) == [0, 1, 2]
    assert len(run.view.loads) == 2


async def test_a_larger_k_costs_no_sample_of_the_smaller_ones(bench: Bench) -> None:
    process = bench.headless(slow_profile(bench))
    async with attached(folder(bench)) as client:
        feed = await client.until(lambda feed: any(each.samples and each.step.k for each in feed.view.steps.values()))
        known = next(each.step for each in feed.view.steps.values() if each.step.k == 4)
        await client.edit(cmd.Add((known.with_values(k=8),), iterations=3))
    killed = process.kill()
    run = bench.resume(killed.path)
    assert run.code == 0
    taken = Counter((fact.step, fact.sample.block) for fact in run.facts(ev.SampleTaken))
    assert set(taken.values()) == {1}


async def test_a_model_may_be_a_draft_and_a_target(bench: Bench) -> None:
    small = bench.folder / "small.gguf"
    shutil.copy(bench.draft, small)
    process = bench.headless(slow_profile(bench))
    async with attached(folder(bench)) as client:
        feed = await client.until(drafting)
        known = next(each.step for each in feed.view.steps.values() if each.step.k == 4)
        alone = replace(known.baseline(), target="S")
        as_draft, as_target = (cmd.NewModel("S", role, str(small)) for role in ("draft", "target"))
        with pytest.raises(CommandRefused, match="give the whole path"):
            await client.edit(cmd.Add((alone,), models=(cmd.NewModel("S", "target", "small.gguf"),)))
        await client.edit(cmd.Add((known.with_values(draft="S", k=2),), models=(as_draft,), iterations=3))
        await client.edit(cmd.Add((alone,), models=(as_target,), iterations=3))
        await client.ask(cmd.STOP)
        await client.until(lambda feed: feed.gone is not None)
    stopped = process.end()
    assert bench.resume(stopped.path).code == 0


async def test_a_refused_edit_leaves_no_model_behind(bench: Bench) -> None:
    small = bench.folder / "small.gguf"
    shutil.copy(bench.draft, small)
    process = bench.headless(slow_profile(bench))
    async with attached(folder(bench)) as client:
        feed = await client.until(drafting)
        known = next(each.step for each in feed.view.steps.values() if each.step.k == 4)
        new = cmd.NewModel("S", "draft", str(small))
        with pytest.raises(CommandRefused, match="no such step"):
            await client.edit(cmd.Add((known.with_values(draft="S"),), before="nonsense", models=(new,)))
        with pytest.raises(CommandRefused, match="no room"):
            await client.edit(cmd.Add((known.with_values(k=1_000_000),)))
        await client.ask(cmd.STOP)
        await client.until(lambda feed: feed.gone is not None)
        assert "S" not in client.feed.view.models
    stopped = process.end()
    small.unlink()
    assert bench.resume(stopped.path).code == 0


@dataclass(frozen=True, slots=True)
class Frob(cmd.Edit):
    """An edit that only a later version knows."""

    TYPE: ClassVar[str] = "frob"
    steps: tuple[str, ...]


async def test_an_edit_of_a_later_version_is_said_and_spoils_no_other_run(bench: Bench) -> None:
    first = bench.run(bench.profile())
    second = bench.run(bench.profile(name="other"))
    assert first.path is not None
    journal = Journal.open(first.path / "journal.jsonl")
    journal.append(ev.CommandAccepted("edit", "frobbed", (Frob(("x",)),)))
    journal.close()
    listed = bench.start("runs")
    out, _ = listed.process.communicate()
    assert second.path is not None
    assert "damaged" in out
    assert second.path.name in out
    for command in ("report", "resume"):
        asked = bench.start(command, first.path)
        _, err = asked.process.communicate()
        assert "does not understand" in err
        assert "internal error" not in err
