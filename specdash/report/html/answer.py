"""The top of the report: what to use, what to be careful about, and every recommendation with its command."""

from __future__ import annotations

from specdash.report.arms import contenders, content_arms, is_baseline, rate_of, refuted, speedup_of, targets
from specdash.report.html.markup import (
    Column,
    Markup,
    Row,
    command,
    details,
    items,
    join,
    label,
    paragraph,
    section,
    table,
)
from specdash.report.text import (
    DASH,
    WHOLE_ANSWER_NOTE,
    Json,
    advice,
    chosen,
    drafter,
    drafter_of,
    interval,
    ordered,
    rate,
    ratio,
    regret_interval,
    remark,
    sentence,
    setting,
    share,
    subject,
    tied,
    whole_answer_change,
    whole_answer_interval,
    without_samples,
)

COLUMNS = (
    Column("target", is_number=False),
    Column("category", is_number=False),
    Column("draft", is_number=False),
    Column("K"),
    Column("speedup"),
    Column("tok/s"),
    Column("answers"),
    Column("regret"),
    Column("why", is_number=False, is_wide=True),
)


def answer(result: Json) -> Markup:
    """What to use on each target, over all categories, with the command to paste."""
    best = [each for each in ordered(result.get("recommendations") or ()) if each.get("category", "all") == "all"]
    if not best:
        return Markup(f'<div class="answer">{_fastest(result)}</div>')
    once = _same({remark(each) for each in best}, len(best))
    said = paragraph(once) if once else ""
    return Markup(f'<div class="answer">{join(_answer(each, once) for each in best)}{said}</div>')


def _same(texts: set[str], count: int) -> str:
    """The one text that several entries share; "" where they do not."""
    return texts.pop() if count > 1 and len(texts) == 1 else ""


def _answer(each: Json, once: str) -> Markup:
    """The recommendation for one target; `once` is said behind all of them."""
    what = label(chosen(each)) if each.get("off") or drafter_of(each) is None else _pair(each)
    line = join([Markup("<p>"), label(subject(each)), ": ", Markup(f"<strong>{what}</strong>"), ". "])
    parts = [line, f"{sentence(advice(each))} {'' if once else remark(each)}", Markup("</p>")]
    if each.get("command"):
        parts.append(command(str(each["command"])))
    return join(parts)


def _pair(each: Json) -> Markup:
    k = "" if each.get("k") is None else f", K\u00a0=\u00a0{each['k']}"
    return join([label(drafter(each)), k])


def _fastest(result: Json) -> Markup:
    """What was fastest on each target, where the document has no recommendation."""
    rows = []
    for target in targets(result):
        arms = contenders(arm for arm in content_arms(result) if arm["target"] == target and not refuted(arm))
        if not arms:
            rows.append(join([label(target), ": nothing was measured that counts."]))
        elif is_baseline(arms[0]):
            rows.append(join([label(target), f": no draft was faster than none ({rate(rate_of(arms[0]))} tok/s)."]))
        else:
            faster = speedup_of(arms[0])
            times = "" if faster is None else f", {ratio(faster)} times the baseline"
            figures = f" was the fastest measured, at {rate(rate_of(arms[0]))} tok/s{times}."
            rows.append(join([label(target), ": ", _pair(arms[0]), figures]))
    if not rows:
        return paragraph("Nothing was measured, so there is nothing to recommend.")
    return join([paragraph("There is no recommendation in this result; what was seen is this:"), items(rows)])


def warnings(result: Json) -> Markup:
    """What a reader has to know before believing a number."""
    texts: list[str] = []
    if any(model.get("synthetic") for model in result.get("models") or ()):
        texts.append("The weights are synthetic: their text means nothing, and no real model is this fast.")
    open_steps = len(result.get("unfinished") or ())
    if open_steps:
        texts.append(f"{open_steps} {'step is' if open_steps == 1 else 'steps are'} not measured yet.")
    good = [each for each in result.get("measurements") or () if each.get("status") == "ok"]
    if result.get("measurements") and not good:
        texts.append("No step gave a figure that counts: the reasons are under categories and loads.")
    imported = result.get("imported")
    if imported:
        lack = without_samples(imported)
        texts.append(
            f"These are results of {imported.get('tool')}, read from {imported.get('file')}"
            + (f": {lack}, and a small difference may be none." if lack else ".")
        )
        texts += [str(note) for note in imported.get("notes") or ()]
    notes = [str(note.get("text")) for note in result.get("notes") or () if note.get("level") in ("warning", "error")]
    texts += [sentence(note) for note in dict.fromkeys(notes) if "weights are synthetic" not in note]  # said above
    return Markup(f'<div class="warning" role="note">{items(texts)}</div>' if texts else "")


def recommendations(result: Json) -> Markup:
    """The table for every target and category, and the commands."""
    found = ordered(result.get("recommendations") or ())
    if not found:
        why = "There are none: nothing was measured that could be compared, or the file comes from an older version."
        return section("recommendations", "Recommendations", paragraph(why, "none"))
    once = _same({str(each.get("reason") or "") for each in found}, len(found))
    parts = [
        paragraph(
            "Regret: by how much the fastest alternative's mean is ahead of the choice. Arms that cannot be told "
            "from the fastest and are at most 1 % slower tie; the smaller K, then the smaller draft wins. An interval "
            f"that holds 1 proves nothing. {sentence(WHOLE_ANSWER_NOTE)}",
            "lead",
        ),
        paragraph(f"For all of them: {sentence(once)}", "lead") if once else Markup(""),
        table("Recommendations by target and category", COLUMNS, [_row(each, once) for each in found]),
    ]
    commands: dict[str, str] = {}
    for each in found:
        if each.get("command"):
            commands.setdefault(str(each["command"]), f"{subject(each)}: {chosen(each)}")
    shown = [join([paragraph(join([label(name, 120)]), "name"), command(text)]) for text, name in commands.items()]
    if shown:
        parts.append(details(f"Commands ({len(shown)})", join(shown)))
    return section("recommendations", "Recommendations", *parts)


def _row(each: Json, once: str) -> Row:
    """One recommendation; the row of "all" stands out."""
    category = str(each.get("category", "all"))
    settings = setting(each)
    target = join([label(each.get("target")), Markup("<br><small>"), label(settings), Markup("</small>")])
    name = "no draft" if each.get("off") else _nothing_or_draft(each)
    cells = [
        target if settings else label(each.get("target")),
        label(category),
        label(name),
        DASH if each.get("k") is None else str(each["k"]),
        _over(ratio(each.get("speedup")), interval(each.get("ci95"))),
        rate(each.get("tok_s")),
        _over(whole_answer_change(each), _per_cent(whole_answer_interval(each))),
        _over(share(each.get("regret"), 1), regret_interval(each)),
        _why(each, once),
    ]
    return Row(cells, heads=2, kind="all" if category == "all" else "")


def _per_cent(ends: str) -> str:
    return ends if ends == DASH else f"{ends} %"


def _why(each: Json, once: str) -> str:
    """The reason of a choice, but for one said `once`, and the arms that it is not told apart from."""
    reason = "" if once else sentence(str(each.get("reason") or ""))
    other = f"Not told apart from: {tied(each)}." if each.get("tied") else ""
    return " ".join(filter(None, (reason, other))) or DASH


def _over(value: str, below: str) -> Markup:
    """A value with its interval under it."""
    return join([value, Markup("<br><small>"), below, Markup("</small>")]) if below != DASH else join([value])


def _nothing_or_draft(each: Json) -> str:
    return chosen(each) if chosen(each) == "no recommendation" else drafter(each)
