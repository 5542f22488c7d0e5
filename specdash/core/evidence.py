"""Facts that are no step of a run and no sample: what stands beside the samples, to judge them by.

The machine's bandwidth, the texts of answers, and the verification steps that K curves are made from. `core.events`
has them among all other facts; ask for them there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fact:
    """Base of all facts; `TYPE` is the journal's name for it."""

    TYPE: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class BandwidthMeasured(Fact):
    """How fast this machine reads memory: what bounds a rate. `bytes_s` None: not measured, for the reason given.

    A run may measure several times: the best counts, since whatever else reads memory meanwhile makes it less.
    """

    TYPE: ClassVar[str] = "bandwidth_measured"
    bytes_s: float | None
    cache_bytes: int | None = None  # the last level, all of it
    threads: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StepTimes(Fact):
    """The verification steps of one request, in order, by the server's clock: where a K curve comes from.

    `purpose` is "sample" (the trace of the sample of that block) or "cost" (a request made for its short last steps,
    never a sample; its prompt may be cached). The lists are of one length: tokens drafted, tokens accepted, and
    milliseconds, None where the stream does not tell. The first entry is the first step behind the prompt.
    """

    TYPE: ClassVar[str] = "step_times"
    step: str
    load: str
    purpose: str
    block: int | None
    drafted: tuple[int, ...]
    accepted: tuple[int, ...]
    times_ms: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class TextSeen(Fact):
    """The token ids of a text, recorded when its hash comes up for the first time.

    Of servers that tell no ids its characters are kept, each as -1 minus its code point, below any id.
    """

    TYPE: ClassVar[str] = "text_seen"
    text_hash: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TextChecked(Fact):
    """A greedy answer outside every measurement, to compare texts by.

    `margins`: by how many nats the first choice led over the second at each token of the answer (None where the server
    does not tell), asked of baselines only; () where it was not asked. `cached_tokens` is how many tokens of the prompt
    came from the server's cache: 0 for a cold answer, as samples are. A baseline is asked cold, and again from the
    cache: by how much the margins of the two differ is this server's own rounding. None where the server does not tell,
    and in journals that were written before it was kept.
    """

    TYPE: ClassVar[str] = "text_checked"
    step: str
    load: str
    prompt_id: str
    text_hash: str
    margins: tuple[float | None, ...] = ()
    cached_tokens: int | None = None
