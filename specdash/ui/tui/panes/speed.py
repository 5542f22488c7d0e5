"""Speed and acceptance: what the server does now, what the step has come to, and how both went."""

from __future__ import annotations

from collections.abc import Sequence

from specdash.analysis.figures import Figures
from specdash.core.measure import INFERRED
from specdash.core.methods import BASELINE
from specdash.core.step_state import StepState
from specdash.core.ticks import TokenTick
from specdash.ui.tui.lines import Line, Span, width_of
from specdash.ui.tui.panes.pane import (
    PaintContext,
    Pane,
    age,
    ceiling,
    graph,
    note,
    short_acceptance,
    short_rate,
    short_ratio,
    speed_style,
)

SILENT_S = 10.0  # longer than any healthy server takes between two tokens


def speed_pane(context: PaintContext, width: int, rows: int) -> Pane:
    """Tokens per second in `rows` lines: now, the step's mean, the best so far, and against the baseline."""
    values = _values(context, 0)
    lines = graph(values, width, rows, ceiling(values), context.glyphs) if rows > 0 else []
    title = "Speed  tok/s" if context.feed.live.rates_tok_s else "Speed  tok/s of each sample"
    silent = silence(context)
    room = width - len(title) - 9
    if silent is not None:
        return Pane(title, ((silent, "warn"),), tuple(lines))
    return Pane(title, note(_speed_parts(context), room), tuple(lines))


def acceptance_pane(context: PaintContext, width: int, rows: int) -> Pane:
    """The share of drafted tokens that the target accepts, in `rows` lines, with the proof that the draft is used."""
    values = _values(context, 1)
    words = _proof(context)
    kept = list(words[: max(0, rows - 1)])
    lines = [*graph(values, width, rows - len(kept), 1.0, context.glyphs), *kept]
    title = "Acceptance"
    parts = _acceptance_parts(context, with_k=not kept)
    return Pane(title, note(parts, width - len(title) - 9), tuple(lines[: max(0, rows)]))


def silence(context: PaintContext) -> str | None:
    """The warning that an answer has stalled; None while tokens come, or none are expected."""
    token = context.feed.live.token
    server = context.feed.live.server
    if token is None or token.silent_s <= SILENT_S or (server is not None and server.state != "busy"):
        return None
    state = server.state if server is not None else "unknown"
    return f"no token for {age(token.silent_s)} (server is {state})"


def shown_step(context: PaintContext) -> StepState | None:
    """The step that is measured now, or was last."""
    view, token = context.feed.view, context.feed.live.token
    found = view.steps.get(token.step or "") if token is not None else None
    return found if found is not None else view.steps.get(view.current_step or "")


def _values(context: PaintContext, which: int) -> Sequence[float | None]:
    """The history of rates (0) or acceptances (1): of ticks, or of samples where there are none."""
    live = context.feed.live
    if live.rates_tok_s:
        return live.acceptances if which else live.rates_tok_s
    return [pair[which] for pair in context.figures.history(context.feed.view)]


def _measured(context: PaintContext) -> tuple[StepState, Figures] | None:
    found = shown_step(context)
    return (found, context.figures.measured(found)) if found is not None else None


def _now(context: PaintContext) -> TokenTick | None:
    """The request in flight; None when there is none, so that an old rate is not called the one of now."""
    live = context.feed.live
    return live.token if live.server is None or live.server.state == "busy" else None


def _speed_parts(context: PaintContext) -> list[Span]:
    found, token = _measured(context), _now(context)
    parts: list[Span] = []
    if context.feed.gone is None:
        parts.append((f"now {short_rate(token.rate_tok_s if token is not None else None):>6}", "accent"))
    if found is not None:
        step, mine = found
        sign = "+-" if context.glyphs.is_ascii else "±"
        spread = f" {sign}{short_rate(mine.spread_tok_s)}" if mine.spread_tok_s is not None else ""
        parts.append((f"step {short_rate(mine.rate_tok_s)}{spread}", ""))
        factor = context.figures.factor(context.feed.view, step)
        if factor is not None:
            baseline = context.feed.view.steps[step.step.baseline().id]
            base = short_rate(context.figures.measured(baseline).rate_tok_s)
            parts.append((f"x{short_ratio(factor)} vs base {base}", speed_style(factor)))
        elif step.step.method == BASELINE:
            parts.append(("baseline", "dim"))
    best = context.figures.overview(context.feed.view).best
    if best is not None:
        parts.append((f"best {short_rate(best[0])} (step {best[1]})", "dim"))
    return parts


def _acceptance_parts(context: PaintContext, *, with_k: bool) -> list[Span]:
    found, token = _measured(context), _now(context)
    if found is not None and found[0].step.method == BASELINE:
        return [("no draft in this step", "dim")]
    parts: list[Span] = []
    if context.feed.gone is None:
        parts.append((f"now {short_ratio(token.acceptance_rate if token is not None else None):>4}", "accent"))
    if found is not None:
        mine = found[1]
        parts.append((f"step {short_acceptance(mine)}", ""))
        parts.append((f"tokens/pass {short_ratio(mine.facts.tokens_per_step)}", ""))
        parts.append((f"drafted {mine.drafted:,}" if mine.drafted is not None else "drafted -", ""))
        if with_k:
            parts.append(_k_seen(found[0], mine))
    return parts


def _k_seen(found: StepState, mine: Figures) -> Span:
    """A draft that is loaded is not yet a draft that is used: the longest one that was seen."""
    if mine.facts.k_seen is None:
        if not mine.n or (mine.drafted is None and not found.step.may_draft_nothing):
            return "K seen -", "dim"
        return "nothing drafted", "dim" if found.step.may_draft_nothing else "warn"
    return f"K seen {mine.facts.k_seen}", ""


def _proof(context: PaintContext) -> tuple[Line, ...]:
    """In words: what shows that the draft works with the K that was asked for, and how far drafts hold."""
    found = _measured(context)
    if found is None or found[0].step.method == BASELINE:
        return ()
    step, mine = found
    asked, seen = step.step.k, mine.facts.k_seen
    if seen is None and any(sample.acceptance_source == INFERRED for sample in step.good):
        return (((" proof: ", "dim"), (f"K {asked} asked, no answer proves it yet", "warn")),)
    if seen is None:
        is_fault = mine.n and not step.step.may_draft_nothing
        return (((" proof: ", "dim"), ("nothing drafted yet", "warn" if is_fault else "dim")),)
    is_right = seen == asked or (step.step.is_ceiling and asked is not None and seen < asked)
    words: Line = ((" proof: ", "dim"), (f"K {asked} asked, up to {seen} drafted", "good" if is_right else "warn"))
    kept = mine.facts.accepted_per_position
    if not kept:
        return (words,)
    per = " ".join(f"{number}:{value:.2f}" for number, value in enumerate(kept, start=1))
    positions: Line = ((" kept by position ", "dim"), (per, ""))
    return (words, positions) if width_of(words) else ()
