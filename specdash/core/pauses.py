"""Pauses: times in which this process, or the whole machine, did not run, and which figures of a request they void.

A virtual machine is paused, a container frozen, a process stopped by a signal: the clock goes on, and a measured time
holds the pause. Where this process alone was stopped, its own times of a request are void, and the server's stand: its
clock shows that it worked on meanwhile. Where that cannot be shown, the request is void as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from specdash.core.generation import Generation
from specdash.core.measure import INFERRED

PAUSE_S = 0.5  # a process that was not scheduled for so long was stopped; a busy machine makes one wait for less
SHORT_PASS_S = 0.1  # no pass of a server is suspiciously long below this
WHOLE = 0.8  # of a pause as it is seen: it began up to a beat later
LONG_PASS = 3.0  # times the median pass: longer ones may hold a pause


@dataclass(frozen=True, slots=True)
class Pause:
    """A time (`time.monotonic()` seconds) in which this process did not run; `slept`: nor did the machine.

    It began a little after `begun_s`, which is when the process was last seen to run.
    """

    begun_s: float
    ended_s: float
    slept: bool = False

    def touches(self, begun_s: float | None, ended_s: float | None) -> bool:
        """Whether it lies in the time from `begun_s` to `ended_s`, at least partly."""
        return None not in (begun_s, ended_s) and self.begun_s < (ended_s or 0.0) and (begun_s or 0.0) < self.ended_s


def void_figures(generation: Generation, pauses: Iterable[Pause]) -> Mapping[str, str]:
    """The figures by this process's clock that a pause makes wrong, with the reason."""
    spans = {
        "ttft_s": generation.first_token_t_s,
        "client_decode_time_s": generation.last_token_t_s,
        "client_decode_tok_s": generation.last_token_t_s,
        "total_time_s": generation.ended_t_s,
        "throughput_tok_s": generation.ended_t_s,
    }
    found: dict[str, str] = {}
    for pause in pauses:
        # A first token that is seen late makes the decoding look short, so that counts from the request on too.
        names = [name for name, ended_s in spans.items() if pause.touches(generation.sent_t_s, ended_s)]
        why = f"specdash itself was stopped for about {pause.ended_s - pause.begun_s:.1f} s meanwhile"
        found |= dict.fromkeys(names, why)
    return found


def voids_all(generation: Generation, pauses: Iterable[Pause]) -> bool:
    """Whether a pause of this process leaves nothing of a request to count.

    It does where the machine slept, and where it lies before the last token and nothing shows that the server worked
    on: a server without a clock of its own, or one whose clock has a gap there too.
    """
    return any(
        pause.slept
        or (pause.touches(generation.sent_t_s, generation.last_token_t_s) and not _worked_on(generation, pause))
        for pause in pauses
    )


def _worked_on(generation: Generation, pause: Pause) -> bool:
    """Whether the server's clock shows that it ran during a pause of this process.

    A server that was paused too has a prompt, or a pass, that took as long. One whose output was not read may have had
    to wait for a part of the time; that pass is far longer than others. Draft counts that are inferred from how tokens
    arrived are wrong for tokens that waited.
    """
    if generation.prompt_ms is None or generation.predicted_ms is None or generation.acceptance_source == INFERRED:
        return False
    paused_s = WHOLE * (pause.ended_s - pause.begun_s)
    if pause.touches(generation.sent_t_s, generation.first_token_t_s) and generation.prompt_ms / 1000 >= paused_s:
        return False
    passes = _passes(generation)
    usual_s = median([took_s for _, took_s in passes]) if passes else 0.0
    longest_s = max((took_s for arrived_s, took_s in passes if arrived_s > pause.begun_s), default=0.0)
    return longest_s < min(paused_s, max(SHORT_PASS_S, LONG_PASS * usual_s))


def _passes(generation: Generation) -> Sequence[tuple[float, float]]:
    """When each pass of the server was seen, and the seconds that it took by the server's clock.

    All of them as one where the server tells only the sum.
    """
    assert generation.predicted_ms is not None
    ends = [(chunk.t_s, chunk.predicted_ms) for chunk in generation.chunks]
    last = (generation.ended_t_s, generation.predicted_ms)
    known = [(t_s, ms) for t_s, ms in ends if ms is not None]
    if len(known) < len(ends):
        known = []
    passes, before_ms = [], 0.0
    for t_s, ms in (*known, last):
        if ms > before_ms:
            passes.append((t_s, (ms - before_ms) / 1000))
            before_ms = ms
    return passes
