"""What one run of a command-line program was, as a Generation: the definitions of this engine.

**Decode speed** is, for every step of a comparison, the wall time of the passes after the prompt, drafting, sampling
and waiting included: `decode_tok_s = (tokens - 1) / predicted_ms`, n tokens having n - 1 intervals.

- llama-speculative-simple: the line `decoded N tokens in T seconds`. Its clock starts before the pass that makes the
  first token, so N tokens took N intervals, and `predicted_ms` = T * (N - 1) / N, which keeps the rate N / T.
- llama-speculative and llama-lookup: the same line, but their first token comes from the prompt's own pass, before the
  clock starts: N tokens took N - 1 intervals, `predicted_ms` = T. (Seen in their figures: where llama-lookup drafts
  nothing it reports N - 1 runs for N tokens; llama-speculative makes (N - 1 - accepted) passes.)
- llama-completion, llama-cli, llama-mtmd-cli: from the first to the last piece of text as it leaves the program, by
  the clock of `cli_bridge`; the tokens are those of `eval time = … / N runs`, and the one that the prompt made.

On a GPU llama.cpp queues its work, so the `encoded` clock may stop before the prompt is done, and `decoded` then has
the rest of it. The pieces of text cannot tell: on a busy machine the thread that prints them waits longer than that.

Never `prompt eval time` of a program that speculates: it counts verifications as prompt. Never `eval time` as a clock:
it leaves out sampling and waiting (200 of 243 ms were seen).

**Prefill** is the `encoded` line of a program that speculates (target and draft process the prompt), else the
`prompt eval` line (there it is the prompt, and nothing else) with the encoding of images. Both are processing time
only. Each run loads its models anew: the time to the first token and the total time, by our clock, contain a load.

**K**: a program prints the draft length that it was set to, and totals. With P passes and D drafted tokens, some pass
drafted at least D / P tokens; so `k_seen` is K where the program says K and D > (K - 1) * P. Where the short drafts at
the end of an answer leave less than that, K is consistent but not proven, and said to be unknown; less than they can
explain is a problem. What n-gram methods find may be short, so there no length is proven.

**Text** has neither the prompt nor marks of the end, and no white space around it: greedy texts of two programs then
agree over their common length. The programs that speculate make up to K tokens more than asked; they are asked for one
less, as they all go on until they have more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from specdash.core.engine import K_SEEN
from specdash.core.generation import Generation, Piece
from specdash.core.measure import Chunk
from specdash.core.transport import StreamedAnswer
from specdash.engines.llama_cpp.cli_programs import Program
from specdash.engines.llama_cpp.cli_stderr import CliStats, parse

END_MARK = " [end of text]"
ECHO_HEAD_CHARS = 80  # line ends and a beginning-of-text token before the prompt

NOT_PROVEN = (
    "{name} prints totals only, and the short drafts at the end of an answer leave open how long the others were"
)
NO_LENGTHS = "{name} prints totals only, so how long its drafts were is not known"

_END_TOKEN = re.compile(r"(?:<[^<>\s]{1,40}>|\[[A-Z_/]{1,20}\])$")
_CHATTER = re.compile(r"(?:\S+: loading model: |encoding |decoding |image[ /]|WARN: |\S+: +For normal).*\n?")

_Milliseconds = Annotated[float, msgspec.Meta(ge=0)]


class Event(msgspec.Struct, gc=False):
    """One event of `cli_bridge`: a piece of stdout, or the last one, which alone has `stderr`."""

    t_ms: _Milliseconds = 0.0
    out: str = ""
    exit: int | None = None
    signal: int | None = None
    limit: bool = False
    stderr: str | None = None
    dropped: int = 0
    model: str | None = None


_DECODER = msgspec.json.Decoder(Event)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run was asked for: `k` None without speculation, `is_ceiling` where drafts shorter than K are no fault."""

    program: Program
    prompt: str
    max_tokens: int
    k: int | None
    is_ceiling: bool


@dataclass(frozen=True, slots=True)
class Printed:
    """A program's stdout: the generated text, the pieces that it came in, and why it is not known, if so."""

    text: str
    pieces: tuple[tuple[float, float], ...]  # arrival by our clock in seconds, by the bridge's in ms since the start
    ended: bool  # by a mark, so that the model itself ended it
    problem: str | None = None


def events_of(answer: StreamedAnswer) -> tuple[list[tuple[float, Event]], Event | None]:
    """The pieces of an answer with their arrival times, and the last event; None where it never came."""
    pieces: list[tuple[float, Event]] = []
    for t_s, data in answer.events:
        try:
            event = _DECODER.decode(data)
        except (ValueError, RecursionError):
            continue
        if event.stderr is not None:
            return pieces, event
        pieces.append((t_s, event))
    return pieces, None


def peek(received: Sequence[tuple[float, bytes]]) -> tuple[Piece, ...]:
    """The pieces of an answer that is not whole yet; what comes first may be the prompt."""
    pieces, _ = events_of(StreamedAnswer(200, 0.0, tuple(received), 0.0))
    return tuple(
        Piece(Chunk(t_s, number, None, None, None, (), counted=False), event.out)
        for number, (t_s, event) in enumerate(pieces, start=1)
    )


def decode(answer: StreamedAnswer, asked: Asked) -> Generation:
    """The generation of a run that ended well; every fault is in `problems`, nothing that a program printed raises."""
    pieces, final = events_of(answer)
    last = final or Event()
    stats = parse(last.stderr or "")
    printed = _printed(pieces, asked)
    counted = _counted(stats, printed, asked)
    problems = [*_faults(stats, last, asked), *stats.problems, *counted.problems]
    problems += [printed.problem] if printed.problem is not None else []
    is_drafting = asked.program.speculates
    return Generation(
        sent_t_s=answer.sent_t_s,
        first_token_t_s=printed.pieces[0][0] if printed.pieces else None,
        last_token_t_s=printed.pieces[-1][0] if printed.pieces else None,
        ended_t_s=answer.ended_t_s,
        chunks=tuple(
            Chunk(t_s, number, None, None, None, (), counted=False)
            for number, (t_s, _) in enumerate(printed.pieces, start=1)
        ),
        text=_without_end_token(printed.text, asked, counted),
        finish_reason=counted.finish_reason,
        prompt_tokens=counted.prompt_tokens,
        cached_tokens=0,  # a new process remembers nothing
        generated_tokens=counted.tokens,
        prompt_ms=counted.prompt_ms,
        predicted_ms=counted.predicted_ms,
        draft_n=stats.n_drafted if is_drafting else None,
        draft_n_accepted=stats.n_accept if is_drafting else None,
        model=last.model,
        settings={} if stats.n_draft is None else {"speculative.n_max": stats.n_draft},
        problems=tuple(dict.fromkeys(problems)),
        acceptance_source="server" if is_drafting and stats.n_drafted is not None else None,
        steps=counted.passes,
        k_seen=counted.k_seen,
        unknown=counted.unknown,
    )


def _printed(pieces: Sequence[tuple[float, Event]], asked: Asked) -> Printed:
    """The generated text among what a program printed, and when its pieces came."""
    whole = "".join(event.out for _, event in pieces)
    program, problem = asked.program, None
    begin = 0
    if program.echoes:
        found = _after_echo(whole, asked.prompt)
        if found is None and whole:
            problem = f"what {program.name} printed does not begin with the prompt, so its text cannot be told from it"
        begin = found or 0
    elif program.sees:
        while chatter := _CHATTER.match(whole, begin):
            begin = chatter.end()
        begin += whole.startswith("\n", begin)
    trailer = 4 if program.speculates else 2  # line ends that the program adds
    end = len(whole)
    end -= min(trailer, end - len(whole.rstrip("\n")))
    body = whole[begin:end].rstrip("\n")
    ended = body.endswith(END_MARK)
    if ended:
        end = begin + len(body)
        body = body.removesuffix(END_MARK)
    times: list[tuple[float, float]] = []
    at = 0
    for t_s, event in pieces:
        if at < end and at + len(event.out) > begin:
            times.append((t_s, event.t_ms))
        at += len(event.out)
    return Printed(body.strip().rstrip("\ufffd").rstrip(), tuple(times), ended, problem)


def _after_echo(whole: str, prompt: str) -> int | None:
    """Where the prompt ends in what was printed; white space may differ, as tokenizers have their own ways with it."""
    exact = whole.find(prompt, 0, len(prompt) + ECHO_HEAD_CHARS)
    if exact >= 0:
        return exact + len(prompt)
    wanted = [char for char in prompt if not _is_space(char)]
    for start in range(min(ECHO_HEAD_CHARS, len(whole))):
        at, matched = start, 0
        while at < len(whole) and matched < len(wanted) and (whole[at] == wanted[matched] or _is_space(whole[at])):
            matched += whole[at] == wanted[matched]
            at += 1
        if matched == len(wanted):
            return at
    return None


def _without_end_token(text: str, asked: Asked, counted: _Counted) -> str:
    """The text without the end-of-text token that all but llama-speculative-simple print (given --special)."""
    if counted.finish_reason != "eos" or asked.program.decodes_first:
        return text
    return _END_TOKEN.sub("", text).rstrip()


def _is_space(char: str) -> bool:
    """White space, or SentencePiece's sign for it."""
    return char.isspace() or char == "▁"


@dataclass(frozen=True, slots=True)
class _Counted:
    """The figures of a run by the definitions above; None where they are not known."""

    tokens: int | None
    prompt_tokens: int | None
    prompt_ms: float | None
    predicted_ms: float | None
    passes: int | None
    finish_reason: str | None
    k_seen: int | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def _counted(stats: CliStats, printed: Printed, asked: Asked) -> _Counted:
    """The figures of a run."""
    return _of_drafting(stats, asked) if asked.program.speculates else _of_plain(stats, printed, asked)


def _of_drafting(stats: CliStats, asked: Asked) -> _Counted:
    """The figures of a program that speculates, by its `encoded` and `decoded` lines and its counters."""
    tokens, decoded_s = stats.decoded_tokens, stats.decoded_s
    predicted_ms = passes = finish = None
    if tokens and decoded_s is not None:
        predicted_ms = decoded_s * 1000 * ((tokens - 1) / tokens if asked.program.decodes_first else 1)
        finish = "limit" if tokens >= asked.max_tokens or stats.context_full else "eos"
    if tokens and stats.n_accept is not None:
        passes = tokens - stats.n_accept - (0 if asked.program.decodes_first else 1)
    k_seen, unknown, problems = _drafts(stats, passes, asked)
    return _Counted(
        tokens,
        stats.encoded_tokens,
        None if stats.encoded_s is None else stats.encoded_s * 1000,
        predicted_ms,
        passes,
        finish,
        k_seen,
        unknown,
        problems,
    )


def _drafts(stats: CliStats, passes: int | None, asked: Asked) -> tuple[int | None, Mapping[str, str], tuple[str, ...]]:
    """The longest draft as far as totals prove it, why it is unknown, and what is wrong with the totals."""
    k, drafted, name = asked.k, stats.n_drafted, asked.program.name
    if k is None or drafted is None or not passes:
        return None, {}, ()
    least = -(-drafted // passes)  # some pass drafted at least so many
    if asked.is_ceiling:
        return (least, {}, ()) if least > k else (None, {K_SEEN: NO_LENGTHS.format(name=name)}, ())
    if stats.n_draft is not None and stats.n_draft != k:
        return stats.n_draft, {}, ()
    if least > k or (least == k and stats.n_draft is not None):
        return least, {}, ()
    # A pass with r tokens to go drafts r - 1 at most, and every pass makes one at least.
    short = k * (k + 3) // 2
    if drafted and drafted < k * passes - short:
        said = f"{drafted} tokens were drafted in {passes} passes, fewer than K = {k} and the end of an answer explain"
        return None, {}, (said,)
    return None, {K_SEEN: NOT_PROVEN.format(name=name)}, ()


def _of_plain(stats: CliStats, printed: Printed, asked: Asked) -> _Counted:
    """The figures of a program that makes one token a pass: tokens by libllama's runs, time by the pieces of text."""
    tokens = predicted_ms = finish = None
    problems: tuple[str, ...] = ()
    if stats.eval_runs is not None:
        runs = stats.eval_runs if stats.eval_ms else 0  # "0.00 ms / 1 runs" stands for none
        tokens = runs + 1
        if tokens == asked.max_tokens + 1:
            tokens = asked.max_tokens  # the end of the prompt, or the last token, had a pass of its own
        if tokens > asked.max_tokens:
            problems = (f"{asked.program.name} made {tokens} tokens, and was asked for {asked.max_tokens}",)
        finish = "limit" if not printed.ended and (tokens >= asked.max_tokens or stats.context_full) else "eos"
        if finish == "eos" and not printed.ended:
            tokens = runs  # the token that ended it left no trace in the text, nor in its time
    if tokens is not None and tokens > 1 and len(printed.pieces) > 1:
        predicted_ms = printed.pieces[-1][1] - printed.pieces[0][1]
    prompt_ms = None if stats.prompt_eval_ms is None else stats.prompt_eval_ms + stats.image_ms
    passes = None if tokens is None else max(0, tokens - 1)
    return _Counted(tokens, stats.prompt_eval_tokens, prompt_ms, predicted_ms, passes, finish, problems=problems)


def lost_its_end(answer: StreamedAnswer, asked: Asked) -> bool:
    """Whether a run that ended well lacks statistics, and has none in an unknown form: as if it had been cut off."""
    _, last = events_of(answer)
    stats = parse(last.stderr or "" if last is not None else "")
    needed = _needed(stats, asked)
    return not stats.problems and any(value is None for value in needed.values())


def _needed(stats: CliStats, asked: Asked) -> Mapping[str, object]:
    """The statistics that a run must have, by the beginning of their lines."""
    if not asked.program.speculates:
        return {"prompt eval time": stats.prompt_eval_ms, "eval time": stats.eval_runs}
    return {
        "encoded": stats.encoded_s,
        "decoded": stats.decoded_s,
        "n_drafted": stats.n_drafted,
        "n_accept": stats.n_accept,
    }


def _faults(stats: CliStats, last: Event, asked: Asked) -> list[str]:
    """What is missing from a run that ended well, and what a program goes on after though it should not."""
    name = asked.program.name
    missing = [line for line, value in _needed(stats, asked).items() if value is None]
    found = []
    if missing:
        found.append(f"{name} ended well and without these lines of its statistics: {', '.join(missing)}")
    if stats.lost_batch is not None:
        found.append(f"{name} went on after a batch that it could not compute: {stats.lost_batch}")
    if last.dropped:
        found.append(f"{name} printed {last.dropped} bytes more than are kept of an answer")
    return found
