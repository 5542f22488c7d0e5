"""What llama.cpp's command-line programs print about a run, read from their stderr. Pure.

Two families print unlike things. The programs that speculate (llama-speculative-simple, llama-speculative,
llama-lookup) end with `encoded N tokens in T seconds`, `decoded N tokens in T seconds` and the counters `n_draft`,
`n_predict`, `n_drafted`, `n_accept`. All of them print libllama's performance lines too, under three names over the
years (`common_perf_print:`, `llama_perf_context_print:`, `llama_print_timings:`): `prompt eval time = … ms / N tokens`
and `eval time = … ms / N runs`. Under speculation those count every verification as prompt, and leave out sampling and
waiting; so they are read, and what they may be used for is `cli_answer`'s business.

Nothing here guesses: a line counts only if it is known to its end. A known beginning with an unknown rest leaves None,
and a sentence in `problems`. Rates that a program works out itself are never read (`speed:` of llama-lookup divides by
another number of tokens than stands beside it).
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import Any

PROBLEMS_KEPT = 5

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
