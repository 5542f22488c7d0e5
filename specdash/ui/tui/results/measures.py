"""The measures that cells can show, and how numbers are written there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, get_args

from specdash.analysis.stats import Speedup
from specdash.core.state import LoadState
from specdash.core.text import human_bytes
from specdash.ui.tui.results.figures import Figures, memory_bytes

Measure = Literal["speedup", "tok/s", "acceptance", "prefill", "ttft", "total", "tokens/step", "memory"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


def number(value: float | None) -> str:
    """A rate or ratio in at most seven characters; "-" for unknown, a word for what is no number."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "inf"
    size = abs(value)
    if size >= 99_999.5 or 0 < size < 0.005:
        return f"{value:.1e}"
    return f"{value:.0f}" if size >= 999.5 else f"{value:.1f}" if size >= 99.95 else f"{value:.2f}"


def share(value: float | None) -> str:
    """A share as a percentage; "-" for unknown."""
    return "-" if value is None else f"{value * 100:.0f}%"


def interval(found: Speedup | None) -> str:
    """The 95 % interval of a speedup in brackets, or in words why there is none."""
    if found is None:
        return ""
    if found.ci95 is None:
        return "[1 sample]"
    return f"[{number(found.ci95[0])},{number(found.ci95[1])}]"


def rate_interval(figures: Figures) -> str:
    """The 95 % interval of the mean rate in brackets; "" with fewer than two samples."""
    if figures.rate is None or figures.rate.ci95 is None:
        return ""
    return f"[{number(figures.rate.ci95[0])},{number(figures.rate.ci95[1])}]"


def value_of(measure: Measure, figures: Figures, loads: Mapping[str, LoadState]) -> float | None:
    """The measure as a number; None where it is unknown."""
    match measure:
        case "speedup":
            return figures.speedup.value if figures.speedup is not None else None
        case "tok/s":
            return figures.rate.mean if figures.rate is not None else None
        case "acceptance":
            return figures.acceptance
        case "prefill":
            return figures.prefill_tok_s
        case "ttft":
            return figures.ttft_s
        case "total":
            return figures.total_time_s
        case "tokens/step":
            return figures.tokens_per_step
        case "memory":
            return memory_bytes(figures, loads)


def shown(measure: Measure, value: float) -> str:
    """A measure's value with its unit, in at most eight characters."""
    match measure:
        case "speedup":
            return f"{number(value)}x"
        case "acceptance":
            return share(value)
        case "ttft" | "total":
            return f"{value:.2f}s" if value < 99.995 else f"{value:.0f}s"
        case "memory":
            return human_bytes(value).replace("iB", "").replace(" ", "")
        case _:
            return number(value)
