"""Memory of the machine, of the server and of its GPUs, with what is near its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from specdash.core.memory import Level, Levels, levels
from specdash.core.persistent import backwards
from specdash.core.state import RunState
from specdash.core.text import human_bytes, one_line
from specdash.core.ticks import GpuUse, MemoryTick
from specdash.ui.tui.lines import Line, Span, fitted, width_of
from specdash.ui.tui.panes.pane import PaintContext, Pane, bar, note
from specdash.ui.tui.terminal.theme import StyleName

FULL_ROWS = 4  # from here on every figure has a line of its own
NAME_CELLS = 8
LEAST_BAR, MOST_BAR = 6, 24
_STYLE: dict[str | None, StyleName] = {"warning": "warn", "danger": "bad"}
_UNITS = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def memory(context: PaintContext, width: int, rows: int) -> Pane:
    """RAM, wired memory, swap, the server and GPUs in `rows` lines; the worst of them is named on the rule."""
    tick = context.feed.live.memory
    if tick is None:
        return Pane("Memory", (), tuple(_without(context, width))[: max(0, rows)])
    found = levels(tick)
    lines = list(_full(context, tick, found, width) if rows >= FULL_ROWS else _short(context, tick, found, width))
    return Pane("Memory", note(_worst(tick, found), width - 15), tuple(_first(lines, rows, context)))


def _first(lines: list[Line], rows: int, context: PaintContext) -> list[Line]:
    """The first lines; where some are left out, the last one says how many."""
    if len(lines) <= rows:
        return lines
    if rows < FULL_ROWS:
        return lines[: max(0, rows)]
    more = len(lines) - rows + 1
    return [*lines[: rows - 1], ((f" {context.glyphs.ellipsis} {more} more", "dim"),)]


def _without(context: PaintContext, width: int) -> Iterator[Line]:
    """What facts tell of memory where no sensor is read: the peaks of the servers."""
    view: RunState = context.feed.view
    why = "no reading yet" if context.feed.gone is None else "not read: no engine is at work"
    yield ((f" {why}", "dim"),)
    for load in backwards(view.loads):
        if load.peak_rss_bytes is not None:
            wired = f", wired {human_bytes(load.wired_peak_bytes)}" if load.wired_peak_bytes is not None else ""
            text = f" peak of {one_line(load.id, 20)}: {human_bytes(load.peak_rss_bytes)}{wired}"
            yield fitted(((text, ""), (f"  {one_line(load.key.label, 80)}", "dim")), width, context.glyphs.ellipsis)


def _worst(tick: MemoryTick, found: Levels) -> list[Span]:
    """What is near its end, by name, the worst first."""
    names = ["RAM", "swap", "wired", "server", "pressure", *(f"GPU{number}" for number in range(len(tick.gpus)))]
    order = {"danger": 0, "warning": 1}
    bad = [(name, each) for name, each in zip(names, found, strict=True) if each.level in order]
    bad.sort(key=lambda each: order[each[1].level or ""])
    if bad:
        return [(f"{each.level}: {name} {each.reason}", _STYLE[each.level]) for name, each in bad]
    return [("memory ok", "dim")] if found.worst is not None else []


def _pair(used_bytes: int, total_bytes: int) -> str:
    """Two sizes in the unit of the second one: "431/768 GiB"."""
    unit, size = next(((name, size) for name, size in _UNITS if total_bytes >= size), ("B", 1))
    total, used = total_bytes / size, used_bytes / size
    digits = 1 if total < 100 else 0
    return f"{used:{len(f'{total:.{digits}f}')}.{digits}f}/{total:.{digits}f} {unit}"


def _row(context: PaintContext, name: str, level: Level, figures: str, extra: Sequence[Span], width: int) -> Line:
    """One figure: name, bar, sizes, the level in words where it is no good one, and what else there is room for."""
    style = _STYLE.get(level.level, "")
    cells = max(LEAST_BAR, min(MOST_BAR, width - NAME_CELLS - 38))
    words: list[Span] = [(str(level.level), style)] if level.level in _STYLE else []
    line: Line = (
        (f" {name:<{NAME_CELLS - 2}} ", "dim"),
        (bar(level.share, cells, context.glyphs), style or "accent"),
        (f" {figures:>13}", style),
    )
    room = width - width_of(line) - 2
    return fitted((*line, ("  ", ""), *note([*words, *extra], room)), width, context.glyphs.ellipsis)


def _wired_bytes(tick: MemoryTick) -> int | None:
    """What counts against the limit: the server's own where the limit is the server's, as `core.memory` has it."""
    server_only = tick.wired_limit_bytes is not None and tick.server_locked_bytes is not None
    return tick.server_locked_bytes if server_only else tick.wired_bytes


def _wired_words(tick: MemoryTick) -> str:
    """Memory that cannot be moved out of RAM, against its limit."""
    used, limit = _wired_bytes(tick), tick.wired_limit_bytes
    if used is None:
        return "wired -"
    return f"wired {human_bytes(used)}" if limit is None else f"wired {_pair(used, limit)} limit"


def _server_words(tick: MemoryTick) -> str:
    rss = human_bytes(tick.server_rss_bytes) if tick.server_rss_bytes is not None else "-"
    return f"server {rss}, {_cached_words(tick)}"


def _cached_parts(tick: MemoryTick) -> list[Span]:
    if not tick.model_bytes or tick.cached_bytes is None:
        return [("page cache unknown", "dim")]
    return [(f"{tick.cached_bytes / tick.model_bytes:4.0%} cached", "dim"), ("of the model's files", "dim")]


def _cached_words(tick: MemoryTick) -> str:
    if not tick.model_bytes or tick.cached_bytes is None:
        return "model in page cache: unknown"
    return f"model {tick.cached_bytes / tick.model_bytes:4.0%} in page cache"


def _short(context: PaintContext, tick: MemoryTick, found: Levels, width: int) -> Iterator[Line]:
    """Everything in two or three lines."""
    cells = max(LEAST_BAR, min(MOST_BAR, width - 58))
    style = _STYLE.get(found.ram.level, "")
    used = tick.total_bytes - tick.available_bytes
    line: Line = (
        (f" {'RAM':<{NAME_CELLS - 2}} ", "dim"),
        (bar(found.ram.share, cells, context.glyphs), style or "accent"),
        (f" {_pair(used, tick.total_bytes)}", style),
        (f"  swap {human_bytes(tick.swap_used_bytes)}", _STYLE.get(found.swap.level, "")),
        (f"  {_wired_words(tick)}", _STYLE.get(found.wired.level, "")),
    )
    yield fitted(line, width, context.glyphs.ellipsis)
    gpus = list(_gpus(context, tick, found, width))
    server: Line = ((" " + _server_words(tick), _STYLE.get(found.server.level, "")),)
    if gpus:
        yield gpus[0]
        yield fitted(server, width, context.glyphs.ellipsis)
        yield from gpus[1:]
    else:
        why = f"  {one_line(tick.missing[0], 120)}" if tick.missing else "  no GPU"
        yield fitted((*server, (why, "dim")), width, context.glyphs.ellipsis)


def _full(context: PaintContext, tick: MemoryTick, found: Levels, width: int) -> Iterator[Line]:
    """A line for each figure; what is not here says why."""
    used = tick.total_bytes - tick.available_bytes
    free = f"{human_bytes(tick.available_bytes)} avail."
    yield _row(context, "RAM", found.ram, _pair(used, tick.total_bytes), [(free, "dim")], width)
    wired, limit = _wired_bytes(tick), tick.wired_limit_bytes
    if wired is not None:
        sizes = _pair(wired, limit) if limit is not None else human_bytes(wired)
        yield _row(context, "wired", found.wired, sizes, [("limit" if limit is not None else "no limit", "dim")], width)
    swap = _pair(tick.swap_used_bytes, tick.swap_total_bytes) if tick.swap_total_bytes else "none"
    yield _row(context, "swap", found.swap if tick.swap_total_bytes else Level("ok", "", 0.0), swap, [], width)
    yield from _gpus(context, tick, found, width)
    if tick.server_rss_bytes is not None:
        rss = human_bytes(tick.server_rss_bytes)
        yield _row(context, "server", found.server, rss, _cached_parts(tick), width)
    else:
        yield ((" server  not running, or its memory is not told", "dim"),)
    if tick.pressure is not None:
        yield fitted(((" stalls  ", "dim"), (found.pressure.reason, _STYLE.get(found.pressure.level, ""))), width)
    for each in tick.missing:
        yield fitted(((" - ", "dim"), (one_line(each, 200), "dim")), width, context.glyphs.ellipsis)


def _gpus(context: PaintContext, tick: MemoryTick, found: Levels, width: int) -> Iterator[Line]:
    """A line for each GPU, the ones that are worst off first."""
    order = {"danger": 0, "warning": 1}
    numbered = list(enumerate(zip(tick.gpus, found.gpus, strict=True)))
    numbered.sort(key=lambda each: (each[1][0].throttled is None, order.get(each[1][1].level or "", 2)))
    for number, (gpu, level) in numbered:
        yield _gpu(context, number, gpu, level, width)


def _gpu(context: PaintContext, number: int, gpu: GpuUse, level: Level, width: int) -> Line:
    sign = "C" if context.glyphs.is_ascii else "°C"
    parts: list[Span] = [(f"throttled: {one_line(gpu.throttled, 60)}", "warn")] if gpu.throttled is not None else []
    parts += [(f"{gpu.temperature_c:3.0f} {sign}", "")] if gpu.temperature_c is not None else []
    parts += [(f"{gpu.power_w:4.0f} W", "")] if gpu.power_w is not None else []
    parts += [(f"busy {gpu.utilisation:4.0%}", "")] if gpu.utilisation is not None else []
    parts.append((one_line(gpu.name, 40), "dim"))
    return _row(context, f"GPU{number}", level, _pair(gpu.used_bytes, gpu.total_bytes), parts, width)
