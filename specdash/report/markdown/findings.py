"""What follows from the figures: recommendations, predicted against measured, rules of thumb, drift of the anchors."""

from __future__ import annotations

from specdash.report.arms import curves_by_pair, edge, other_k, pair_key, pair_name, recommended_ks
from specdash.report.markdown.cells import SENTENCE_CHARS, code, safe, table
from specdash.report.text import (
    DASH,
    FROM_ITSELF,
    WHOLE_ANSWER_NOTE,
    Json,
    advice,
    change,
    chosen,
    interval,
    known,
    off_by,
    ordered,
    rate,
    ratio,
    remark,
    sentence,
    share,
    subject,
    tied,
    whole,
    whole_answer_change,
)

HELD = {True: "held", False: "did not hold"}
BEST = "\\> "


def recommendations(result: Json) -> list[str]:
    """The answer for each target with its command, and the table by category."""
    found = ordered(result.get("recommendations") or ())
    if not found:
        return []
    lines = ["## Recommendations", ""]
    for each in found:
        if each.get("category", "all") != "all":
            continue
        said = " ".join(filter(None, (sentence(advice(each)), remark(each))))
        lines += [f"**{safe(subject(each))}: {safe(chosen(each))}.** {safe(said, 2 * SENTENCE_CHARS)}", ""]
        if each.get("tied"):
            lines += [f"Not told apart from: {safe(tied(each))}.", ""]
        if each.get("command"):
            lines += [*code([str(each["command"])]), ""]
    rows = [
        [
            subject(each),
            chosen(each),
            str(each.get("category", "all")),
            ratio(each.get("speedup")),
            interval(each.get("ci95")),
            rate(each.get("tok_s")),
            whole_answer_change(each),
            share(each.get("regret"), 1),
        ]
        for each in found
    ]
    header = ("target", "use", "category", "speedup", "95 % interval", "tok/s", "answers", "regret")
    lines += [*table(header, rows, texts=3), ""]
    lines.append(f"- {WHOLE_ANSWER_NOTE}")
    return [*lines, "- regret: by how much the mean of the fastest alternative is ahead of the choice.", ""]


def curves(result: Json) -> list[str]:
    """Predicted against measured for every K that has both, pair by pair, and the best prediction of each."""
    rows, notes = [], []
    for points in curves_by_pair(result).values():
        predicted = [point for point in points if known(point.get("predicted_tok_s")) is not None]
        if not predicted:
            continue
        name = pair_name(points[0], with_target=True)
        best = max(predicted, key=lambda point: known(point["predicted_tok_s"]) or 0.0)
        rows += [_point(name, point, best) for point in predicted if _measured(point) is not None or point is best]
        choice = recommended_ks(result).get(pair_key(points[0]))
        if other_k(best["k"], choice):
            notes.append(f"- {safe(name)}: best predicted K = {best['k']}, {other_k(best['k'], choice)}.")
        if edge(points):
            notes.append(f"- {safe(name)}: {edge(points)}")
    if not rows:
        return []
    header = ("pair", "K", "predicted tok/s", "95 % interval", "measured tok/s", "95 % interval", "off by", "n")
    text = (
        "The best predicted K of each pair is marked \\>, a point off the predicted line by more than its interval !."
    )
    lines = ["## K curves: predicted and measured", "", *table(header, rows, texts=1), "", f"- {text}"]
    return [*lines, f"- {FROM_ITSELF}", *notes, ""]


def _measured(point: Json) -> float | None:
    return known(point.get("measured_tok_s"))


def _point(name: str, point: Json, best: Json) -> list[str]:
    """One K of one pair."""
    predicted, measured = known(point["predicted_tok_s"]), _measured(point)
    return [
        name,
        (BEST if point is best else "") + str(point["k"]),
        rate(predicted),
        interval(point.get("predicted_ci95"), "{:.1f}"),
        rate(measured),
        interval(point.get("measured_ci95"), "{:.1f}"),
        off_by(point, " !"),
        DASH if measured is None else whole(point.get("n")),
    ]


def rules(result: Json) -> list[str]:
    """Rules of thumb, and whether they held here; those that were not tested on one line."""
    lines, untested = [], []
    for each in result.get("rules") or ():
        held = each.get("held") if isinstance(each.get("held"), bool) else None
        source = f" ({safe(each['source'])})" if each.get("source") else ""
        if held is None:
            untested.append(f"{safe(each.get('rule'))}{source}")
            continue
        evidence = f": {safe(each['evidence'])}" if each.get("evidence") else ""
        lines.append(f"- {HELD[held]}: {safe(each.get('rule'))}{source}{evidence}")
    if untested:
        lines.append(f"- not tested: {'; '.join(untested)}")
    return ["## Rules of thumb", "", *lines, ""] if lines else []


def anchors(result: Json) -> list[str]:
    """How far the baselines moved between the passes."""
    rows = [
        [subject(each), rate(each.get("first_tok_s")), rate(each.get("last_tok_s")), change(each.get("moved"))]
        for each in result.get("anchors") or ()
    ]
    if not rows:
        return []
    header = ("baseline of", "first pass, tok/s", "second pass, tok/s", "moved")
    return ["## Drift between the passes", "", *table(header, rows, texts=1), ""]
