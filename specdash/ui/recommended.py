"""Recommendations of a result document in words, for terminals: what to use, how sure that is, and what else there was.

Pure; takes entries of `recommendations` as `specdash.result/1` has them, and asks fields that older documents lack with
a default. Labels come from outside and are made harmless here; whoever shows a reason or a command does so itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from specdash.core.axes import VARIANT, drafter_label, said
from specdash.core.methods import BASELINE
from specdash.core.numbers import finite
from specdash.core.text import one_line
from specdash.store.wording import DASH, whole_answer, whole_answer_change
from specdash.ui.narration import rate

ALL = "all"
COMMAND_CHARS = 8000
LEAST_REGRET = 0.001  # a share below which "no alternative is faster" is as good a word for it
NAME_CHARS = 60

Json = Mapping[str, Any]


def subject(each: Json, *, with_category: bool = False) -> str:
    """What a recommendation is for: the target, and what sets its arms apart from others of that target."""
    parts = [str(each.get("target"))]
    parts += said(each, VARIANT)
    parts += [f"on {each['category']}"] if with_category and each.get("category", ALL) != ALL else []
    return one_line(", ".join(parts), 120)


def is_choice(each: Json) -> bool:
    """Whether there is something to use: an arm with a draft or another method than the baseline."""
    return not each.get("off") and (each.get("draft") is not None or each.get("method") not in (None, "", BASELINE))


def arm(each: Json) -> str:
    """What drafts, with its K, in words; also of an entry of `tied`."""
    drafts = drafter_label(each)
    name = one_line(drafts or "no draft", NAME_CHARS)
    return name if each.get("k") is None else f"{name} with K = {each['k']}"


def choice(each: Json) -> str:
    """The recommendation in a line: what to use and how much faster it is, "off", or that nothing can be said."""
    reason = one_line(str(each.get("reason") or ""), 600)
    if each.get("off"):
        return f"off: {reason}" if reason else "off: no draft is faster beyond the noise"
    if not is_choice(each):
        return f"nothing can be recommended: {reason}" if reason else "nothing can be recommended"
    parts = [f"use {arm(each)}"]
    if (faster := speedup(each)) != "":
        parts.append(f": {faster}")
    if finite(each.get("tok_s")) is not None and finite(each.get("baseline_tok_s")) is not None:
        parts.append(f", {rate(each['tok_s'])} tok/s instead of {rate(each['baseline_tok_s'])}")
    if (whole := whole_answer(each)) != "":
        parts.append(f"; {whole}")
    return "".join(parts) + ("" if each.get("proven", True) else " (not proven)")


def speedup(each: Json) -> str:
    """How much faster the choice is, with its interval; "" where that is unknown."""
    value = finite(each.get("speedup"))
    if value is None:
        return ""
    return f"{value:.2f} times as fast{_interval(each.get('ci95'))}"


def short(each: Json) -> str:
    """The choice in a few words, for a table: "0.5B with K = 6", "off: no draft"."""
    return "off: no draft" if each.get("off") else arm(each) if is_choice(each) else "nothing can be recommended"


def brief(each: Json) -> str:
    """The choice with its speedup and what becomes of it in whole answers, in half a line.

    "0.5B with K = 6: 1.82x (1.77 to 1.88), answers -18.2 %, 12.3 tok/s".
    """
    value, rate_tok_s = finite(each.get("speedup")), finite(each.get("tok_s"))
    if not is_choice(each):
        return short(each)
    figures = [f"{value:.2f}x{_interval(each.get('ci95'))}"] if value is not None else []
    # In signs that every terminal has.
    change = whole_answer_change(each).replace("≈", "about ").replace(DASH, "?")
    figures += [f"answers {change}"] if each.get("whole_answer") else []
    figures += [f"{rate(rate_tok_s)} tok/s"] if rate_tok_s is not None else []
    said = f"{arm(each)}{': ' if figures else ''}{', '.join(figures)}"
    return said + ("" if each.get("proven", True) else ", not proven")


def why(each: Json) -> str:
    """The reason of a choice, harmless; "" where `choice` says it already."""
    return one_line(str(each.get("reason") or ""), 1000) if is_choice(each) else ""


def ties(each: Json) -> str:
    """What the choice cannot be told apart from; "" for nothing, and where the reason says it."""
    found = [f"{arm(other)} ({other['speedup']:.2f})" if finite(other.get("speedup")) is not None else arm(other)
             for other in each.get("tied") or ()]  # fmt: skip
    if not found or not is_choice(each) or "told apart" in str(each.get("reason")):
        return ""
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return f"not to be told apart from it: {', '.join(found[:5])}{more}"


def regret(each: Json) -> str:
    """How much faster an alternative could be; "" where that is unknown, and where nothing was chosen."""
    value, ends = finite(each.get("regret")), _ends(each.get("regret_ci95"))
    if value is None or not (is_choice(each) or each.get("off")):
        return ""
    least = f" (at most {ends[1] * 100:.1f} %)" if ends is not None else ""
    if value < LEAST_REGRET:
        return f"no alternative has a faster mean{least}" if ends is not None and ends[1] >= LEAST_REGRET else ""
    between = f" ({ends[0] * 100:.1f} to {ends[1] * 100:.1f} %)" if ends is not None else ""
    return f"an alternative's mean is {value * 100:.1f} % faster{between}"


def command(each: Json) -> str:
    """The command line to paste, on one line; "" where there is none."""
    return one_line(str(each.get("command") or ""), COMMAND_CHARS)


def for_all(recommendations: Sequence[Json]) -> list[Json]:
    """The recommendations over all categories, one for each target and variant."""
    return [each for each in recommendations if each.get("category", ALL) == ALL]


def unlike(recommendations: Sequence[Json], overall: Json) -> list[Json]:
    """The recommendations for single categories that are other ones than that for all of the same target."""
    mine = [each for each in recommendations if each.get("category", ALL) != ALL and subject(each) == subject(overall)]
    return [each for each in mine if short(each) != short(overall)]


def _interval(ci95: object) -> str:
    """An interval of a ratio in brackets; in words where there is none."""
    ends = _ends(ci95)
    return " (no interval)" if ends is None else f" ({ends[0]:.2f} to {ends[1]:.2f})"


def _ends(ci95: object) -> tuple[float, float] | None:
    """Both ends of an interval; None unless both are numbers."""
    if not isinstance(ci95, list | tuple) or len(ci95) != 2:
        return None
    low, high = finite(ci95[0]), finite(ci95[1])
    return None if low is None or high is None else (low, high)
