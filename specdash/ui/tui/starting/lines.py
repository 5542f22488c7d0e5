"""The lines of the start screen: models, engines, recent runs."""

from __future__ import annotations

from collections.abc import Sequence

from specdash.core.text import one_line
from specdash.store.runs import RunInfo
from specdash.ui.tui.finding import Finding, Model, engines
from specdash.ui.tui.lines import Line, fitted, rule
from specdash.ui.tui.runs import run_lines
from specdash.ui.tui.starting.answers import model_words
from specdash.ui.tui.terminal import Glyphs

RECENT = 5
BUSY = "|/-\\"


def models_lines(found: Sequence[Model] | None, problem: str, width: int, height: int, glyphs: Glyphs) -> list[Line]:
    """The models, the largest first, as many as there is room for; None while they are searched for."""
    usable = sorted((each for each in found or () if each.problem is None), key=lambda each: -(each.size_bytes or 0))
    broken = len(found or ()) - len(usable)
    count = "" if found is None else f"{len(usable)} found" + (f", {broken} cannot be read" if broken else "")
    lines: list[Line] = [rule("models", count, width, glyphs.rule)]
    if problem:
        lines.append(((f" {one_line(problem, 400)}", "warn"),))
    elif found is None:
        lines.append(((" searching the caches of Hugging Face, LM Studio, llama.cpp and Ollama", "dim"),))
    elif not usable:
        lines.append(((" none in the usual caches; n: type a path, d: the demo makes its own", ""),))
    room = max(1, height - len(lines))
    kept = usable if len(usable) <= room else usable[: room - 1]
    for each in kept:
        drafts = f"{len(each.drafts)} {'draft fits' if len(each.drafts) == 1 else 'drafts fit'}" if each.drafts else ""
        lines.append(((f" {model_words(each)}  ", ""), (drafts, "good")))
    if len(usable) > len(kept):
        lines.append(((f" and {len(usable) - len(kept)} more: specdash models", "dim"),))
    return [fitted(line, width, glyphs.ellipsis) for line in lines]


def engine_lines(found: Sequence[Finding] | None, problem: str, width: int, glyphs: Glyphs) -> list[Line]:
    """The engines, and how to install one; None while they are examined."""
    lines: list[Line] = [rule("engines", "", width, glyphs.rule)]
    if problem:
        lines.append(((f" {one_line(problem, 400)}", "warn"),))
    elif found is None:
        lines.append(((" looking for llama-server and the built-in llama.cpp", "dim"),))
    for each in engines(found or ()):
        is_ok = each.state == "ok"
        state = f" {each.state:<4} "
        lines.append(((state, "good" if is_ok else "bad"), (one_line(f"{each.what}: {each.found}", 300), "")))
        if each.todo and not is_ok:
            lines.append(((f"      -> {one_line(each.todo, 300)}", "warn"),))
    return [fitted(line, width, glyphs.ellipsis) for line in lines]


def recent_lines(runs: Sequence[RunInfo], reading: bool, selected: int, width: int, glyphs: Glyphs) -> list[Line]:
    """The last few runs."""
    lines: list[Line] = [rule("recent runs", f"reading{glyphs.ellipsis}" if reading else "", width, glyphs.rule)]
    if not runs:
        lines.append(((" reading the results folders" if reading else " none yet", "dim"),))
    return lines + run_lines(runs[:RECENT], selected, width, glyphs)
