"""A result as Markdown that can be pasted where people compare machines.

Tables stay under 120 columns, text from outside can neither end a cell nor become markup, and the footer says what a
figure needs to mean something: build, hardware, settings, commands. Only measurements that count are in tables.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from specdash.core.measure import DESCRIPTION, Verdict
from specdash.core.plan import BASELINE
from specdash.core.text import human_bytes, markdown_cell, one_line

Json = Mapping[str, Any]

MAX_COLUMNS = 119
CATEGORY_CHARS = 20
SENTENCE_CHARS = 400
MAX_COMMANDS = 12

_NOTES = (
    "tok/s: decoding only, mean ± standard deviation of n samples, by the server's clock where it tells the time.",
    "vs baseline: how many times as fast; the ratio of the means on the same prompts, with its 95 % interval. ≈ marks a"
    " difference inside the noise, which counts as none.",
    "accepted: share of drafted tokens that the target kept. tok/step: tokens per pass of the target.",
)
_OVERALL_NOTE = "Over all categories, every sample weighs the same."
_MISSING_NOTE = (
    "\\* lacks categories that others have, so its tok/s is of another mix of prompts; its speedup is over the"
    " categories that it has."
)
_SCOPES = {
    "request": "K is taken from each request",
    "capped": "K is taken from each request, up to the start-up value",
    "startup": "K is fixed at start-up",
}
_DRIFT_NOTE = "drift: change of tok/s from a prompt's first block to its last."


def to_markdown(result: Json) -> str:
    """The report of a result (`analysis.result.build_result`) as Markdown text."""
    run = result["run"]
    label = run["hardware"].get("label")
    title = f"{run['name']} on {label}" if label else run["name"]
    lines = [f"# Speculative decoding: {_safe(title)}", "", f"Run {_safe(run['id'])}, {_when(run)}.", ""]
    lines += _warnings(result)
    for target in dict.fromkeys(arm["target"] for arm in result["overall"]):
        lines += _target(target, result)
    lines += _not_counted(result)
    lines += _verdicts(result)
    lines += _footer(result)
    return "\n".join(lines).rstrip("\n") + "\n"


def _safe(text: object, limit: int = SENTENCE_CHARS) -> str:
    return markdown_cell(str(text), limit)


def _when(run: Json) -> str:
    state = f"{run['state']} {run['finished']}" if run["finished"] else run["state"]
    return _safe(f"{state}: {run['reason']}" if run["reason"] else state)


def _warnings(result: Json) -> list[str]:
    lines = []
    if any(model["synthetic"] for model in result["models"]):
        lines += ["**The weights are synthetic: their text means nothing, and no real model is this fast.**", ""]
    if result["unfinished"]:
        count = len(result["unfinished"])
        lines += [f"**{count} {'step is' if count == 1 else 'steps are'} not measured yet.**", ""]
    return lines


# -- tables -----------------------------------------------------------------------------------------------------------


def _target(target: str, result: Json) -> list[str]:
    """The section of one target: over all categories first, then by category."""
    arms = [arm for arm in result["overall"] if arm["target"] == target and arm["categories"]]
    good = [each for each in result["measurements"] if each["target"] == target and each["status"] == "ok"]
    lines = [f"## {_safe(target)}{_about(target, result)}", ""]
    if not good:
        return [*lines, "Nothing was measured that counts.", ""]
    categories = list(dict.fromkeys(each["category"] for each in good))
    notes = list(_NOTES)
    if len(categories) > 1:
        lines += [f"### Over all {len(categories)} categories", ""]
        rows = [[_draft(arm), _k(arm), *_figures(arm, "\\*" if arm["missing"] else "")] for arm in arms]
        lines += [*_table(("draft", "K", *_FIGURES), rows, 0), "", "### By category", ""]
        notes.append(_OVERALL_NOTE)
        if any(arm["missing"] for arm in arms):
            notes.append(_MISSING_NOTE)
    rows = [
        [_safe(category, CATEGORY_CHARS), _draft(each), _k(each), *_figures(each, ""), _drift(each["drift"])]
        for category in categories
        for each in good
        if each["category"] == category
    ]
    header = ["category", "draft", "K", *_FIGURES, "drift"]
    if any(each["drift"] is not None for each in good):
        notes.append(_DRIFT_NOTE)
    else:
        header, rows = header[:-1], [row[:-1] for row in rows]
    return [*lines, *_table(header, rows, 1), "", *(f"- {note}" for note in notes), ""]


_FIGURES = ("tok/s", "vs baseline", "accepted", "tok/step", "n")


def _about(target: str, result: Json) -> str:
    """What the header of a model file told, in brackets."""
    for model in result["models"]:
        if model["label"] == target and model["role"] == "target":
            parts = [model["architecture"], model["quantisation"], human_bytes(model["size_bytes"])]
            return f" ({_safe(', '.join(part for part in parts if part))})"
    return ""


def _draft(arm: Json) -> str:
    """The arm but for its K, in words; not yet safe."""
    parts = [arm["draft"] or ("none (baseline)" if arm["method"] == BASELINE else arm["method"])]
    if arm["config"] is not None:
        parts.append(arm["config"])
    if arm["moe_experts"] is not None:
        parts.append(f"{arm['moe_experts']} experts")
    if arm["depth"]:
        parts.append(f"depth {arm['depth']}")
    if arm["workload"] != "content":
        parts.append(arm["workload"])
    return ", ".join(parts)


def _k(arm: Json) -> str:
    return "-" if arm["k"] is None else str(arm["k"])


def _figures(arm: Json, mark: str) -> list[str]:
    """The cells of one arm under `_FIGURES`."""
    rates = arm["summary"].get("decode_tok_s")
    accepted, per_step = arm["acceptance_rate"], arm["tokens_per_step"]
    return [
        "-" if rates is None else _mean(rates) + mark,
        _faster(arm["speedup"]),
        "-" if accepted is None else f"{accepted * 100:.0f} %",
        "-" if per_step is None else f"{per_step:.2f}",
        "0" if rates is None else str(rates["n"]),
    ]


def _mean(summary: Json) -> str:
    """Mean ± standard deviation, with as many digits as a rate of that size is worth."""
    digits = 0 if summary["mean"] >= 1000 else 1 if summary["mean"] >= 10 else 2
    mean = f"{summary['mean']:.{digits}f}"
    return mean if summary["stddev"] is None else f"{mean} ± {summary['stddev']:.{digits}f}"


def _faster(speedup: Json | None) -> str:
    if speedup is None:
        return "-"
    if speedup["ci95"] is None:
        return f"{speedup['value']:.2f} (too few)"
    low, high = speedup["ci95"]
    mark = "≈" if (low is None or low <= 1) and (high is None or high >= 1) else ""
    return f"{mark}{speedup['value']:.2f} ({_bound(low)} to {_bound(high)})"


def _bound(value: float | None) -> str:
    return "?" if value is None else f"{value:.2f}"


def _drift(drift: float | None) -> str:
    return "-" if drift is None else f"{round(drift * 100, 1) + 0.0:+.1f} %"  # never "-0.0"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], shrinking: int) -> list[str]:
    """A table with aligned columns; the cells of column `shrinking` are made safe, and cut until a line fits."""
    limit = 60
    while True:
        cells = [[_safe(cell, limit) if i == shrinking else cell for i, cell in enumerate(row)] for row in rows]
        widths = [max(3, *(len(row[column]) for row in (header, *cells))) for column in range(len(header))]
        if sum(widths) + 3 * len(widths) + 1 <= MAX_COLUMNS or limit <= 8:
            break
        limit -= 1
    text = range(shrinking + 1)
    ruler = ["-" * width if column in text else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    aligned = [
        [cell.ljust(width) if column in text else cell.rjust(width) for column, (cell, width) in enumerate(pairs)]
        for pairs in (list(zip(row, widths, strict=True)) for row in (header, *cells))
    ]
    return [f"| {' | '.join(row)} |" for row in (aligned[0], ruler, *aligned[1:])]


# -- what else a reader has to know -----------------------------------------------------------------------------------


def _not_counted(result: Json) -> list[str]:
    """Loads and steps without a figure, and why."""
    lines = []
    for load in result["loads"]:
        if load["error"]:
            text = " ".join(filter(None, (load["error"], load["hint"])))
            lines.append(f"- load {_safe(load['id'])}, {_safe(load['target'])}: {_safe(text)}")
    for each in result["measurements"]:
        if each["status"] != "ok":
            why = ", ".join(each["verdicts"])
            text = ": ".join(filter(None, (f"{each['status']} ({why})" if why else each["status"], each["error"])))
            lines.append(f"- {_safe(each['step'])}: {_safe(text)}")
        elif each["speedup_reason"] is not None:
            lines.append(f"- {_safe(each['step'])}: no speedup, {_safe(each['speedup_reason'])}")
    return ["## Not counted", "", *lines, ""] if lines else []


def _verdicts(result: Json) -> list[str]:
    """What the verdicts mean that occur in this result."""
    names = dict.fromkeys(name for each in result["measurements"] for name in each["verdicts"])
    known = [Verdict(name) for name in names if name in set(Verdict)]
    lines = [f"- {verdict.value}: {DESCRIPTION[verdict]}" for verdict in known]
    return ["## Verdicts", "", *lines, ""] if lines else []


def _footer(result: Json) -> list[str]:
    run, engine, settings = result["run"], result["engine"], result["settings"]
    scope = engine["capabilities"]["k_scope"]
    build = " ".join(str(part) for part in (engine["kind"], engine["version"], engine["dialect"]) if part)
    taken = [f"{name} {settings[name]}" for name in settings if settings[name] is not None]
    lines = [
        "## How it was measured",
        "",
        f"- build: {_safe(build or 'unknown')}{f'; {_SCOPES[scope]}' if scope in _SCOPES else ''}",
        f"- hardware: {_safe(_machine(run['hardware']))}",
        f"- settings: {_safe(', '.join(taken))}",
        f"- specdash {_safe(run['specdash_version'])}: `specdash --headless profile.toml`, with the profile in the run"
        " folder",
    ]
    commands = list(dict.fromkeys(shlex.join(load["argv"]) for load in result["loads"]))
    if commands:
        lines += ["", "Servers were started as:", "", *_code(commands[:MAX_COMMANDS])]
    if len(commands) > MAX_COMMANDS:
        lines.append(f"\nand {len(commands) - MAX_COMMANDS} more, which result.json lists.")
    return lines


def _code(commands: Iterable[str]) -> list[str]:
    """Lines of an indented code block: unlike a fence, no content can end it."""
    return [f"    {one_line(command, 2000)}" for command in commands]


def _machine(hardware: Json) -> str:
    """CPU, memory, devices and system in one line, as far as known."""
    ram, cores = hardware.get("ram_bytes"), hardware.get("cores")
    parts = [
        hardware.get("cpu"),
        f"{cores} cores" if cores else None,
        f"{human_bytes(ram)} RAM" if ram else None,
        *(f"{gpu['name']} ({human_bytes(gpu['memory_bytes'])})" for gpu in hardware.get("gpus") or ()),
        " ".join(str(hardware[name]) for name in ("os", "os_release", "arch") if hardware.get(name)),
    ]
    return ", ".join(str(part) for part in parts if part) or "unknown"
