"""The server: where it is in its life, how long it took to get there, and what it is asked right now."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import pairwise

from specdash.core.lifecycle import TABLE, ServerState, Trigger
from specdash.core.newest_values import of_newest
from specdash.core.persistent import backwards
from specdash.core.plan import LoadKey
from specdash.core.state import LoadState
from specdash.core.text import human_bytes, one_line, plural
from specdash.report.text import K_SCOPES
from specdash.ui.narration import reading
from specdash.ui.tui.lines import Line, Span, fitted, width_of
from specdash.ui.tui.panes.pane import PaintContext, Pane, age, bar, note, paragraph, short_rate
from specdash.ui.tui.panes.speed import shown_step
from specdash.ui.tui.terminal.theme import StyleName

# What leads a server up to its work; every other trigger ends it.
_UP = (Trigger.START, Trigger.LISTENING, Trigger.HEALTHY, Trigger.WARMED, Trigger.REQUEST)

ROOMY = 8  # rows from which on each move of the state machine has a line of its own

MOST_REASON = 4  # rows that the reason of a failure takes

PURPOSES = {"check": "comparing texts", "cost": "measuring step costs"}  # of a request; the others are words already


def way_up() -> tuple[ServerState, ...]:
    """The states from stopped to busy, in order, as the table has them."""
    found = [ServerState.STOPPED]
    while True:
        following = (TABLE[found[-1]].get(trigger) for trigger in _UP)
        fresh = next((state for state in following if state is not None and state not in found), None)
        if fresh is None:
            return tuple(found)
        found.append(fresh)


def server(context: PaintContext, width: int, rows: int) -> Pane:
    """State line, running step or why the last load failed, load progress, then what else there is room for.

    Where several servers are at work, each has a row of its own instead.
    """
    if len(context.feed.view.live_loads) > 1:
        return _several(context, width, rows)
    load = shown_load(context)
    failed = _failure(context, width, max(1, min(rows, MOST_REASON)))
    lines: list[Line] = failed or [_step_line(context)]
    state, since_s = state_now(context, load)
    if rows > len(lines):
        lines.insert(0, _states(context, load, state, since_s, width))
    progress = _progress(context, load, state)
    if progress is not None:
        lines.insert(len(lines) - 1, progress)
    lines += [_models(context, load), *(_moves(context) if rows > ROOMY else [_history(context, width)]), _next(state)]
    shown = [line for line in lines if line][: max(0, rows)]
    fit = tuple(fitted(line, width, context.glyphs.ellipsis) for line in shown)
    return Pane("Server", note(_engine(context, load), width - 15), fit)


def _several(context: PaintContext, width: int, rows: int) -> Pane:
    """Draw one row for each server that is at work, in the order of their starts; what has no room is counted."""
    loads = [context.feed.view.loads[name] for name in context.feed.view.live_loads]
    shown = loads if len(loads) <= rows else loads[: max(0, rows - 1)]
    lines = [_server_row(context, load) for load in shown]
    if len(shown) < len(loads) and rows > 0:
        lines.append(((f" and {len(loads) - len(shown)} more", "dim"),))
    fit = tuple(fitted(line, width, context.glyphs.ellipsis) for line in lines)
    return Pane("Servers", note([(f"{len(loads)} at work", "dim")], width - 16), fit)


def _server_row(context: PaintContext, load: LoadState) -> Line:
    """Draw a server in one row: its state, what it is answering and how fast, and what it was started for."""
    live = context.feed.live
    tick = live.servers.get(load.id)
    state, since_s = (tick.state, tick.since_s) if tick is not None else (load.state, load.state_since_s)
    elapsed = f" {age(context.now_s - since_s)}" if since_s is not None and context.feed.is_live else ""
    row: list[Span] = [(f" {one_line(load.id, 8)} ", "title"), (f"[{one_line(state, 10).upper()}{elapsed}]", "marked")]
    requests = live.requests_of(load.id)
    if (
        state in (ServerState.STARTING, ServerState.LOADING)
        and tick is not None
        and tick.read_bytes is not None
        and tick.size_bytes
    ):
        row.append((f"  about {min(1.0, tick.read_bytes / tick.size_bytes):4.0%}", ""))
    elif len(requests) == 1:
        row.append((f"  {reading(requests[0]) or f'{requests[0].tokens}/{requests[0].max_tokens} tokens'}", ""))
    elif requests:
        row.append((f"  {len(requests)} requests, {sum(request.tokens for request in requests)} tokens", ""))
    rates = [request.rate_tok_s for request in requests if request.rate_tok_s is not None]
    if rates:
        row.append((f"  {short_rate(sum(rates))} tok/s", "accent"))
    row.append((f"  {one_line(load.key.label, 100)}", "dim"))
    return tuple(row)


def shown_load(context: PaintContext) -> LoadState | None:
    """The load that runs now, or the last one."""
    view, tick = context.feed.view, context.feed.live.server
    for name in (tick.load if tick is not None else None, view.current_load):
        if name is not None and name in view.loads:
            return view.loads[name]
    return next(backwards(view.loads), None)


def state_now(context: PaintContext, load: LoadState | None) -> tuple[str | None, float | None]:
    """The server's state and since when; by the tick, which alone knows of ready and busy, else by the facts."""
    tick = context.feed.live.server
    if tick is not None and (load is None or (tick.load == load.id and not load.finished)):
        return tick.state, tick.since_s
    return (load.state, load.state_since_s) if load is not None else (None, None)


def restarts(context: PaintContext) -> int:
    """How many loads replace one that failed at its work; one that the queue came back to is none."""
    return _restarts(context.feed.view.loads)


@of_newest
def _restarts(loads: Mapping[str, LoadState]) -> int:
    last: dict[LoadKey, LoadState] = {}
    count = 0
    for load in loads.values():
        before = last.get(load.key)
        count += before is not None and before.state == ServerState.FAILED and before.was_ready
        last[load.key] = load
    return count


def spent(context: PaintContext, load: LoadState) -> Mapping[str, float]:
    """Seconds that a load has spent in each state that it has left."""
    moves = [move for move in context.feed.view.transitions if move.load == load.id]
    times: dict[str, float] = {}
    for move, following in pairwise(moves):
        times[move.after] = times.get(move.after, 0.0) + max(0.0, following.time_s - move.time_s)
    return times


def _states(
    context: PaintContext, load: LoadState | None, state: str | None, since_s: float | None, width: int
) -> Line:
    """All states of the table, those on the way to work first; the one of now in brackets with its age."""
    times = spent(context, load) if load is not None else {}
    up = way_up()
    down = [each for each in TABLE if each not in up]
    elapsed = f" {age(context.now_s - since_s)}" if since_s is not None and context.feed.is_live else ""

    def span(each: ServerState) -> Span:
        if each == state:
            bad = each in (ServerState.ABORTING, ServerState.FAILED)
            return f"[{each.upper()}{elapsed}]", "bad" if bad else "marked"
        return f"{each}{f' {times[each]:.1f}s' if each in times else ''}", "" if each in times else "dim"

    line: list[Span] = [(" ", "")]
    for number, each in enumerate(up):
        line += [(" > " if number else "", "dim"), span(each)]
    rest: list[Span] = []
    for each in down:
        rest += [("  ", ""), span(each)]
    if width_of((*line, *rest)) + 2 <= width:
        return (*line, (f" {context.glyphs.vertical}", "dim"), *rest)
    leaving = [span(each) for each in down if each == state]
    if leaving:  # the way up is known by heart; what is going on now must not be cut off
        return ((" ", ""), *leaving, ("  was: ", "dim"), *line[1:])
    at = next((number for number, each in enumerate(up) if each == state), 0)
    skipped = 0
    while skipped < at and width_of(tuple(line)) > width:  # where it has been matters less than where it is
        skipped += 1
        line = [(f" {context.glyphs.ellipsis}", "dim"), *line[3:]]
    return tuple(line)


def _engine(context: PaintContext, load: LoadState | None) -> list[Span]:
    engine = context.feed.view.engine
    parts: list[Span] = []
    if engine is not None:
        parts.append((f"{one_line(engine.kind, 30)} {one_line(engine.version, 24)}", "dim"))
    if load is not None:
        parts.append((f"pid {load.pid}" if load.pid is not None else "pid -", "dim"))
        parts.append((f"load {one_line(load.id, 12)}", "dim"))
    count = restarts(context)
    if count:
        parts.append((plural(count, "restart"), "warn"))
    return parts


def _failure(context: PaintContext, width: int, rows: int) -> list[Line]:
    """Why the last load failed and what to do, while nothing has followed it; [] where it did not fail."""
    view = context.feed.view
    load = next(backwards(view.loads), None)
    if load is None:  # no server was so much as started
        ended = view.finished is not None or context.feed.gone is not None
        found = next((step.error for step in view.steps.values() if step.error), None) if ended else None
        what, error, hint = "no server was started", found, None
    else:
        what, error, hint = f"load {one_line(load.id, 12)} failed", load.error if load.finished else None, load.hint
    if not error:
        return []
    # The steps that it took with it may know more: what the server itself said at last.
    error = next((step.error for step in view.steps.values() if (step.error or "").startswith(error)), error) or error
    advice = list(paragraph(one_line(hint, 400), width, "accent"))[: max(0, rows - 1)] if hint else []
    reason = list(paragraph(f"{what}: {one_line(error, 600)}", width, "bad"))
    if not advice or len(reason) <= rows - len(advice):
        kept = reason[:rows]
    else:
        advice = advice[:1]
        kept = reason[: rows - 1]
    if len(kept) < len(reason):
        kept[-1] = ((f"{kept[-1][0][0][: max(0, width - 4)]} {context.glyphs.ellipsis}", "bad"),)
    return [*kept, *advice]


def _step_line(context: PaintContext) -> Line:
    """What is measured now: never left out, however low the screen is."""
    view, token = context.feed.view, context.feed.live.token
    found = shown_step(context)
    total = len(view.steps)
    if found is None:
        left = context.figures.overview(view).counts.get("open", 0)
        return ((f" no step is running  {left} of {total} still queued", "dim"),)
    step = found.step
    number = context.figures.overview(view).place[step.id] + 1
    models = one_line(step.target if step.drafter is None else f"{step.target} + {step.drafter}", 60)
    k = f"  K={step.k}" if step.k is not None else "  baseline"
    line: list[Span] = [(f" step {number}/{total} ", "title"), (f"{models}{k}  {one_line(step.category, 24)}", "")]
    wanted = view.iterations(step.id)
    purpose = token.purpose if token is not None else "sample"
    if purpose == "sample":
        block = token.block + 1 if token is not None and token.block is not None else len(found.good)
        line.append((f"  repeat {block}/{wanted if wanted is not None else '?'}", ""))
    else:
        line.append((f"  {PURPOSES.get(purpose) or one_line(purpose, 12)}", "warn"))
    tick = context.feed.live.server
    in_flight = token is not None and (tick is None or tick.state == ServerState.BUSY)
    if view.paused and not in_flight:
        line.append(("  paused", "warn"))
    if token is not None and in_flight:
        line.append((f"  request {age(context.now_s - token.started_s)}", ""))
        made = f"{token.tokens:>{len(str(token.max_tokens))}}/{token.max_tokens} tokens"
        line.append((f"  {reading(token) or made}", "dim"))
    return tuple(line)


def _progress(context: PaintContext, load: LoadState | None, state: str | None) -> Line | None:
    """How far a load has come: about, since what was read from disk is all that can be seen."""
    if load is None or state not in (ServerState.STARTING, ServerState.LOADING):
        return None
    tick = context.feed.live.server
    size = (tick.size_bytes if tick is not None else None) or load.size_bytes
    read = tick.read_bytes if tick is not None else None
    share = min(1.0, read / size) if read is not None and size else None
    limit = load.timeout_s
    elapsed = age(context.now_s - load.started_s)
    told = f"about {share:4.0%}" if share is not None else "progress unknown"
    whole = human_bytes(size) if size is not None else "?"
    amount = f"  {human_bytes(read)} of {whole} read" if read is not None else f"  {whole}"
    return (
        (" load ", "title"),
        (bar(share, 24, context.glyphs), "accent"),
        (f" {told}", ""),
        (amount, "dim"),
        (f"  {elapsed}{f' of {age(limit)}' if limit is not None else ''}", ""),
    )


def _models(context: PaintContext, load: LoadState | None) -> Line:
    """What is loaded, and from where."""
    if load is None:
        return ()
    engine = context.feed.view.engine
    program = f"  {one_line(engine.program, 100)}" if engine is not None else ""
    took = f"  loaded in {load.load_time_s:.1f} s" if load.load_time_s is not None else ""
    known = K_SCOPES.get(load.k_scope or "")
    scope = f"  {known.short if known is not None else load.k_scope}" if load.k_scope is not None else ""
    size = f"  {human_bytes(load.size_bytes)}" if load.size_bytes is not None else ""
    return ((f" {one_line(load.key.label, 100)}{size}", ""), (f"{took}{scope}{program}", "dim"))


def _history(context: PaintContext, width: int) -> Line:
    """The last moves of the state machine, the newest first, with the time of day of each."""
    line: list[Span] = [(" last ", "dim")]
    for move in reversed(context.feed.view.transitions):
        clock = time.strftime("%H:%M:%S", time.localtime(move.time_s))
        text = f"{clock} {move.before} -{move.trigger}> {move.after}"
        text += f" ({one_line(move.detail, 60)})" if move.detail else ""
        if width_of(tuple(line)) + len(text) + 2 > width and len(line) > 1:
            break
        line += [(text, "bad" if move.after in (ServerState.FAILED, ServerState.ABORTING) else "dim"), ("  ", "")]
    return tuple(line) if len(line) > 1 else ()


def _moves(context: PaintContext) -> list[Line]:
    """The last moves, one a line."""
    found: list[Line] = []
    for move in reversed(context.feed.view.transitions[-6:]):
        clock = time.strftime("%H:%M:%S", time.localtime(move.time_s))
        text = f" {clock}  {move.load}  {move.before} -{move.trigger}> {move.after}"
        style: StyleName = "bad" if move.after in (ServerState.FAILED, ServerState.ABORTING) else "dim"
        found.append(((text, style), (f"  {one_line(move.detail, 200)}", "dim")))
    return found


def _next(state: str | None) -> Line:
    """What may happen next, as the table has it."""
    if state is None or state not in TABLE:
        return ()
    moves: dict[ServerState, list[str]] = {}
    for trigger, after in TABLE[ServerState(state)].items():
        moves.setdefault(after, []).append(trigger.value)
    told = ", ".join(f"{'/'.join(triggers)} > {after.value}" for after, triggers in moves.items())
    return ((f" from {state}: ", "dim"), (told, "dim"))
