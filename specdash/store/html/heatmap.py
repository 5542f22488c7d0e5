"""Best speedup of each target and draft, as a table with coloured cells: text that can be read, copied and printed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from html import escape

from specdash.core.methods import is_draftless
from specdash.core.text import one_line
from specdash.store.arms import (
    Key,
    contenders,
    content_arms,
    doubt,
    is_baseline,
    other_k,
    pair_key,
    recommended_ks,
    refuted,
    slower_pairs,
    speedup_of,
)
from specdash.store.html.markup import Markup, esc, join, label, paragraph, section
from specdash.store.wording import DASH, Json, drafter, faster, measured_n, ratio, subject

FASTER_STEPS = (1.0, 1.1, 1.25, 1.5, 2.0, 2.75)
SLOWER_STEPS = (1.0, 0.9, 0.75, 0.5)
MOST_CELLS_WITH_K = 80
MOST_COLUMNS = 8
CAPTION = "Best speedup of each target and draft"
PARAMETERS = "Speedup of each draft by its parameters and K"
LENGTHS = "Speedup of each method without a draft model, by the longest draft"


def shade(arm: Json | None) -> str:
    """The CSS class of a cell: f1 to f6 faster, s1 to s4 slower, "eq" not proven, "dif" refuted, "na" unknown."""
    value = None if arm is None else speedup_of(arm)
    if arm is None or value is None:
        return "na"
    if refuted(arm):
        return "dif"
    if doubt(arm) or math.isclose(value, 1.0, abs_tol=0.0005):
        return "eq"
    if value > 1:
        return f"f{sum(value >= step for step in FASTER_STEPS)}"
    return f"s{sum(value <= step for step in SLOWER_STEPS)}"


def heatmap(result: Json) -> Markup:
    """Targets against drafts, whichever is the longer list downwards; fastest K of each pair."""
    arms = [arm for arm in contenders(content_arms(result)) if not is_baseline(arm)]
    cells: dict[tuple[str, str], Json] = {}
    for arm in arms:
        place = (subject(arm), drafter(arm))
        if place not in cells or _merit(arm) > _merit(cells[place]):
            cells[place] = arm
    if not any(speedup_of(arm) is not None for arm in cells.values()):
        why = "There is no speedup to show: no pair and its baseline both gave figures that count."
        return section("heatmap", "Every pair", paragraph(why, "none"))
    # In the order of the plan, which puts like models side by side.
    planned = [arm for arm in content_arms(result) if not is_baseline(arm)]
    columns = [name for name in dict.fromkeys(map(subject, planned)) if any(name == place[0] for place in cells)]
    rows = [name for name in dict.fromkeys(map(drafter, planned)) if any(name == place[1] for place in cells)]
    turned = len(columns) > max(len(rows), MOST_COLUMNS)
    if turned:
        columns, rows = rows, columns
        cells = {(draft, target): arm for (target, draft), arm in cells.items()}
    chosen = recommended_ks(result)
    with_k = len(columns) * len(rows) <= MOST_CELLS_WITH_K
    shown = {place: _cell(arm, chosen.get(pair_key(arm)), with_k=with_k) for place, arm in cells.items()}
    grid = _grid(columns, rows, shown, corner="target" if turned else "draft", caption=CAPTION)
    return section("heatmap", "Every pair", *_lead(arms), grid, *_lengths(planned, chosen))


def _lengths(arms: Iterable[Json], chosen: Mapping[Key, Json]) -> list[Markup]:
    """Of each target what drafts with parameters to choose from against K, where there are several Ks.

    Methods without a draft model, and drafts that were tried with several values of their parameters.
    """
    known = [arm for arm in arms if arm.get("k") is not None]
    tried: dict[Key, set[str]] = {}
    for arm in known:
        tried.setdefault((subject(arm), arm.get("method"), arm.get("draft")), set()).add(drafter(arm))
    targets: dict[str, list[Json]] = {}
    for arm in known:
        varied = len(tried[subject(arm), arm.get("method"), arm.get("draft")]) > 1
        if varied or is_draftless(str(arm.get("method"))):
            targets.setdefault(subject(arm), []).append(arm)
    parts = []
    for target, found in targets.items():
        ks = sorted({int(arm["k"]) for arm in found})
        rows = list(dict.fromkeys(map(drafter, found)))
        if len(ks) < 2 or not any(speedup_of(arm) is not None for arm in found):
            continue
        cells = {
            (f"K = {arm['k']}", drafter(arm)): _cell(arm, chosen.get(pair_key(arm)), with_k=False) for arm in found
        }
        is_models = any(arm.get("draft") is not None for arm in found)
        what = "what drafts, and K" if is_models else "n-grams and the longest draft"
        heading = join([Markup("<h3>"), label(f"{target}: {what}"), Markup("</h3>")])
        caption = PARAMETERS if is_models else LENGTHS
        corner = "draft" if is_models else "method"
        parts += [heading, _grid([f"K = {k}" for k in ks], rows, cells, corner=corner, caption=caption)]
    return parts


def _merit(arm: Json) -> tuple[bool, float]:
    return not refuted(arm), speedup_of(arm) or 0.0


def _lead(arms: Iterable[Json]) -> list[Markup]:
    """What the colours mean, and how many pairs are slower."""
    known = [arm for arm in arms if speedup_of(arm) is not None]
    equal, unsure = (sum(doubt(arm) == mark for arm in known) for mark in "≈?")
    text = (
        f"Speedup over the same target without a draft, each pair at its fastest K: {slower_pairs(known)}; "
        f"{equal} equal within the noise (≈)."
        + (f" Of {unsure} there are too few samples to say (?)." if unsure else "")
    )
    slow = [f'<i class="h s{4 - step}"></i>' for step in range(4)]
    fast = [f'<i class="h f{step + 1}"></i>' for step in range(6)]
    scale = Markup(
        '<p class="scale" aria-hidden="true"><span>half as fast</span>'
        f'{"".join(slow)}<i class="h eq"></i>{"".join(fast)}<span>three times as fast</span></p>'
    )
    return [paragraph(text, "lead"), scale]


def _grid(
    columns: list[str], rows: list[str], cells: dict[tuple[str, str], Markup], *, corner: str, caption: str
) -> Markup:
    """The table itself."""
    head = join(join([Markup('<th scope="col">'), label(name, 40)]) for name in columns)
    body = []
    for row in rows:
        line = [join([Markup('<tr><th scope="row">'), label(row, 40)])]
        line += [cells.get((column, row), _MISSING) for column in columns]
        body.append(join(line))
    return Markup(
        f'<div class="box heat" tabindex="0" role="region" aria-label="{caption}"><table><caption>{caption}</caption>'
        f'<thead><tr><th scope="col">{corner}{head}</thead><tbody>{join(body)}</tbody></table></div>'
    )


def _number(value: float) -> str:
    """A speedup that does not read as 1.00 where it is less."""
    return f"{value:.3f}" if 0.995 <= value < 0.9995 else ratio(value)


def _small(k: str) -> str:
    return f"<small>{esc(k)}</small>" if k else ""


_MISSING = Markup('<td class="h na" title="not measured">' + DASH)


def _cell(arm: Json, choice: Json | None, *, with_k: bool) -> Markup:
    """A number in its colour, or why it is worth nothing; the interval and the recommended K in its tooltip."""
    kind, value = shade(arm), speedup_of(arm)
    if value is None:
        return Markup(f'<td class="h na" title="no speedup is known">{DASH}')
    k = "" if arm.get("k") is None else f"K {arm['k']}"
    other = other_k(arm.get("k"), choice)
    title = f"{faster(arm.get('speedup'), measured_n(arm))} {k}".strip() + (f"; {other}" if other else "")
    title = escape(one_line(title, 120))
    if refuted(arm):
        return Markup(f'<td class="h {kind}" title="{title}">{refuted(arm)}{_small(k) if with_k else ""}')
    k += f", use {choice['k']}" if other and choice else ""
    return Markup(f'<td class="h {kind}" title="{title}">{doubt(arm)}{_number(value)}{_small(k) if with_k else ""}')
