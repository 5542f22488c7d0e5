"""The sections about the run itself: rules of thumb, loads and time, drift, environment, verdicts."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from specdash.core.measure import DESCRIPTION, Verdict
from specdash.core.secrets import shell_line
from specdash.core.text import human_bytes, human_seconds
from specdash.report.arms import targets
from specdash.report.html.markup import (
    Column,
    Markup,
    Row,
    code,
    details,
    esc,
    items,
    join,
    label,
    paragraph,
    section,
    table,
)
from specdash.report.text import (
    DASH,
    SCOPES,
    Json,
    about,
    bandwidth,
    build,
    change,
    disturbances,
    drafter_of,
    known,
    machine,
    rate,
    sentence,
    settings_text,
    subject,
    whole,
)

RULE_COLUMNS = (
    Column("rule", is_number=False, is_wide=True),
    Column("from", is_number=False, is_wide=True),
    Column("here", is_number=False),
    Column("evidence", is_number=False, is_wide=True),
)
LOAD_COLUMNS = (
    Column("load", is_number=False),
    Column("target", is_number=False),
    Column("draft", is_number=False),
    Column("K at start"),
    Column("load time"),
    Column("peak memory"),
    Column("state", is_number=False, is_wide=True),
)
ANCHOR_COLUMNS = (
    Column("target", is_number=False),
    Column("first pass, tok/s"),
    Column("second pass, tok/s"),
    Column("moved"),
    Column("n"),
)
FOLDED_LOADS = 12
HELD = {True: "held", False: "did not hold"}
LAYERS, CONTEXT = ("-ngl", "--gpu-layers", "--n-gpu-layers"), ("-c", "--ctx-size")


def rules(result: Json) -> Markup:
    """Rules of thumb, and whether they held on this machine."""
    found = result.get("rules") or ()
    if not found:
        why = "None could be tested: they need several drafts, Ks or categories that count."
        return section("rules", "Rules of thumb", paragraph(why, "none"))
    rows, untested = [], []
    for each in found:
        held = each.get("held") if isinstance(each.get("held"), bool) else None
        if held is None:
            untested.append(str(each.get("rule")) + (f" ({each['source']})" if each.get("source") else ""))
            continue
        state = Markup(f'<span class="state {str(held).lower()}">{HELD[held]}</span>')
        cells = [str(each.get("rule")), str(each.get("source") or DASH), state, str(each.get("evidence") or "")]
        rows.append(Row(cells))
    parts = [table("Rules of thumb and whether they held", RULE_COLUMNS, rows)] if rows else []
    if untested:
        parts.append(paragraph(f"Not tested here: {'; '.join(untested)}.", "note"))
    return section("rules", "Rules of thumb", *parts)


# -- loads and time ---------------------------------------------------------------------------------------------------


def loads(result: Json) -> Markup:
    """What it took: loads, time, the stages of the plan, and how far the machine moved meanwhile."""
    found = result.get("loads") or ()
    parts: list[Markup] = []
    text = _effort(result.get("effort"), known((result.get("run") or {}).get("running_s")))
    if text:
        parts.append(paragraph(text))
    parts += [paragraph(sentence(said)) for said in disturbances(result)]
    stages = [f"{each.get('stage')}: {each.get('reason') or DASH}" for each in result.get("plan") or ()]
    if stages:
        parts += [Markup("<h3>How the plan went</h3>"), items(stages)]
    parts += _anchors(result)
    if found:
        shown = table("Server loads", LOAD_COLUMNS, [_load(each) for each in found])
        parts.append(shown if len(found) <= FOLDED_LOADS else details(f"All loads ({len(found)})", shown))
    elif not result.get("imported"):
        parts.append(paragraph("No server was started.", "none"))
    else:
        parts.append(paragraph("The imported file tells nothing of loads.", "none"))
    return section("loads", "Loads and time spent", *parts)


def _effort(effort: Json | None, running_s: float | None) -> str:
    """What the answer cost, against asking step by step; `running_s`: how long the run was at work."""
    if not effort:
        return ""
    count, load_s, measuring_s = (known(effort.get(name)) for name in ("loads", "load_time_s", "measuring_s"))
    parts = [] if count is None else [f"{count:.0f} {'load' if count == 1 else 'loads'}"]
    if load_s is not None:
        parts.append(f"{human_seconds(load_s)} of loading")
    if measuring_s is not None:
        parts.append(f"{human_seconds(measuring_s)} of measuring")
    if not parts:
        return ""
    if running_s is not None:
        parts.append(f"{human_seconds(running_s)} in all, without the time in which the run was stopped")
    other = known(effort.get("step_by_step_loads"))
    tail = f" One server start for every pair and K would have taken {other:.0f}." if other else ""
    return f"{', '.join(parts)}.{tail}"


def _anchors(result: Json) -> list[Markup]:
    """The baselines of both passes side by side."""
    found = result.get("anchors") or ()
    if not found:
        return []
    rows = [
        Row(
            [
                label(subject(each)),
                rate(each.get("first_tok_s")),
                rate(each.get("last_tok_s")),
                change(each.get("moved")),
                whole(each.get("n")),
            ]
        )
        for each in found
    ]
    return [Markup("<h3>Drift of the baselines between the passes</h3>"), table("Anchors", ANCHOR_COLUMNS, rows)]


def _load(each: Json) -> Row:
    """One server start."""
    seconds, peak = known(each.get("load_time_s")), known(each.get("peak_rss_bytes"))
    why = " ".join(str(part) for part in (each.get("error"), each.get("hint")) if part)
    return Row(
        [
            label(each.get("id")),
            label(subject(each)),
            label(drafter_of(each) or DASH),
            DASH if each.get("k_startup") is None else str(each["k_startup"]),
            DASH if seconds is None else human_seconds(seconds),
            DASH if peak is None else human_bytes(peak),
            f"{each.get('state')}: {why}" if why else str(each.get("state") or DASH),
        ],
        kind="bad" if why else "",
    )


# -- environment and verdicts -----------------------------------------------------------------------------------------


def served(result: Json) -> Markup:
    """In one line what a figure depends on most: the build, the layers on a GPU, and the size of the context."""
    argvs = [[str(word) for word in each.get("argv") or ()] for each in result.get("loads") or ()]
    parts = [build(result.get("engine") or {})]
    for names in (LAYERS, CONTEXT):
        values = dict.fromkeys(after for argv in argvs for word, after in pairwise(argv) if word in names)
        parts += [f"{names[0]} {', '.join(values)}"] if values else []
    return paragraph(label("; ".join(parts), 200), "sub") if parts != ["unknown"] else Markup("")


def environment(result: Json) -> Markup:
    """What the figures belong to: machine, build, models, settings, and the commands of the servers."""
    run, engine = result.get("run") or {}, result.get("engine") or {}
    scope = SCOPES.get(str((engine.get("capabilities") or {}).get("k_scope")))
    settings = dict(result.get("settings") or {})
    digest = settings.pop("prompts_digest", None)
    models = [f"{name} ({text})" if (text := about(name, result)) else name for name in targets(result)]
    imported = result.get("imported")
    pairs: list[tuple[str, Any]] = [
        ("hardware", machine(run.get("hardware") or {})),
        ("host", run.get("host")),
        ("build", f"{build(engine)}{f'; {scope}' if scope else ''}"),
        ("program", engine.get("program")),
        ("targets", "; ".join(models)),
        ("settings", settings_text(settings)),
        ("prompts", f"digest {digest}" if digest else None),
        ("memory", bandwidth(result.get("bandwidth"))),
        ("imported", f"{imported.get('tool')}: {imported.get('file')}" if imported else None),
        ("specdash", run.get("specdash_version")),
        ("run", run.get("id")),
    ]
    rows = "".join(f"<div><dt>{esc(name)}<dd>{esc(str(text))}</div>" for name, text in pairs if text)
    parts = [Markup(f"<dl>{rows}</dl>")]
    commands = list(dict.fromkeys(shell_line(each["argv"]) for each in result.get("loads") or () if each.get("argv")))
    if commands:
        shown = Markup("\n".join(code(text) for text in commands))
        body = Markup(f'<pre class="list" tabindex="0">{shown}</pre>')
        parts.append(details(f"Servers were started as ({len(commands)})", body))
    if run.get("id") and not imported:
        parts.append(paragraph("Run again: specdash --headless profile.toml, with the profile in the run's folder."))
    return section("environment", "Environment", *parts)


def verdicts(result: Json) -> Markup:
    """What the verdicts mean that occur in this result."""
    every = (*(result.get("measurements") or ()), *(result.get("unfinished") or ()))
    names = dict.fromkeys(str(name) for each in every for name in each.get("verdicts") or ())
    found = [Verdict(name) for name in names if name in set(Verdict)]
    if not found:
        return section("verdicts", "Verdicts", paragraph("Nothing was found against any measurement.", "none"))
    texts = [join([Markup("<b>"), verdict.value, Markup("</b>: "), DESCRIPTION[verdict]]) for verdict in found]
    return section("verdicts", "Verdicts", items(texts))
