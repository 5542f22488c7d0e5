"""The measures that cells can show, how numbers and states are written there, and what rows have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from specdash.analysis.figures import Figures
from specdash.analysis.stats import Speedup
from specdash.core.axes import VARIANT, Values, pick, said
from specdash.core.plan import Step
from specdash.core.state import LoadState
from specdash.core.status import StepStatus
from specdash.core.steps import StepState
from specdash.core.text import human_bytes

Pair = tuple[str, str | None]
"""A target and what drafts for it, by name; None for a baseline."""

Variant = Values

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


def pair_of(step: Step) -> Pair:
    """The target of a step and what drafts for it; None for a baseline."""
    return step.target, step.drafter


def variant_of(step: Step) -> Variant:
    """What else sets steps of one pair and K apart."""
    return pick(step, VARIANT)


def variant_label(variant: Variant) -> str:
    """A variant in words; "" for the plain one."""
    return ", ".join(said(variant))


def sign_of(found: Speedup | None) -> str:
    """The sign of a speedup: "+" faster, "-" slower, "=" not to be told from 1, "?" no interval; " " for none."""
    if found is None:
        return " "
    low, high = found.ci95 or (math.nan, math.nan)
    if math.isnan(low) or math.isnan(high):
        return "?"
    return "+" if low > 1 else "-" if high < 1 else "="


def memory_bytes(figures: Figures, loads: Mapping[str, LoadState]) -> int | None:
    """The most memory that a server of these figures held at its peak; None until one of them has ended."""
    peaks = [
        load.peak_rss_bytes for each in figures.loads if (load := loads.get(each)) is not None and load.peak_rss_bytes
    ]
    return max(peaks, default=None)


def word_of(steps: Sequence[StepState], planned: int | None = None) -> str:
    """What stands where a figure would: the state of these steps, the most telling one first; never blank.

    `planned`: how many samples a running step takes.
    """
    states = {found.status for found in steps}
    if not states:
        return "n/a"
    if StepStatus.RUNNING in states:
        if len(steps) == 1 and planned is not None:
            return f"RUN {len(steps[0].samples)}/{planned}"
        return "RUN"
    for status, word in (("failed", "FAIL"), ("timeout", "TIMEOUT"), ("invalid", "INVALID"), (StepStatus.OPEN, "....")):
        if status in states:
            return word
    return "skip" if "skipped" in states else "no rate"
