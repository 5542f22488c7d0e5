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

**Statistics** are read from stderr. Two families print unlike things. The programs that speculate end with `encoded N
tokens in T seconds`, `decoded N tokens in T seconds` and the counters `n_draft`, `n_predict`, `n_drafted`, `n_accept`.
All of them print libllama's performance lines too, under three names over the
years (`common_perf_print:`, `llama_perf_context_print:`, `llama_print_timings:`): `prompt eval time = … ms / N tokens`
and `eval time = … ms / N runs`. Under speculation those count every verification as prompt, and leave out sampling and
waiting; so they are read, and what they may be used for is said above.

Nothing here guesses: a line counts only if it is known to its end. A known beginning with an unknown rest leaves None,
and a sentence in `problems`. Rates that a program works out itself are never read (`speed:` of llama-lookup divides by
another number of tokens than stands beside it).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from specdash.core.engine import K_SEEN
from specdash.core.generation import Generation, Piece
from specdash.core.measure import Chunk
from specdash.core.transport import StreamedAnswer
from specdash.engines.base import PROBLEMS_KEPT
from specdash.engines.llama_cpp.cli_programs import CliProgram

_QUOTED_CHARS = 120
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# "0.01.216.571 I ", "[1732800000] ", a level letter alone, or nothing.
_PREFIX = re.compile(r"(?:\[\d+\] ?)?(?:\d+(?:\.\d+)+ )?(?:([DIWEC]) )?")
_PERF = r"(?:(?:common_perf_print|llama_perf_context_print|llama_print_timings):)? *"
_COUNT = r"\d{1,15}"  # longer ones are no counts, and Python refuses to read very long ones
_NUMBER = r"\d{1,15}(?:\.\d{1,15})?(?:e[+-]?\d{1,2})?"
_RATE = r" *(?:\d[\d.e+-]*|-?inf|-?nan(?:\(ind\))?)"
_PER_TOKEN = rf" *\({_RATE} ms per token(?:,{_RATE} tokens per second)?\)"

# What a line begins with, and all that it may consist of. Named groups are fields of CliStats.
_FORMS = tuple(
    (re.compile(begin), re.compile(f"{begin}{rest}"))
    for begin, rest in (
        (
            r"encoded +(?=\d)",
            rf"(?P<encoded_tokens>{_COUNT}) tokens in +(?P<encoded_s>{_NUMBER}) seconds, speed:{_RATE} t/s",
        ),
        (
            r"decoded +(?=\d)",
            rf"(?P<decoded_tokens>{_COUNT}) tokens in +(?P<decoded_s>{_NUMBER}) seconds, speed:{_RATE} t/s",
        ),
        (r"n_draft\b", rf" *= *(?P<n_draft>{_COUNT})"),
        (r"n_predict\b", rf" *= *(?P<n_predict>{_COUNT})"),
        (r"n_drafted\b", rf" *= *(?P<n_drafted>{_COUNT})"),
        (r"n_accept\b", rf" *= *(?P<n_accept>{_COUNT})"),
        (
            rf"{_PERF}prompt eval time\b",
            rf" *= *(?P<prompt_eval_ms>{_NUMBER}) ms / *(?P<prompt_eval_tokens>{_COUNT}) tokens{_PER_TOKEN}",
        ),
        (rf"{_PERF}eval time\b", rf" *= *(?P<eval_ms>{_NUMBER}) ms / *(?P<eval_runs>{_COUNT}) runs{_PER_TOKEN}"),
    )
)
_TIMES = frozenset({"encoded_s", "decoded_s", "prompt_eval_ms", "eval_ms"})

# Of each batch of images that was encoded, before the language model sees them.
_IMAGE = re.compile(r"(?:\S+: )?(?:image\S*|mtmd)\b.* (?:encoded|encoding done) .*?in (\d+) ms")
_FULL = re.compile(r"context full|exceeds the (?:context|batch) size|prompt (?:is )?too long", re.IGNORECASE)
_ERROR = re.compile(r"\berror\b|\bfail|\binvalid\b|terminate called|assert", re.IGNORECASE)
_LOST = re.compile(
    r"failed to find a memory slot|failed to initialize batch|inconsistent sequence positions|failed to decode"
    r"|failed to eval",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class CliStats:
    """The statistics of one run; None where its stderr does not tell.

    `encoded_*` is the prompt and `decoded_*` what came after it, by the program's wall clock. `n_draft` is the draft
    length that the program was set to, `n_predict` the tokens that it made, `n_drafted` and `n_accept` are totals of
    the run. `prompt_eval_*` and `eval_*` are libllama's, of the last context that printed them (the target's).
    `image_ms` sums up what it took to encode images. `context_full` quotes the line that says so, `lost_batch` the one
    that says that a batch could not be computed: llama-speculative and llama-lookup go on with what the batch before
    left, exit with 0, and report rates of work that was not done. `problems` are sentences about lines in an unknown
    form, and about counters that contradict each other.
    """

    encoded_tokens: int | None = None
    encoded_s: float | None = None
    decoded_tokens: int | None = None
    decoded_s: float | None = None
    n_draft: int | None = None
    n_predict: int | None = None
    n_drafted: int | None = None
    n_accept: int | None = None
    prompt_eval_ms: float | None = None
    prompt_eval_tokens: int | None = None
    eval_ms: float | None = None
    eval_runs: int | None = None
    image_ms: float = 0.0
    context_full: str | None = None
    lost_batch: str | None = None
    problems: tuple[str, ...] = ()

    @property
    def acceptance(self) -> float | None:
        """Accepted over drafted tokens; None where nothing was drafted, which the programs print as `-nan%`."""
        return self.n_accept / self.n_drafted if self.n_accept is not None and self.n_drafted else None


def parse(stderr: str) -> CliStats:
    """The statistics in a program's stderr. Of a line that comes twice the last counts: the target's comes last."""
    found: dict[str, str] = {}
    unread: dict[str, str] = {}
    full: str | None = None
    lost: str | None = None
    image_ms = 0.0
    for raw in stderr.splitlines():
        line = without_prefix(raw)
        for begin, whole in _FORMS:
            if begin.match(line) is None:
                continue
            match = whole.fullmatch(line)
            for name in whole.groupindex:
                found.pop(name, None)  # what stood there before may be the draft's
            unread.pop(begin.pattern, None)
            if match is None:
                unread[begin.pattern] = line
            else:
                found |= match.groupdict()
            break
        else:
            if image := _IMAGE.fullmatch(line):
                image_ms += float(image[1])
            full = full or (line if _FULL.search(line) else None)
            lost = lost or (line if _LOST.search(line) else None)
    counts = {name: int(text) for name, text in found.items() if name not in _TIMES}
    times: dict[str, Any] = {name: float(text) for name, text in found.items() if name in _TIMES}
    problems = [f"a line of its statistics has an unknown form: {line[:_QUOTED_CHARS]!r}" for line in unread.values()]
    problems += _contradictions(counts)
    return CliStats(
        **counts,
        **times,
        image_ms=image_ms,
        context_full=full,
        lost_batch=lost,
        problems=tuple(problems[:PROBLEMS_KEPT]),
    )


def without_prefix(line: str) -> str:
    """A line of a log without its time and level, and without colours."""
    return _PREFIX.sub("", _ANSI.sub("", line), count=1).rstrip()


def reason(stderr: str) -> str | None:
    """The last line that looks like an error, for a program that failed; None where there is none.

    That is one of level E, or any that speaks of an error or a failure, or the last where lines have no levels at all.
    """
    lines = [_ANSI.sub("", line) for line in stderr.splitlines() if line.strip()]
    levels = [match[1] if (match := _PREFIX.match(line)) is not None else None for line in lines]
    for line, level in zip(reversed(lines), reversed(levels), strict=True):
        if level == "E" or _ERROR.search(line):
            return without_prefix(line)
    return without_prefix(lines[-1]) if lines and not any(levels) else None


def _contradictions(counts: dict[str, int]) -> list[str]:
    """What the counters say against each other: more accepted than drafted, no token of the target's own, two sums."""
    rules = (
        ("n_predict", "decoded_tokens", operator.eq),
        ("n_accept", "n_drafted", operator.le),
        ("n_accept", "n_predict", operator.lt),
    )
    return [
        f"{one} = {counts[one]} and {other} = {counts[other]} contradict each other"
        for one, other, holds in rules
        if one in counts and other in counts and not holds(counts[one], counts[other])
    ]


# -- the run as a generation ---------------------------------------------------------------------------------------

END_MARK = " [end of text]"
ECHO_HEAD_CHARS = 80  # line ends and a beginning-of-text token before the prompt

NOT_PROVEN = (
    "{name} prints totals only, and the short drafts at the end of an answer leave open how long the others were"
)
NO_LENGTHS = "{name} prints totals only, so how long its drafts were is not known"

_END_TOKEN = re.compile(r"(?:<[^<>\s]{1,40}>|\[[A-Z_/]{1,20}\])$")
_CHATTER = re.compile(r"(?:\S+: loading model: |encoding |decoding |image[ /]|WARN: |\S+: +For normal).*\n?")

_Milliseconds = Annotated[float, msgspec.Meta(ge=0)]


class BridgeEvent(msgspec.Struct, gc=False):
    """One event of `cli_bridge`: a piece of stdout, or the last one, which alone has `stderr`."""

    t_ms: _Milliseconds = 0.0
    out: str = ""
    exit: int | None = None
    signal: int | None = None
    limit: bool = False
    stderr: str | None = None
    dropped: int = 0
    model: str | None = None


_DECODER = msgspec.json.Decoder(BridgeEvent)


@dataclass(frozen=True, slots=True)
class CliRequest:
    """What a run was asked for: `k` None without speculation, `is_ceiling` where drafts shorter than K are no fault."""

    program: CliProgram
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


def events_of(answer: StreamedAnswer) -> tuple[list[tuple[float, BridgeEvent]], BridgeEvent | None]:
    """The pieces of an answer with their arrival times, and the last event; None where it never came."""
    pieces: list[tuple[float, BridgeEvent]] = []
    for t_s, data in answer.events:
        try:
            event = _DECODER.decode(data)
        except (ValueError, RecursionError):
            continue
        if event.stderr is not None:
            return pieces, event
        pieces.append((t_s, event))
    return pieces, None


def decode_partial(received: Sequence[tuple[float, bytes]]) -> tuple[Piece, ...]:
    """The pieces of an answer that is not whole yet; what comes first may be the prompt."""
    pieces, _ = events_of(StreamedAnswer(200, 0.0, tuple(received), 0.0))
    return tuple(
        Piece(Chunk(t_s, number, None, None, None, (), counted=False), event.out)
        for number, (t_s, event) in enumerate(pieces, start=1)
    )


def decode(answer: StreamedAnswer, asked: CliRequest) -> Generation:
    """The generation of a run that ended well; every fault is in `problems`, nothing that a program printed raises."""
    pieces, final = events_of(answer)
    last = final or BridgeEvent()
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


def _printed(pieces: Sequence[tuple[float, BridgeEvent]], asked: CliRequest) -> Printed:
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


def _without_end_token(text: str, asked: CliRequest, counted: _Counted) -> str:
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


def _counted(stats: CliStats, printed: Printed, asked: CliRequest) -> _Counted:
    """The figures of a run."""
    return _of_drafting(stats, asked) if asked.program.speculates else _of_plain(stats, printed, asked)


def _of_drafting(stats: CliStats, asked: CliRequest) -> _Counted:
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


def _drafts(
    stats: CliStats, passes: int | None, asked: CliRequest
) -> tuple[int | None, Mapping[str, str], tuple[str, ...]]:
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


def _of_plain(stats: CliStats, printed: Printed, asked: CliRequest) -> _Counted:
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


def lost_its_end(answer: StreamedAnswer, asked: CliRequest) -> bool:
    """Whether a run that ended well lacks statistics, and has none in an unknown form: as if it had been cut off."""
    _, last = events_of(answer)
    stats = parse(last.stderr or "" if last is not None else "")
    needed = _needed(stats, asked)
    return not stats.problems and any(value is None for value in needed.values())


def _needed(stats: CliStats, asked: CliRequest) -> Mapping[str, object]:
    """The statistics that a run must have, by the beginning of their lines."""
    if not asked.program.speculates:
        return {"prompt eval time": stats.prompt_eval_ms, "eval time": stats.eval_runs}
    return {
        "encoded": stats.encoded_s,
        "decoded": stats.decoded_s,
        "n_drafted": stats.n_drafted,
        "n_accept": stats.n_accept,
    }


def _faults(stats: CliStats, last: BridgeEvent, asked: CliRequest) -> list[str]:
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
