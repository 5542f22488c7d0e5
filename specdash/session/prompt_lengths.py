"""Whether the prompts of a profile fit the contexts that its servers will have, as far as that is known beforehand.

Lengths are counted by llama.cpp's own tokenizer where it lies beside the program; else a text has at most as many
tokens as bytes, and at least as many as the vocabulary has to have pieces for it. What is said is sure: a template adds
tokens that are not counted here, and a server may have less memory than it asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from specdash.config.lines import KeyPath
from specdash.core.model import ModelFacts
from specdash.core.plan import Step
from specdash.core.profile import LOSSLESS, Profile
from specdash.core.prompts import TEMPLATE_TOKENS, Pieces, Prompt
from specdash.core.text import plural
from specdash.engines.llama_cpp.context import FLAG, VARIABLE, context_of, count_tokens, given_context, padded
from specdash.session.prepare import Prepared

TEMPLATE_ROOM = 64  # what a template adds at most, in the proposal of a context


@dataclass(frozen=True, slots=True)
class PromptLengthProblem:
    """What is wrong at a place of the profile; `is_sure`: these prompts are refused, rather than their answers cut."""

    path: KeyPath
    what: str
    todo: str
    is_sure: bool


@dataclass(frozen=True, slots=True)
class _Context:
    """The context of a target's servers under a configuration, and the place of the profile that sets it."""

    tokens: int
    path: KeyPath
    is_given: bool


def findings_of(prepared: Prepared, folder: Path | None, env: Mapping[str, str]) -> list[PromptLengthProblem]:
    """One finding for each place that sets a context too small; `folder` is that of the programs, if they are files."""
    found: dict[KeyPath, PromptLengthProblem] = {}
    labels = dict.fromkeys((step.target, step.config) for step in prepared.steps)
    for target, config in labels:
        facts = prepared.targets.get(target)
        context = _context(prepared.profile, target, config, facts) if facts is not None else None
        if facts is None or context is None:
            continue
        wanted = _wanted(prepared, target, config)
        finding = _against(prepared.profile, facts, context, wanted, folder, env)
        if finding is not None and not (context.path in found and found[context.path].is_sure):
            found[context.path] = finding
    return list(found.values())


def _context(profile: Profile, target: str, config: str | None, facts: ModelFacts) -> _Context | None:
    """What the arguments allow, else what the model was made for; None where neither is known."""
    engine, configs = profile.engine, list(profile.configs)
    at = next((number for number, each in enumerate(configs) if each.label == config), None)
    own = configs[at].args if at is not None else ()
    limit = context_of(engine.kind, (*engine.args, *own), engine.env)
    if limit is not None:
        places: list[tuple[KeyPath, Sequence[str]]] = [(("configs", at, "args"), own)] if at is not None else []
        places.append((("engine", "args"), engine.args))
        path: KeyPath = ("engine", "env", VARIABLE)
        return _Context(limit, next((place for place, args in places if given_context(args)), path), True)
    is_changed = "--override-kv" in (*engine.args, *own)
    if context_of(engine.kind, (FLAG, "1"), {}) is None or facts.context_length is None or is_changed:
        return None  # of another kind of program, whose context is its own affair
    number = next(at for at, each in enumerate(profile.targets) if each.label == target)
    return _Context(facts.context_length, ("targets", number, "path"), False)


def _wanted(prepared: Prepared, target: str, config: str | None) -> dict[Prompt, int]:
    """The prompts of a target's samples under a configuration, each with the deepest context before it."""
    found: dict[Prompt, int] = {}
    for step in prepared.steps:
        if (step.target, step.config) == (target, config) and prepared.usable(step):
            for prompt in _of(step, prepared):
                found[prompt] = max(step.depth, found.get(prompt, 0))
    return {prompt: depth for prompt, depth in found.items() if not prompt.images}


def _of(step: Step, prepared: Prepared) -> Sequence[Prompt]:
    prompts = prepared.prompts[step.category]
    is_whole = step.workload == LOSSLESS
    return prompts if is_whole else prompts[: prepared.iterations.get(step.id, prepared.profile.measure.iterations)]


def _against(
    profile: Profile,
    facts: ModelFacts,
    context: _Context,
    wanted: Mapping[Prompt, int],
    folder: Path | None,
    env: Mapping[str, str],
) -> PromptLengthProblem | None:
    """What speaks against a context, for these prompts and the depths before them."""
    answer = profile.measure.max_tokens
    # A token is a byte at least: what has no more bytes than there is room for fits.
    room = context.tokens - answer - TEMPLATE_ROOM
    may_lack = [prompt for prompt, depth in wanted.items() if len(prompt.as_text().encode()) + depth > room]
    counted, is_exact = _counted(facts, may_lack, folder, env)
    lengths = {prompt: tokens + wanted[prompt] for prompt, tokens in counted.items()}
    slack = TEMPLATE_TOKENS if facts.has_chat_template or any(wanted.values()) else 0
    refused = [prompt for prompt, tokens in lengths.items() if tokens - slack >= context.tokens]
    cut = [prompt for prompt, tokens in lengths.items() if tokens - slack + answer > context.tokens]
    if not cut:
        return None
    longest = max(lengths, key=lambda prompt: lengths[prompt])
    about = "has" if is_exact else "has at least"
    depth = " with the depth before it" if wanted[longest] else ""
    which = f"the longest, {longest.id}, {about} {lengths[longest]:,} tokens{depth}"
    holder = "a context" if context.is_given else "a model made for a context"
    for_what = _said(refused) if refused else f"answers of {answer} tokens to {_said(cut)}"
    then = "the server refuses them at any K, with any draft" if refused else "such answers are cut and do not count"
    todo = "Take shorter prompts, less depth or shorter answers"
    if context.is_given:
        todo = f'Write "{FLAG}", "{padded(lengths[longest] + answer + TEMPLATE_ROOM)}"'
    what = f"{holder} of {context.tokens:,} tokens has no room for {for_what} ({which}): {then}"
    return PromptLengthProblem(context.path, what, todo, is_sure=bool(refused) and context.is_given)


def _counted(
    facts: ModelFacts, prompts: Sequence[Prompt], folder: Path | None, env: Mapping[str, str]
) -> tuple[dict[Prompt, int], bool]:
    """The tokens of these prompts, and whether that is exact or the fewest that there can be."""
    texts = [prompt.as_text() for prompt in prompts]
    if not texts:
        return {}, True
    exact = count_tokens(folder, facts.path, facts.vocab, texts, env) if folder is not None else None
    if exact is not None:
        return dict(zip(prompts, exact, strict=True)), True
    pieces = Pieces(facts.vocab)
    least = zip(prompts, map(pieces.least, texts), strict=True)
    return {prompt: tokens for prompt, tokens in least if tokens is not None}, False


def _said(prompts: Sequence[Prompt]) -> str:
    return plural(len(prompts), "prompt")
