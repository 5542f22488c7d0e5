"""Everything that is known of one step, for the window that opens on it."""

from __future__ import annotations

from collections.abc import Iterator

from specdash.core.drafting import proven, share_of
from specdash.core.measure import DESCRIPTION, Sample, Verdict
from specdash.core.secrets import shell_line
from specdash.core.status import SampleStatus
from specdash.core.steps import StepState
from specdash.core.text import human_seconds, one_line
from specdash.ui.tui.lines import Line
from specdash.ui.tui.panes.advice import remarks
from specdash.ui.tui.panes.pane import Look, accepted, paragraph, rate, ratio, time
from specdash.ui.tui.panes.queue import state_of

_HEADING = (
    f" {'sample':<7}{'tok/s':>9}{'prefill':>9}{'ttft':>7}{'total':>7}{'acc':>6}{'tokens':>8}{'K seen':>8}  prompt"
)
_VERDICTS = frozenset(verdict.value for verdict in Verdict)


def details(look: Look, found: StepState, width: int) -> list[Line]:
    """The step, its samples, what was found against it with what to do, its error, and its server's command line."""
    return list(_details(look, found, max(20, width)))


def _details(look: Look, found: StepState, width: int) -> Iterator[Line]:
    view, mine = look.feed.view, look.figures.measured(found)
    state, style = state_of(look, found)
    yield from paragraph(one_line(found.step.id, 600), width, "title")
    again = f", {found.taken_again} taken again" if found.taken_again else ""
    yield ((f" {state}", style), (f"   {mine.n} valid of {len(found.samples)} samples{again}", ""))
    sign = "+-" if look.glyphs.is_ascii else "±"
    spread = f" {sign} {mine.spread_tok_s:.2f}" if mine.spread_tok_s is not None else ""
    factor = ratio(look.figures.factor(view, found))
    speed = f" {rate(mine.rate_tok_s)}{spread} tok/s   {factor} times its baseline"
    draft = f"   acceptance {accepted(mine)}   tokens/pass {ratio(mine.facts.tokens_per_step)}"
    yield ((speed + draft, ""),)
    prefill, first, total = rate(mine.prefill_tok_s), time(mine.ttft_s), time(mine.total_time_s)
    yield ((f" whole answer {total}   first token {first}   prefill {prefill} tok/s", ""),)
    if found.error is not None:
        yield ()
        yield from paragraph(one_line(found.error, 2000), width, "bad")
    entry = look.advice.measurements.get(found.step.id)
    for name, text, style in remarks(entry):
        yield from paragraph(f"{name}: {text}", width, style)
    for verdict in found.verdicts:
        yield ()
        yield ((f" {one_line(verdict, 60)}", "warn"),)
        if verdict in _VERDICTS:
            yield from paragraph(DESCRIPTION[Verdict(verdict)], width, "")
    for detail in found.details:
        yield from paragraph(one_line(detail, 1000), width, "dim")
    if found.samples:
        yield ()
        yield ((_HEADING, "dim"),)
        for sample in proven(found.samples):
            yield _sample(sample)
            if sample.reasons:
                yield from paragraph(", ".join(one_line(each, 300) for each in sample.reasons), width, "warn", 8)
    load = view.loads.get(found.load or "")
    if load is not None:
        yield ()
        took = f", loaded in {human_seconds(load.load_time_s)}" if load.load_time_s is not None else ""
        yield (
            (f" load {one_line(load.id, 20)}: {one_line(load.state, 20)}{took}, {one_line(load.log, 100)}", "title"),
        )
        for said in (load.error, load.hint):
            if said is not None:
                yield from paragraph(one_line(said, 1000), width, "bad")
        yield from paragraph(one_line(shell_line(load.argv), 8000), width, "dim")


def _sample(sample: Sample) -> Line:
    tokens = str(sample.generated_tokens) if sample.generated_tokens is not None else "-"
    seen = str(sample.k_seen) if sample.k_seen is not None else "-"
    first = f" {f'#{sample.block + 1}':<7}{rate(sample.decode_tok_s):>9}{rate(sample.prefill_tok_s):>9}"
    times = f"{time(sample.ttft_s):>7}{time(sample.total_time_s):>7}"
    text = f"{first}{times}{ratio(share_of(sample)):>6}{tokens:>8}{seen:>8}"
    return (text, "" if sample.status == SampleStatus.OK else "warn"), (f"  {one_line(sample.prompt_id, 40)}", "dim")
