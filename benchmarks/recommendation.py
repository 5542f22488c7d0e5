"""Loads and time until the best draft and K are known, for 2 targets and 2 drafts, on a real llama.cpp.

The question is answered twice, in turn on the same machine: by `k = "curve"`, and by one server start for every pair
and K, as step-by-step tools do, over ten Ks up to 24. Both take the same samples of each step that they measure.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.common import Place, Row, facts, place, real_server
from benchmarks.prediction import PROMPTS
from specdash.engines.demo import DEMO, write_pair

KS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24)
EPSILONS = (0.02, 0.1)  # a target that its draft knows well, and one that it does not
PROFILE = """\
name = "{name}"
[engine]
program = "{program}"
k_scope = "{scope}"
args = ["-c", "2048", "-t", "1", "-tb", "1"]
{models}
[sweep]
k = {k}
[measure]
prompts = "prompts.jsonl"
max_tokens = 48
iterations = 3
[limits]
memory = "off"
inhibit_sleep = false
"""


def main() -> list[Row]:
    """Answers the question both ways, and tells what each took and whether the answers agree."""
    program = real_server()
    with place() as here:
        models = _models(here)
        lines = (json.dumps({"category": category, "prompt": prompt}) for category, prompt in PROMPTS)
        (here.folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")
        curve = _answered(here, "curve", program, '"curve"', "auto", models)
        steps = _answered(here, "step-by-step", program, str(list(KS)), "startup", models)
    fewer, faster = steps["loads"] / curve["loads"], steps["wall_s"] / curve["wall_s"]
    rows = [
        Row("loads to the recommendation, 2 targets x 2 drafts", "", f"{curve['loads']} against {steps['loads']}"),
        Row("times as many loads one by one", "3 x", f"{fewer:.1f} x", fewer >= 3),
        Row("wall time to it", "", f"{curve['wall_s']:.0f} s against {steps['wall_s']:.0f} s"),
        Row("times as much time one by one", "2 x", f"{faster:.1f} x", faster >= 2),
    ]
    return rows + [_regret(target, curve["result"], steps["result"]) for target in _targets(steps["result"])]


def _models(here: Place) -> str:
    """Two targets, and the drafts of both, as tables of a profile: all have one vocabulary, so each draft fits both."""
    tables = []
    for number, epsilon in enumerate(EPSILONS, 1):
        target, draft = write_pair(here.folder / f"pair-{number}", epsilon=epsilon, shape=DEMO, seed=number)
        tables.append(f'[[targets]]\nlabel = "T{number}"\npath = "{target}"\n')
        tables.append(f'[[drafts]]\nlabel = "D{number}"\npath = "{draft}"\n')
    return "".join(tables)


def _answered(here: Place, name: str, program: str | Path, k: str, scope: str, models: str) -> dict[str, Any]:
    path = here.folder / f"{name}.toml"
    path.write_text(PROFILE.format(name=name, program=program, k=k, scope=scope, models=models))
    run = here.run(path)
    journal = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    return {
        "loads": len(list(facts(run, "load_started"))),
        "wall_s": _time_s(journal[-1]) - _time_s(journal[0]),
        "result": json.loads((run / "result.json").read_text(encoding="utf-8")),
    }


def _time_s(record: dict[str, Any]) -> float:
    return datetime.fromisoformat(record["t"]).timestamp()


def _targets(result: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(each["target"] for each in result["recommendations"]))


def _regret(target: str, curve: dict[str, Any], steps: dict[str, Any]) -> Row:
    """By how much the choice of the curve is slower than the best of the long way, by the long way's own figures."""
    chosen = next(each for each in curve["recommendations"] if each["target"] == target and each["category"] == "all")
    measured = [arm for arm in steps["overall"] if arm["target"] == target and arm["summary"].get("decode_tok_s")]
    best = max(measured, key=lambda arm: arm["summary"]["decode_tok_s"]["mean"])
    nearest = min(
        (arm for arm in measured if arm["draft"] == chosen["draft"]),
        key=lambda arm: abs((arm["k"] or 0) - (chosen["k"] or 0)),
    )
    ratio = best["summary"]["decode_tok_s"]["mean"] / nearest["summary"]["decode_tok_s"]["mean"] - 1
    what = "off" if chosen["draft"] is None else f"{chosen['draft']} at K = {chosen['k']}"
    other = "off" if best["draft"] is None else f"{best['draft']} at K = {best['k']}"
    return Row(f"{target}: chosen {what}; fastest one by one {other}", "", f"{100 * ratio:.1f} % slower there")
