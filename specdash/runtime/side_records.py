"""What is recorded beside the samples: texts to compare, and the verification steps that a K curve is made from.

None of it is a sample. Texts and traces come with the samples for nothing; margins, and the costs of short steps, take
requests of their own on the load that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from specdash.core import events as ev
from specdash.core.generation import Generation
from specdash.core.measure import verify_steps
from specdash.core.methods import BASELINE
from specdash.core.plan import KScope, Step
from specdash.core.profile import LOSSLESS
from specdash.core.prompts import Prompt
from specdash.core.state import RunState
from specdash.core.status import SampleStatus
from specdash.core.unmeasured_requests import CHECKED_TOKENS, ROUNDING_PLACES, cost_requests, request_lengths
from specdash.runtime.request import Taken
from specdash.runtime.requester import Requester, Sampling
from specdash.runtime.server import Publish

SPARE_PROMPTS = 4  # of a category, that its baseline answers beyond its samples: for arms whose text is in doubt
MOST_TRACES = 6  # whose ends are asked for step costs


class SideRecorder:
    """Records what goes along with the samples of a load."""

    def __init__(
        self,
        asking: Requester,
        publish: Publish,
        view: Callable[[], RunState],
        sampling: Sampling,
        in_doubt: Callable[[str], bool],
    ) -> None:
        """`in_doubt`: whether the answers to more prompts could tell if a step's text is the baseline's, by step id."""
        self._requester = asking
        self._in_doubt = in_doubt
        self._uncached: set[str] = set()  # loads whose servers keep no prompt
        self._publish = publish
        self._view = view
        self._sampling = sampling

    async def record(self, load: str, step: Step, block: int, taken: Taken, *, with_trace: bool) -> None:
        """Records the text of a valid sample, where texts can be compared, and its verification steps if wanted."""
        answer = taken.generation
        if answer is None or taken.sample.status != SampleStatus.OK:
            return
        if self._requester.temperature(step) == 0:
            await self._keep_text(answer)
        if with_trace:
            await self._keep_steps(load, step, "sample", block, answer)

    async def check_texts(self, load: str, steps: Sequence[Step]) -> None:
        """Greedy answers to compare texts by: with margins for baselines, and for all where samples are not greedy.

        A baseline answers every prompt of its samples once more, cold as they were: that shows whether it agrees with
        itself, and how sure it was of each token. Then again from the cache: by how much its margins differ is its
        rounding. It answers some prompts beyond its samples as well, for arms whose text is in doubt: these are asked
        them as long as that helps. Steps that have their answers already (of an earlier pass or process) keep them.
        """
        asked = [(step, self._own_checks(step)) for step in steps if self._view().steps[step.id].good]
        # In turns, so that few answers from the cache are of all categories.
        for place in range(max((count for _, count in asked), default=0) + SPARE_PROMPTS):
            for step, count in asked:
                prompts = self._requester.prompts_of(step, place + 1)
                if len(prompts) > place and (place < count or self._is_doubted(step)):
                    await self._check(load, step, prompts[place])
        for step, _ in asked:
            if step.method != BASELINE:
                await self._settle(load, step)

    def _own_checks(self, step: Step) -> int:
        """How many prompts a step answers beside its samples, whatever these say."""
        greedy = self._requester.temperature(step) == 0
        if greedy and step.method != BASELINE:
            return 0
        return len(self._view().steps[step.id].good) if greedy else 1

    def _is_doubted(self, step: Step) -> bool:
        """Whether a step is a baseline, on a server whose rounding is known, of others whose text may be in doubt."""
        view = self._view()
        return (
            step.method == BASELINE
            and any(check.cached_tokens for check in view.steps[step.id].checks)
            and view.table.is_compared_with(step)
        )

    async def _check(self, load: str, step: Step, prompt: Prompt) -> None:
        """A step's answer to a prompt, if it has none yet; a baseline's again from the cache, until that is enough."""
        if any(check.prompt_id == prompt.id for check in self._view().steps[step.id].checks):
            return
        is_baseline = step.method == BASELINE
        cold = await self._ask_check(load, step, prompt, cached=False)
        if is_baseline and cold is not None and cold.margins and cold.cached_tokens == 0 and self._wants_cached(step):
            again = await self._ask_check(load, step, prompt, cached=True)
            if again is not None and not again.cached_tokens:
                self._uncached.add(load)  # this server keeps no prompt: asking again would tell nothing

    async def _ask_check(self, load: str, step: Step, prompt: Prompt, *, cached: bool) -> Generation | None:
        """One answer to compare texts by, recorded; None where it failed."""
        longest = self._sampling.max_tokens
        tokens = longest if step.workload == LOSSLESS else min(longest, CHECKED_TOKENS)
        answer = await self._requester.unmeasured(
            step, prompt, "check", tokens, 0.0, cached=cached, margins=step.method == BASELINE
        )
        if answer is not None:
            await self._keep_text(answer)
            await self._publish(
                ev.TextChecked(step.id, load, prompt.id, answer.text_hash, answer.margins, answer.cached_tokens)
            )
        return answer

    def _wants_cached(self, step: Step) -> bool:
        """Whether more answers from the cache would tell more of a server's rounding."""
        view = self._view()
        load = view.current_load
        if load in self._uncached:
            return False
        alike = (found for found in view.table.of_pair(step.pair) if found.step.arm == step.arm)
        places = sum(len(check.margins) for found in alike for check in found.checks if check.cached_tokens)
        return places < ROUNDING_PLACES

    async def _settle(self, load: str, step: Step) -> None:
        """Asks a step with a text in doubt for its answers to further prompts that the baseline was asked."""
        base = self._view().steps.get(step.baseline().id)
        if base is None or step.method in self._requester.keeps_history:
            return  # what such a server has answered it drafts from memory: these prompts are kept for samples
        known = {check.prompt_id for check in base.checks}
        for prompt in self._requester.prompts_of(step, len(base.good) + SPARE_PROMPTS):
            if prompt.id in known and prompt.id not in self._answered(step) and self._in_doubt(step.id):
                await self._ask_check(load, step, prompt, cached=False)

    def _answered(self, step: Step) -> set[str]:
        """The prompts of which a step has a greedy answer."""
        found = self._view().steps[step.id]
        samples = found.good if self._requester.temperature(step) == 0 else ()
        return {sample.prompt_id for sample in samples} | {check.prompt_id for check in found.checks}

    async def probe_step_costs(self, load: str, steps: Sequence[Step]) -> None:
        """Asks for short answers to the samples' own prompts, with fewer tokens drafted a step.

        Where K is fixed, `core.unmeasured_requests` says at which number of tokens the last steps draft fewer; requests
        of one prompt follow each other, so that it is processed once. Where a request sets K, each length is asked for
        as K, prompts in turn: these builds repeat their last draft for a prompt that comes twice in a row.
        """
        wanted = {step.id: step for step in steps}
        known = self._alike(load, wanted)
        by_prompt = {
            (trace.step, self._requester.prompt(wanted[trace.step], trace.block or 0).id): trace
            for trace in known
            if trace.purpose == "sample"
        }
        # What an interrupted process has asked before is not asked again.
        costs = [trace for trace in known if trace.purpose == "cost"]
        at_k = {(trace.step, trace.block, max(trace.drafted, default=0)) for trace in costs}
        at_length = {(trace.step, trace.block, _generated(trace)) for trace in costs}
        chosen = _spread(list(by_prompt.values()), MOST_TRACES)
        fixed = self._view().scope is KScope.STARTUP
        for trace, k, tokens in _fixed_requests(chosen, wanted) if fixed else _free_requests(chosen, wanted):
            step = wanted[trace.step]
            if (trace.step, trace.block, tokens) in at_length if fixed else (trace.step, trace.block, k) in at_k:
                continue
            prompt = self._requester.prompt(step, trace.block or 0)
            temperature = self._requester.temperature(step)
            answer = await self._requester.unmeasured(
                step, prompt, "cost", tokens, temperature, cached=True, repeats=fixed, k=k, timed=True
            )
            if answer is not None:
                await self._keep_steps(load, step, "cost", trace.block, answer)

    def _alike(self, load: str, steps: Mapping[str, Step]) -> list[ev.StepTimes]:
        """The traces of these steps on servers like the one of this load, an earlier process's among them."""
        view = self._view()
        fingerprint = view.loads[load].fingerprint
        return [
            trace
            for name, traces in view.traces.items()
            if name in view.loads and view.loads[name].fingerprint == fingerprint
            for trace in traces
            if trace.step in steps and trace.block is not None
        ]

    async def _keep_text(self, answer: Generation) -> None:
        if answer.text_hash not in self._view().texts:
            await self._publish(ev.TextSeen(answer.text_hash, answer.tokens or characters(answer.text)))

    async def _keep_steps(self, load: str, step: Step, purpose: str, block: int | None, answer: Generation) -> None:
        steps = verify_steps(answer.chunks)
        # A pass that hides another one has no time and no draft length of its own.
        if not steps or not all(each.exact for each in steps):
            return
        ends = [0.0, *(each.end_ms for each in steps)]
        times = tuple(
            after - before if after is not None and before is not None else None for before, after in pairwise(ends)
        )
        drafted, accepted = tuple(each.drafted for each in steps), tuple(each.accepted for each in steps)
        await self._publish(ev.StepTimes(step.id, load, purpose, block, drafted, accepted, times))


def characters(text: str) -> tuple[int, ...]:
    """A text whose token ids are not told, to be compared character by character: as negative numbers, below any id."""
    return tuple(-1 - ord(character) for character in text)


Requested = list[tuple[ev.StepTimes, int | None, int]]  # for the prompt of a trace: K, and the number of tokens


def _fixed_requests(traces: Sequence[ev.StepTimes], steps: Mapping[str, Step]) -> Requested:
    return [(trace, None, tokens) for trace in traces for tokens in cost_requests(trace, steps[trace.step].k or 0)]


def _free_requests(traces: Sequence[ev.StepTimes], steps: Mapping[str, Step]) -> Requested:
    k_max = max((step.k or 0 for step in steps.values()), default=0)
    return [(trace, k, tokens) for k, tokens in request_lengths(k_max) for trace in traces]


def _generated(trace: ev.StepTimes) -> int:
    """How many tokens a request made: the prompt's own, and those of its steps."""
    return 1 + sum(trace.accepted) + len(trace.accepted)


def _spread(traces: Sequence[ev.StepTimes], most: int) -> list[ev.StepTimes]:
    """At most so many traces, evenly out of all."""
    if len(traces) <= most:
        return list(traces)
    return [traces[number * len(traces) // most] for number in range(most)]
