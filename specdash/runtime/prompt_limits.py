"""Whether the prompts of a run fit the contexts of its servers: asked once a tokenizer answers, and of no load twice.

A prompt that is not shorter than the context is refused, whatever the draft or K. How long it is depends on the target
and on the configuration (its template), the context on the configuration, and, where no argument sets it, on the memory
that is left: then it may be smaller beside another draft, and is asked of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from specdash.core import events as ev
from specdash.core.axes import Values
from specdash.core.engine import ServerSpec
from specdash.core.measure import Verdict
from specdash.core.plan import Step
from specdash.core.prompts import TEMPLATE_TOKENS, Prompt
from specdash.core.state import RunState
from specdash.core.status import StepStatus
from specdash.core.steptable import StepTable
from specdash.core.text import plural
from specdash.runtime.requester import Requester
from specdash.runtime.server import Publish

ROUND = 256  # servers round a context up to a multiple of this

_Setting = tuple[str, Values]  # target, configuration, experts
_Question = tuple[str, int, int]  # category, depth, number of samples: of the same setting, they ask the same


class Lengths:
    """The lengths of prompts, as the tokenizers of the servers of a run count them."""

    def __init__(self, asking: Requester, publish: Publish, max_tokens: int) -> None:
        self._requester = asking
        self._publish = publish
        self._max_tokens = max_tokens
        self._rendered: dict[tuple[str, str | None, str, int], int | None] = {}
        self._plain: dict[tuple[str, str], int | None] = {}
        self._warned: set[_Setting] = set()
        self._checked: dict[tuple[_Setting, int], StepTable] = {}  # the queue, when it was looked at for a context
        self._longest: dict[tuple[_Setting, int], int] = {}  # the longest prompt of such a look, in tokens

    async def refuse_known(self, spec: ServerSpec, view: RunState) -> None:
        """Ends the open steps of a load that is not started yet, if its arguments surely leave their prompts no room.

        Another configuration may have another template, so only the prompts' own tokens count.
        """
        if spec.context is None:
            return
        for step in _of_pair(spec, view):
            known = {prompt.id: self._plain.get((step.target, prompt.id)) for prompt in self._prompts(view, step)}
            longest = max(((tokens, name) for name, tokens in known.items() if tokens is not None), default=None)
            if longest is not None and longest[0] + step.depth - TEMPLATE_TOKENS >= spec.context:
                await self._end(step, None, spec, longest[1], longest[0] + step.depth, spec.context, None)

    async def check(self, load: str, spec: ServerSpec, view: RunState) -> None:
        """Counts the prompts of all steps that share a load's target and configuration, and ends those without room."""
        context = await self._requester.context_tokens()
        if context is None:
            return
        alike: dict[_Question, list[Step]] = {}
        for step, blocks in self._unchecked(spec, view, context):
            alike.setdefault((step.category, step.depth, blocks), []).append(step)
        counted = {asked: await self._count(steps[0], asked[2]) for asked, steps in alike.items()}
        longest = max((max(tokens.values()) for tokens in counted.values() if tokens), default=0)
        shared = _setting(spec), context
        longest = self._longest[shared] = max(longest, self._longest.get(shared, 0))
        needed = -(-(longest + self._max_tokens) // ROUND) * ROUND
        for asked, tokens in counted.items():
            for name in sorted(tokens, key=lambda name: -tokens[name])[:1]:
                for step in alike[asked] if tokens[name] >= context else ():
                    await self._end(step, load, spec, name, tokens[name], context, needed)
        self._checked[shared] = view.table
        await self._warn_of_cut_answers(spec, counted, context, needed)

    def _unchecked(self, spec: ServerSpec, view: RunState, context: int) -> list[tuple[Step, int]]:
        """The open steps that share a load's context, each with its samples; not those that have room in one as large.

        To look at all of them again at every load would cost the more the larger the plan is.
        """
        usual = view.settings.iterations
        if not _is_for_all(spec):
            return [(step, view.iterations(step.id) or 1) for step in _of_pair(spec, view)]
        shared, table = (_setting(spec), context), view.table
        changed = (
            found for _, found in table.changed_since(self._checked.get(shared, StepTable())) if not found.is_done
        )
        return [
            (found.step, found.iterations or usual or 1)
            for found in changed
            if _setting_of(found.step) == _setting(spec)
        ]

    async def refused(self, step: Step, prompt: Prompt, spec: ServerSpec, why: str, view: RunState) -> None:
        """Ends the open steps that the server's word about a prompt holds for too: it is longer than the context."""
        for other in _sharing_context(spec, view):
            if (other.category, other.depth) == (step.category, step.depth) and prompt in self._prompts(view, other):
                verdicts = (Verdict.PROMPT_TOO_LONG.value,)
                said = f"{why}; neither K nor a draft changes that"
                await self._publish(ev.StepFinished(other.id, None, StepStatus.FAILED, verdicts, said))

    async def _count(self, step: Step, blocks: int) -> dict[str, int]:
        """The tokens of each prompt of a step of so many samples, as far as the server counts them."""
        prompts = self._taken(step, blocks)
        for prompt in prompts:
            if (step.target, prompt.id) not in self._plain:
                self._plain[step.target, prompt.id] = await self._requester.count_tokens(prompt.as_text())
            place = (step.target, step.config, prompt.id, step.depth)
            if place not in self._rendered:
                self._rendered[place] = await self._requester.count_tokens(await self._requester.text(step, prompt))
        found = {prompt.id: self._rendered[step.target, step.config, prompt.id, step.depth] for prompt in prompts}
        return {name: tokens for name, tokens in found.items() if tokens is not None}

    def _prompts(self, view: RunState, step: Step) -> Sequence[Prompt]:
        """The prompts that the samples of a step take; those with images have tokens that no text tells."""
        return self._taken(step, view.iterations(step.id) or 1)

    def _taken(self, step: Step, blocks: int) -> list[Prompt]:
        return [prompt for prompt in self._requester.prompts_of(step, blocks) if not prompt.images]

    async def _end(
        self, step: Step, load: str | None, spec: ServerSpec, name: str, tokens: int, context: int, needed: int | None
    ) -> None:
        """Records that a step cannot be measured on any server of these settings."""
        why = (
            f"prompt {name} has {tokens} tokens, too many for the context size ({context} tokens), whatever K and draft"
        )
        if needed is not None:
            why += f"; -c {needed} has room for every prompt and its answer"
        is_own = load is not None and step.pair == spec.key.pair
        verdicts, fingerprint = (Verdict.PROMPT_TOO_LONG.value,), spec.fingerprint if is_own else None
        await self._publish(
            ev.StepFinished(step.id, load if is_own else None, StepStatus.FAILED, verdicts, why, fingerprint)
        )

    async def _warn_of_cut_answers(
        self, spec: ServerSpec, counted: Mapping[_Question, Mapping[str, int]], context: int, needed: int
    ) -> None:
        """Tells once of prompts that fit and leave too little room for a whole answer: such samples do not count."""
        if _setting(spec) in self._warned:
            return
        cut = {
            (name, depth)
            for (_, depth, _), tokens in counted.items()
            for name, count in tokens.items()
            if context - self._max_tokens < count < context
        }
        if cut:
            self._warned.add(_setting(spec))
            prompts = plural(len(cut), "prompt leaves", "prompts leave")
            said = f"{prompts} no room for answers of {self._max_tokens} tokens in a context of {context}"
            await self._publish(ev.Noted("warning", f"{spec.key.target}: {said}: -c {needed} has room for all"))


def _setting(spec: ServerSpec) -> _Setting:
    return spec.key.target, spec.key.served.setting


def _setting_of(step: Step) -> _Setting:
    return step.target, step.setting


def _is_for_all(spec: ServerSpec) -> bool:
    """Whether the servers of other drafts have no more context than one of this spec.

    Where an argument sets it, or where this server has no draft to share its memory with; not where each method may
    have a server of its own.
    """
    return spec.context is not None or not (spec.key.speculates or spec.launch or spec.url)


def _sharing_context(spec: ServerSpec, view: RunState) -> list[Step]:
    """The open steps whose servers have no more context than one of this spec."""
    if not _is_for_all(spec):
        return _of_pair(spec, view)
    return [found.step for found in view.table.opened() if _setting_of(found.step) == _setting(spec)]


def _of_pair(spec: ServerSpec, view: RunState) -> list[Step]:
    """The open steps that a server like this one is started for, at whatever K."""
    return [found.step for found in view.table.of_pair(spec.key.pair) if not found.is_done]
