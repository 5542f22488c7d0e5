"""The tables of one target: its arms over all categories, and by category."""

from __future__ import annotations

from specdash.report.arms import contenders, content_arms, in_order, slower_pairs
from specdash.report.markdown.cells import safe, table
from specdash.report.text import (
    DASH,
    INFERRED_NOTE,
    LOSSLESS,
    SPEED,
    Json,
    about,
    accepted,
    answer_times,
    arm_name,
    bandwidth,
    change,
    faster,
    is_inferred,
    known,
    mean,
    measured_n,
    rate,
    sentence,
    share,
    whole,
)

_SPEEDS = ("tok/s", "vs baseline", "prefill", "TTFT", "total", "n")
_DRAFTS = ("accepted", "tok/step")
_NOTES = (
    "tok/s: decoding only, mean ± standard deviation of n samples, by the server's clock where it tells the time.",
    "vs baseline: how many times as fast; the ratio of the means on the same prompts, with its 95 % interval. ≈ marks a"
    " difference inside the noise, which counts as none.",
    "prefill: prompt tokens read per second. TTFT and total: mean time to the first token, and of the whole answer.",
    "accepted: share of drafted tokens that the target kept. tok/step: tokens per pass of the target.",
)
_OVERALL_NOTE = "Over all categories, every sample weighs the same."
_MISSING_NOTE = (
    "\\* lacks categories that others have, so its tok/s is of another mix of prompts; its speedup is over the"
    " categories that it has."
)
_DRIFT_NOTE = "drift: change of tok/s from a prompt's first block to its last."
_BOUND_NOTE = "of bound: tok/s over what the memory can deliver, bandwidth / bytes per pass x tokens per step."


def target_section(target: str, result: Json) -> list[str]:
    """The section of one target: over all categories first, then by category."""
    arms = in_order(arm for arm in result["overall"] if arm["target"] == target and arm["categories"])
    good = in_order(each for each in result["measurements"] if each["target"] == target and each["status"] == "ok")
    facts = about(target, result)
    lines = [f"## {safe(target)}{f' ({safe(facts)})' if facts else ''}", ""]
    if not good:
        return [*lines, "Nothing was measured that counts.", ""]
    lines += _pairs(target, result)
    categories = list(dict.fromkeys(each["category"] for each in good))
    notes = list(_NOTES)
    if len(categories) > 1:
        lines += [f"### Over all {len(categories)} categories", ""]
        rows = [[arm_name(arm), _k(arm), *_speeds(arm, "\\*" if arm["missing"] else ""), accepted(arm)] for arm in arms]
        lines += [*table(("draft", "K", *_SPEEDS, "accepted"), rows, texts=1), "", "### By category", ""]
        notes.append(_OVERALL_NOTE)
        if any(arm["missing"] for arm in arms):
            notes.append(_MISSING_NOTE)
    ordered = [each for category in categories for each in good if each["category"] == category]
    names = [[str(each["category"]), arm_name(each), _k(each)] for each in ordered]
    rows = [[*name, *_speeds(each, "")] for name, each in zip(names, ordered, strict=True)]
    lines += [*table(("category", "draft", "K", *_SPEEDS), rows, texts=2), ""]
    header, rows = (
        ["category", "draft", "K", *_DRAFTS],
        [[*name, accepted(each), rate(each.get("tokens_per_step"))] for name, each in zip(names, ordered, strict=True)],
    )
    if any(known(each.get("drift")) is not None for each in ordered):
        header.append("drift")
        rows = [[*row, change(each.get("drift"))] for row, each in zip(rows, ordered, strict=True)]
        notes.append(_DRIFT_NOTE)
    bounds = [(each.get("roofline") or {}) for each in ordered]
    if any(known(bound.get("share")) is not None for bound in bounds):
        header.append("of bound")
        rows = [[*row, share(bound.get("share"))] for row, bound in zip(rows, bounds, strict=True)]
        notes.append(_BOUND_NOTE)
    if any(is_inferred(each) for each in ordered):
        notes.append(safe(INFERRED_NOTE))
    lines += [*table(header, rows, texts=2), "", *(f"- {note}" for note in notes)]
    return [*lines, *_unbound(bounds, result), "", *_losslessness(good)]


def _pairs(target: str, result: Json) -> list[str]:
    """How many drafts lose on this target."""
    said = slower_pairs(contenders(arm for arm in content_arms(result) if arm["target"] == target))
    return [sentence(said), ""] if said else []


def _k(arm: Json) -> str:
    return DASH if arm.get("k") is None else str(arm["k"])


def _speeds(arm: Json, mark: str) -> list[str]:
    """The cells of one arm under `_SPEEDS`."""
    rates = (arm.get("summary") or {}).get(SPEED)
    return [
        mean(rates) + (mark if rates is not None else ""),
        faster(arm.get("speedup"), measured_n(arm)),
        *answer_times(arm),
        whole((rates or {}).get("n")),
    ]


def _unbound(bounds: list[Json], result: Json) -> list[str]:
    """Why measurements have no bound, and the bandwidth that the others are held against."""
    reasons = dict.fromkeys(str(bound["reason"]) for bound in bounds if bound.get("reason"))
    lines = [f"- no bound: {safe(reason)}" for reason in reasons]
    text = bandwidth(result.get("bandwidth"))
    return [*lines, f"- {safe(text)}"] if text and any(bounds) else lines


def _losslessness(good: list[Json]) -> list[str]:
    """How many arms say what their baseline says; those that do not by name."""
    found = [each for each in good if each.get("lossless")]
    if not found:
        return []
    states = [str(each["lossless"].get("state")) for each in found]
    said = ", ".join(f"{states.count(state)} {words}" for state, words in LOSSLESS.items() if state in states)
    lines = ["### Same words as the baseline", "", f"At temperature 0, {len(found)} measurements: {said}.", ""]
    for each, state in zip(found, states, strict=True):
        if state in ("output_differs", "near_tie"):
            at = known(each["lossless"].get("diverges_at"))
            place = "" if at is None else f" at token {at:.0f}"
            text = ": ".join(filter(None, (f"{LOSSLESS[state]}{place}", each["lossless"].get("reason"))))
            lines.append(f"- {safe(each['step'])}: {safe(text)}")
    unknown = [str(each["lossless"].get("reason") or "no reason is given") for each in found if _is_unknown(each)]
    lines += [f"- unknown for {unknown.count(reason)}: {safe(reason)}" for reason in dict.fromkeys(unknown)]
    return [*lines, ""] if lines[-1] else lines


def _is_unknown(each: Json) -> bool:
    return each["lossless"].get("state") not in ("identical", "near_tie", "output_differs")
