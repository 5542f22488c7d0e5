"""A result as Markdown that can be pasted where people compare machines.

Tables stay under 120 columns, text from outside can neither end a cell nor become markup, and the footer says what a
figure needs to mean something: build, hardware, settings, commands. Only measurements that count are in tables.
"""

from __future__ import annotations

from specdash.report.markdown.cells import safe
from specdash.report.markdown.findings import anchors, curves, recommendations, rules
from specdash.report.markdown.footer import footer, not_counted, verdicts
from specdash.report.markdown.measured import target_section
from specdash.report.text import Json, title, when, without_samples


def to_markdown(result: Json) -> str:
    """The report of a result (`store.result_json.document_of`) as Markdown text."""
    run = result["run"]
    lines = [f"# Speculative decoding: {safe(title(run))}", "", f"Run {safe(run['id'])}, {safe(when(run))}.", ""]
    lines += _warnings(result)
    lines += recommendations(result)
    for target in dict.fromkeys(arm["target"] for arm in result["overall"]):
        lines += target_section(target, result)
    for part in (curves, anchors, rules, not_counted, verdicts, footer):
        lines += part(result)
    return "\n".join(lines).rstrip("\n") + "\n"


def _warnings(result: Json) -> list[str]:
    """What a reader has to know before believing a number."""
    lines = []
    if any(model.get("synthetic") for model in result.get("models") or ()):
        lines += ["**The weights are synthetic: their text means nothing, and no real model is this fast.**", ""]
    if result.get("unfinished"):
        count = len(result["unfinished"])
        lines += [f"**{count} {'step is' if count == 1 else 'steps are'} not measured yet.**", ""]
    if result.get("imported"):
        tool, lack = safe(result["imported"].get("tool")), without_samples(result["imported"])
        lines += [f"**Results of {tool}{f': {lack}' if lack else ''}.**", ""]
        lines += [f"- {safe(note)}" for note in result["imported"].get("notes") or ()] + [""]
    return lines
