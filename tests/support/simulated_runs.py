"""Whole runs in a world of worlds.py, without processes: the facts that a sweep would publish, folded to a view.

`Run` plays the sweep: loads in the order of the queue, blocks as the sampler takes them, stages as `analysis.strategy`
orders them. Its clock goes by the simulated times, so drift is what it would be.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from specdash.analysis import strategy
from specdash.analysis.pass_drift import is_between_passes
from specdash.analysis.sequential import known_to
from specdash.core import events as ev
from specdash.core.measure import Sample
from specdash.core.methods import BASELINE, DRAFT
from specdash.core.plan import KScope, LoadKey, Step
from specdash.core.queue import loads_of, serves
from specdash.core.reduce import fold_all
from specdash.core.state import RunState
from specdash.core.status import SampleStatus, StepStatus
from specdash.core.step_state import StepState
from specdash.core.unmeasured_requests import cost_requests, request_lengths
from specdash.runtime.side_records import MOST_TRACES
from tests.support.worlds import Answer, Texts, World

START_S = 1795255200.0
TARGET = "7B"
PROMPT_S = 0.1  # of every prompt, cold
LIST = "list"
SECOND_PASS = "pass 2"  # a stage in the journal, see core.events.PlanChanged


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is asked to measure; `ks` are those to begin with. As the profile has them."""

    mode: str = LIST
    ks: tuple[int, ...] = (2, 4, 8, 16)
    iterations: int = 6
    passes: int = 1
    precision: float | None = None
    scope: KScope = KScope.STARTUP
    model_class: str = "dense-small"
    seed: int = 1


class Run:
    """One run in a world; `view` is what is known of it in the end, `texts` hold the truth."""

    def __init__(self, world: World, asked: Asked, seed: int) -> None:
        self.world = world
        self.asked = asked
        self.texts = Texts(world, seed)
        self.loads = 0
        self.samples = 0
        self._seed = seed
        self._luck = random.Random(f"{seed}/noise")
        self._clock_s = 0.0
        self._facts: list[ev.Recorded] = []
        self.records: list[ev.Recorded] = []
        self._seq = 0
        self.view = RunState()
        self._play()

    def _play(self) -> None:
        self._publish(*self._opening())
        self._fold()
        while True:
            self._reconsider()
            planned = next(iter(loads_of(self.view.steps, self.view.scope)), None)
            if planned is None:
                break
            self._load(planned.key)
        self._publish(ev.RunFinished("finished", 0))
        self._fold()

    def _reconsider(self) -> None:
        while (change := strategy.next_change(self.view)) is not None:
            self._publish(ev.PlanChanged(change.reason, 0, change.edits, change.stage))
            self._fold()

    def _publish(self, *facts: ev.Fact) -> None:
        for fact in facts:
            self._seq += 1
            self._facts.append(ev.Recorded(self._seq, START_S + self._clock_s, fact))

    def _fold(self) -> None:
        self.view = fold_all(self._facts, self.view)
        self.records += self._facts
        self._facts.clear()

    def _opening(self) -> list[ev.Fact]:
        asked, world = self.asked, self.world
        base = Step.of(TARGET, method=BASELINE, category="")
        arms = [base, *(base.with_values(draft=draft, method=DRAFT, k=k) for draft in world.pairs for k in asked.ks)]
        steps = tuple(replace(arm, category=category) for arm in arms for category in world.categories)
        first = strategy.first_samples(asked.mode, asked.iterations)
        counts = {step.id: first for step in steps if first is not None and step.method != BASELINE}
        settings = ev.RunSettings(
            max_tokens=world.max_tokens,
            temperature=0.0,
            seed=asked.seed,
            warmup=1,
            iterations=asked.iterations,
            prompts="builtin",
            k=asked.mode,
            passes=asked.passes,
            precision=asked.precision,
            workloads=("content",),
        )
        hardware = {"label": "simulated", "cpu": None, "cores": None, "ram_bytes": None, "gpus": None}
        started = ev.RunStarted(
            "simulated", "simulated", "0", hardware, "nowhere", settings, "0", steps, iterations=counts
        )
        models = [
            ev.ModelRead(TARGET, "target", "/t.gguf", 8_000_000_000, "llama", "Q8_0", asked.model_class),
            *(
                ev.ModelRead(draft, "draft", f"/{draft}.gguf", pair.size_bytes, "llama", "Q8_0", asked.model_class)
                for draft, pair in world.pairs.items()
            ),
        ]
        return [started, ev.EngineFound("llama-server", "/llama-server", "0", "current", asked.scope.value), *models]

    def _load(self, key: LoadKey) -> None:
        """One server from start to end; what its steps say may give it more steps, as long as it can take them."""
        self.loads += 1
        load = f"l{self.loads:03d}"
        self._clock_s += self.world.load_s
        load_speed = math.exp(self._luck.gauss(0, self.world.load_noise)) if self.world.load_noise else 1.0
        size = sum(model.size_bytes for label, model in self.view.models.items() if label in (key.target, key.draft))
        argv = ("/llama-server", "-m", "/t.gguf")
        self._publish(ev.LoadStarted(load, key, argv, f"logs/{load}.log", size, 180.0, "fp", argv))
        self._publish(ev.LoadReady(load, self.world.load_s, 1), ev.WarmedUp(load, 1, 1.0))
        self._fold()
        while steps := [
            found.step
            for found in self.view.steps.values()
            if not found.is_done and serves(key, found, self.view.scope)
        ]:
            self._round(load, key, steps, load_speed)
            self._reconsider()
        self._publish(ev.LoadFinished(load, "stopped"))
        self._fold()

    def _round(self, load: str, key: LoadKey, steps: Sequence[Step], load_speed: float) -> None:
        """Steps in blocks of balanced order, what goes beside them, and their ends."""
        self._publish(*(ev.StepStarted(step.id, load, "fp") for step in steps))
        self._fold()
        with_traces = self.asked.mode == strategy.CURVE and key.k_startup is not None
        self._blocks(load, key, steps, load_speed, with_traces)
        if with_traces:
            self._fold()
        if with_traces and not any(trace.purpose == "cost" for trace in self.view.traces.get(load, ())):
            self._take_costs(load, key, [step for step in steps if step.k == key.k_startup], load_speed)
        self._publish(*(ev.StepFinished(step.id, load, StepStatus.OK, (), None, "fp") for step in steps))
        self._fold()

    def _blocks(self, load: str, key: LoadKey, steps: Sequence[Step], load_speed: float, with_traces: bool) -> None:
        """The blocks of a load, in the order that `runtime.sampler` takes them."""
        most = {step.id: self.view.iterations(step.id) or 0 for step in steps}
        # The samples so far, those of earlier loads too, are looked at through the steps themselves.
        taken = {step.id: self.view.steps[step.id] for step in steps}
        for block in range(max(most.values())):
            taking = [
                step
                for step in steps
                if block < most[step.id] and not self._enough(taken[step.id], most[step.id], block)
            ]
            random.Random(f"{self._seed}/{load}/{block // 2}").shuffle(taking)
            for step in reversed(taking) if block % 2 else taking:
                found = taken[step.id]
                if any(sample.block == block for sample in found.samples):
                    continue
                trace = with_traces and step.k == key.k_startup
                sample = self._sample(load, step, block, load_speed, trace)
                taken[step.id] = replace(found, samples=(*found.samples, sample))
                self._publish(ev.SampleTaken(step.id, load, sample, sample.total_time_s or 0.0))

    def _enough(self, found: StepState, most: int, block: int) -> bool:
        """As `session.planner` decides it."""
        precision = self.asked.precision
        if is_between_passes(self.view, found.step.id, block):
            return True
        if precision is None or any(change.stage == SECOND_PASS for change in self.view.replans):
            return False
        if self.asked.mode == strategy.SEARCH and found.step.method != BASELINE:
            return False
        return known_to([(each.prompt_id, each.decode_tok_s or 0.0) for each in found.samples], precision, most)

    def _sample(self, load: str, step: Step, block: int, load_speed: float, trace: bool) -> Sample:
        """One measured request; its trace, where wanted, is published before it."""
        world, prompt = self.world, block % self.world.prompts
        answer = self.texts.answer(step.draft, step.k or 0, step.category, prompt)
        plain_s = self._plain_step_s(step.category, prompt, load_speed)
        if trace:
            times = self._times_ms(answer, plain_s)
            self._publish(ev.StepTimes(step.id, load, "sample", block, answer.drafted, answer.accepted, times))
            decode_s = sum(times) / 1e3
        else:
            # The sum of many steps is normal enough, and a tenth of the work.
            noise = math.sqrt(math.expm1(world.step_noise**2) * answer.squares) * self._luck.gauss(0, 1)
            decode_s = plain_s * max(answer.cost + noise, 0.1 * answer.cost)
        started_s = START_S + self._clock_s
        self._clock_s += PROMPT_S + decode_s
        self.samples += 1
        return _sample_of(step, f"p{prompt}", block, started_s, answer, decode_s)

    def _plain_step_s(self, category: str, prompt: int, load_speed: float) -> float:
        """The time of a plain step in the answer that begins now, with the noise of this sample."""
        world = self.world
        speed = (1 + world.drift_per_hour * self._clock_s / 3600) * load_speed
        noise = self._luck.lognormvariate(-(world.sample_noise**2) / 2, world.sample_noise)
        return world.plain_step_s * self.texts.slowness(category, prompt) * noise / speed

    def _times_ms(self, answer: Answer, plain_s: float) -> tuple[float, ...]:
        """The times of an answer's steps, in milliseconds."""
        sigma = self.world.step_noise
        draw = self._luck.lognormvariate
        return tuple(1e3 * plain_s * cost * draw(-(sigma**2) / 2, sigma) for cost in answer.costs)

    def _take_costs(self, load: str, key: LoadKey, steps: Sequence[Step], load_speed: float) -> None:
        """The requests that `runtime.side_records` sends for the costs of short steps."""
        wanted = {step.id: step for step in steps}
        known = self.view.traces.get(load, ())
        traces = [trace for trace in known if trace.step in wanted and trace.purpose == "sample"]
        if len(traces) > MOST_TRACES:
            traces = [traces[number * len(traces) // MOST_TRACES] for number in range(MOST_TRACES)]
        k_max = key.k_startup or 0
        if self.asked.scope is KScope.STARTUP:
            requests = [(trace, k_max, tokens) for trace in traces for tokens in cost_requests(trace, k_max)]
        else:
            requests = [(trace, k, tokens) for k, tokens in request_lengths(k_max) for trace in traces]
        for trace, k, tokens in requests:
            step, prompt = wanted[trace.step], (trace.block or 0) % self.world.prompts
            answer = self.texts.answer(step.draft, k, step.category, prompt, tokens)
            times = self._times_ms(answer, self._plain_step_s(step.category, prompt, load_speed))
            self._clock_s += PROMPT_S + sum(times) / 1e3
            self._publish(ev.StepTimes(step.id, load, "cost", trace.block, answer.drafted, answer.accepted, times))


def _sample_of(step: Step, prompt_id: str, block: int, started_s: float, answer: Answer, decode_s: float) -> Sample:
    """The sample of an answer."""
    k, tokens = step.k or 0, answer.tokens
    return Sample(
        prefill_time_s=PROMPT_S,
        prefill_tok_s=100 / PROMPT_S,
        decode_time_s=decode_s,
        decode_tok_s=tokens / decode_s,
        throughput_tok_s=(101 + tokens) / (PROMPT_S + decode_s),
        ttft_s=PROMPT_S,
        total_time_s=PROMPT_S + decode_s,
        prompt_tokens=100,
        cached_tokens=0,
        generated_tokens=tokens + 1,
        draft_tokens=sum(answer.drafted) if k else None,
        accepted_tokens=sum(answer.accepted) if k else None,
        steps=len(answer.drafted),
        clock="server",
        prompt_id=prompt_id,
        block=block,
        started_s=started_s,
        finish_reason="limit",
        text_hash=f"{step.category} {prompt_id}",
        k_seen=max(answer.drafted) if k else None,
        positions_drafted=answer.positions_drafted,
        positions_accepted=answer.positions_accepted,
        client_decode_time_s=decode_s,
        client_decode_tok_s=tokens / decode_s,
        status=SampleStatus.OK,
        reasons=(),
    )
