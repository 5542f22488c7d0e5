"""What else a reader has to know: what did not count, what verdicts mean, and how it was measured."""

from __future__ import annotations

from specdash.core.measure import DESCRIPTION, Verdict
from specdash.core.secrets import shell_line
from specdash.report.markdown.cells import code, safe
from specdash.report.text import SCOPES, Json, build, disturbances, machine, settings_text

MAX_COMMANDS = 12


def not_counted(result: Json) -> list[str]:
    """Loads and steps without a figure, and why."""
    lines = []
    for load in result["loads"]:
        if load["error"]:
            text = " ".join(filter(None, (load["error"], load["hint"])))
            lines.append(f"- load {safe(load['id'])}, {safe(load['target'])}: {safe(text)}")
    for each in result["measurements"]:
        if each["status"] != "ok":
            why = ", ".join(each["verdicts"])
            text = ": ".join(filter(None, (f"{each['status']} ({why})" if why else each["status"], each["error"])))
            lines.append(f"- {safe(each['step'])}: {safe(text)}")
        elif each.get("speedup_reason") is not None:
            lines.append(f"- {safe(each['step'])}: no speedup, {safe(each['speedup_reason'])}")
    return ["## Not counted", "", *lines, ""] if lines else []


def verdicts(result: Json) -> list[str]:
    """What the verdicts mean that occur in this result."""
    names = dict.fromkeys(name for each in result["measurements"] for name in each["verdicts"])
    known = [Verdict(name) for name in names if name in set(Verdict)]
    lines = [f"- {verdict.value}: {DESCRIPTION[verdict]}" for verdict in known]
    return ["## Verdicts", "", *lines, ""] if lines else []


def footer(result: Json) -> list[str]:
    """Build, hardware, settings and commands."""
    run, engine = result["run"], result["engine"]
    scope = SCOPES.get(str((engine.get("capabilities") or {}).get("k_scope")))
    lines = [
        "## How it was measured",
        "",
        f"- build: {safe(build(engine))}{f'; {scope}' if scope else ''}",
        f"- hardware: {safe(machine(run['hardware']))}",
        f"- settings: {safe(settings_text(result['settings']))}",
    ]
    lines += [f"- {safe(said)}" for said in disturbances(result)]
    imported = result.get("imported")
    if imported:
        return [*lines, f"- imported from {safe(imported.get('tool'))}: {safe(imported.get('file'))}"]
    lines.append(
        f"- specdash {safe(run['specdash_version'])}: `specdash --headless profile.toml`, with the profile in the run"
        " folder"
    )
    commands = list(dict.fromkeys(shell_line(load["argv"]) for load in result["loads"]))
    if commands:
        lines += ["", "Servers were started as:", "", *code(commands[:MAX_COMMANDS])]
    if len(commands) > MAX_COMMANDS:
        lines.append(f"\nand {len(commands) - MAX_COMMANDS} more, which result.json lists.")
    return lines
