"""The sections of plain tables about arms: categories, losslessness, roofline."""

from __future__ import annotations

from specdash.report.arms import by_arm, in_order, is_baseline, targets
from specdash.report.html.markup import Column, Markup, Row, details, esc, join, label, paragraph, section, table
from specdash.report.text import (
    DASH,
    INFERRED_NOTE,
    LOSSLESS,
    SPEED,
    Json,
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
    share,
    whole,
)

CATEGORY_COLUMNS = (
    Column("category", is_number=False),
    Column("draft", is_number=False),
    Column("K"),
    Column("tok/s"),
    Column("vs baseline"),
    Column("prefill, tok/s"),
    Column("first token"),
    Column("whole answer"),
    Column("accepted"),
    Column("tok/step"),
    Column("n"),
    Column("drift"),
    Column("verdicts", is_number=False, is_wide=True),
)
LOSSLESS_COLUMNS = (
    Column("target", is_number=False),
    Column("draft", is_number=False),
    Column("K"),
    Column("output", is_number=False),
    Column("prompts"),
    Column("tokens"),
    Column("first difference"),
    Column("margin, nats"),
    Column("in words", is_number=False, is_wide=True),
)
ROOFLINE_COLUMNS = (
    Column("target", is_number=False),
    Column("draft", is_number=False),
    Column("K"),
    Column("category", is_number=False),
    Column("tok/s"),
    Column("bound, tok/s"),
    Column("share"),
    Column("why there is none", is_number=False, is_wide=True),
)
FOLDED_ROWS = 60


def categories(result: Json) -> Markup:
    """Every measurement: a table for each target, folded where there are many."""
    found = result.get("measurements") or ()
    names = list(dict.fromkeys(str(each["target"]) for each in found))
    if not names:
        return section("categories", "By category", paragraph("No step was measured.", "none"))
    lead = (
        "tok/s: mean ± standard deviation of n samples, by the server's clock where it tells the time. vs baseline: "
        "the ratio of the means on the same prompts with its 95 % interval, ≈ inside the noise. first token and whole "
        "answer: mean times from the request on. drift: from a prompt's first block to its last."
    )
    parts: list[Markup] = [paragraph(lead, "lead")]
    if any(is_inferred(each) for each in found):
        parts.append(paragraph(INFERRED_NOTE, "lead"))
    for name in names:
        own = in_order(each for each in found if each["target"] == name)
        order = list(dict.fromkeys(each.get("category") for each in own))
        own.sort(key=lambda each: order.index(each.get("category")))
        shown = table(f"{name} by category", CATEGORY_COLUMNS, [_measurement(each) for each in own])
        if len(names) == 1 and len(own) <= FOLDED_ROWS:
            parts.append(shown)
        else:
            parts.append(details(join([label(name), f" ({len(own)})"]), shown, is_open=len(own) <= FOLDED_ROWS))
    return section("categories", "By category", *parts)


def _measurement(each: Json) -> Row:
    """One step; where it has no figure the reason stands in its place."""
    cells = [
        label(each.get("category") or DASH),
        label(arm_name(each)),
        DASH if each.get("k") is None else str(each["k"]),
    ]
    kind = "base" if is_baseline(each) else ""
    if each.get("status") != "ok":
        return Row(cells, heads=2, span=_why(each), kind="bad")
    reason = each.get("speedup_reason")
    cells += [
        mean((each.get("summary") or {}).get(SPEED)),
        faster(each.get("speedup"), measured_n(each))
        if reason is None
        else Markup(f"<small>{esc(f'none: {reason}')}</small>"),
        *answer_times(each),
        accepted(each),
        rate(each.get("tokens_per_step")),
        whole(((each.get("summary") or {}).get(SPEED) or {}).get("n")),
        change(each.get("drift")),
        ", ".join(str(verdict) for verdict in each.get("verdicts") or ()),
    ]
    return Row(cells, heads=2, kind=kind)


def _why(each: Json) -> str:
    """Why a step gave no figure."""
    verdicts = ", ".join(str(verdict) for verdict in each.get("verdicts") or ())
    state = f"{each.get('status')} ({verdicts})" if verdicts else str(each.get("status"))
    return ": ".join(filter(None, (state, each.get("error"))))


# -- losslessness -----------------------------------------------------------------------------------------------------


def losslessness(result: Json) -> Markup:
    """Whether each arm says what its baseline says: the worst of its categories, broken ones first."""
    arms = by_arm(in_order(result.get("measurements") or ()), "lossless")
    if not arms:
        why = "Texts were not compared: this needs temperature 0, a baseline, and a build that tells the text."
        return section("lossless", "Same words", paragraph(why, "none"))
    order = list(LOSSLESS)
    worst = [min(found, key=lambda each: _rank(each, order)) for found in arms.values()]
    rows = [(_rank(each, order), _lossless(each, found)) for each, found in zip(worst, arms.values(), strict=True)]
    rows.sort(key=lambda pair: pair[0])
    counts = {state: sum(each["lossless"].get("state") == state for each in worst) for state in order}
    said = ", ".join(f"{count} {LOSSLESS[state]}" for state, count in counts.items() if count)
    many = f"{len(arms)} {'arm' if len(arms) == 1 else 'arms'}"
    lead = (
        f"At temperature 0 speculation must not change a word. {many} against the baseline, token by "
        f"token: {said}. A near tie is a difference that the server's own rounding makes; an arm whose output "
        "differs is never recommended, and what is unknown bars nothing."
    )
    shown = table("Losslessness of each arm", LOSSLESS_COLUMNS, [row for _, row in rows])
    if counts["identical"] == len(arms) or len(rows) > FOLDED_ROWS:
        shown = details(f"All arms ({len(rows)})", shown)
    return section("lossless", "Same words", paragraph(lead, "lead"), shown)


def _rank(each: Json, order: list[str]) -> int:
    state = each["lossless"].get("state")
    return order.index(state) if state in order else order.index("unknown")


def _lossless(each: Json, found: list[Json]) -> Row:
    """The worst category of an arm, with what was compared in all of them."""
    check = each["lossless"]
    state = str(check.get("state"))
    sums = [sum(int(known(other["lossless"].get(name)) or 0) for other in found) for name in ("prompts", "tokens")]
    at, margin = known(check.get("diverges_at")), known(check.get("margin"))
    place = DASH if at is None else f"token {at:.0f}"
    return Row(
        [
            label(each.get("target")),
            label(arm_name(each)),
            DASH if each.get("k") is None else str(each["k"]),
            Markup(f'<span class="state {state if state in LOSSLESS else "unknown"}">{LOSSLESS.get(state, "unknown")}'),
            str(sums[0]),
            str(sums[1]),
            place,
            DASH if margin is None else f"{margin:.3f}",
            str(check.get("reason") or ""),
        ],
        heads=3,
    )


# -- roofline ---------------------------------------------------------------------------------------------------------


def roofline(result: Json) -> Markup:
    """How near each arm came to what the memory can deliver: its category with the largest share."""
    arms = by_arm(in_order(result.get("measurements") or ()), "roofline")
    text = bandwidth(result.get("bandwidth"))
    if not arms:
        parts = [paragraph(text)] if text else []
        none = paragraph("No bound was worked out: the memory bandwidth was not measured.", "none")
        return section("roofline", "Against the memory's bound", *parts, none if not text else "")
    rows = []
    for target in targets(result) or list(dict.fromkeys(key[0] for key in arms)):
        own = (found for found in arms.values() if found[0]["target"] == target)
        rows += [_bound(max(found, key=lambda each: known(each["roofline"].get("share")) or -1.0)) for found in own]
    lead = (
        "A pass of the target reads its weights once, so tok/s cannot exceed bandwidth / bytes per pass x tokens per "
        f"step. {text}"
    )
    shown = table("Rates and bounds", ROOFLINE_COLUMNS, rows)
    if len(rows) > FOLDED_ROWS:
        shown = details(f"All arms ({len(rows)})", shown)
    return section("roofline", "Against the memory's bound", paragraph(lead, "lead"), shown)


def _bound(each: Json) -> Row:
    """One arm in the category in which it came nearest to its bound."""
    found = each["roofline"]
    return Row(
        [
            label(each["target"]),
            label(arm_name(each)),
            DASH if each.get("k") is None else str(each["k"]),
            label(each.get("category") or DASH),
            rate(((each.get("summary") or {}).get(SPEED) or {}).get("mean")),
            rate(found.get("bound_tok_s")),
            share(found.get("share")),
            str(found.get("reason") or ""),
        ],
        heads=3,
        kind="bad" if "impossible" in (each.get("verdicts") or ()) else "",
    )
