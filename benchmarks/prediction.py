"""Predicted K curves against measured ones, on real servers: pairs of high, middle and low acceptance.

Each pair is swept twice: with `k = "curve"`, which predicts every K from one load at the largest, and with a list of
Ks, each measured in full. One thread serves. Besides the rows, a table is printed for docs/choosing-k.md. The old build
takes K per request; it is found by XLLAMACPP_OLD_PYTHON.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.common import Place, Row, place, real_server
from specdash.engines.demo import DEMO, write_pair

KS = (1, 2, 4, 8, 16)
EPSILONS = {"high": 0.02, "middle": 0.05, "low": 0.1}
PROMPTS = (
    ("coding", "def total(items): return the sum of all prices in the list, then explain it."),
    ("coding", "Write a function that reads a file, line by line, and counts the words in it."),
    ("coding", "class Queue: with push and pop, and a test which shows the order of its items."),
    ("story", "Once upon a time there was a small model that guessed what a large one would say."),
    ("story", "The old man and the water: tell how they came home again after the long year away."),
    ("story", "Tell me about the place where you live, the people there and the work that they do."),
)
PROFILE = """\
name = "{name}"
[engine]
program = "{program}"
args = ["-c", "1024", "-t", "1", "-tb", "1"]
[[targets]]
label = "T"
path = "{target}"
[[drafts]]
label = "D"
path = "{draft}"
[sweep]
k = {k}
[measure]
prompts = "prompts.jsonl"
max_tokens = 96
iterations = 6
[limits]
memory = "off"
inhibit_sleep = false
"""


def main() -> list[Row]:
    """Sweeps every pair both ways on every engine, and tells the error of the prediction."""
    rows: list[Row] = []
    print("| server | acceptance | | " + " | ".join(f"K = {k}" for k in KS) + " |")
    print("|---|---|---|" + "---|" * len(KS))
    for name, program in _engines().items():
        for acceptance, epsilon in EPSILONS.items():
            with place() as here:
                curve, measured = _swept(here, program, epsilon)
            rows.append(_row(name, acceptance, curve, measured))
    return rows


def _engines() -> dict[str, str]:
    engines = {"b11669": real_server()}
    old = os.environ.get("XLLAMACPP_OLD_PYTHON")
    return engines | ({"xllamacpp 0.2.14": f"embedded:{old}"} if old else {})


def _swept(here: Place, program: str, epsilon: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """The results of the curve and of the list, in that order."""
    target, draft = write_pair(here.folder / "pair", epsilon=epsilon, shape=DEMO)
    lines = (json.dumps({"category": category, "prompt": prompt}) for category, prompt in PROMPTS)
    (here.folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    results = []
    for name, k in (("curve", '"curve"'), ("list", str(list(KS)))):
        path = here.folder / f"{name}.toml"
        path.write_text(PROFILE.format(name=name, program=program, target=target, draft=draft, k=k))
        run = here.run(path)
        results.append(json.loads((Path(run) / "result.json").read_text(encoding="utf-8")))
    return results[0], results[1]


def _row(name: str, acceptance: str, curve: dict[str, Any], measured: dict[str, Any]) -> Row:
    """The figures of one pair, printed as lines of the table too."""
    predicted = {each["k"]: each for each in curve["curves"] if each["category"] == "all"}
    rates = {arm["k"]: arm["summary"]["decode_tok_s"]["mean"] for arm in measured["overall"] if arm["k"]}
    accepted = next(arm["acceptance_rate"] for arm in measured["overall"] if arm["k"] == KS[2])
    errors = {k: predicted[k]["predicted_tok_s"] / rates[k] - 1 for k in KS if predicted[k]["predicted_tok_s"]}
    label = f"{name} | {acceptance}, {100 * accepted:.0f} % at K = {KS[2]}"
    print(f"| {label} | predicted | " + " | ".join(f"{predicted[k]['predicted_tok_s']:.1f}" for k in KS) + " |")
    print("| | | measured | " + " | ".join(f"{rates[k]:.1f}" for k in KS) + " |")
    print("| | | error | " + " | ".join(f"{100 * errors[k]:+.1f} %" for k in KS) + " |", flush=True)
    best = max(rates, key=lambda k: rates[k])
    chosen = max(errors, key=lambda k: predicted[k]["predicted_tok_s"])
    regret = rates[best] / rates[chosen] - 1
    figure = f"{100 * fmean(abs(each) for each in errors.values()):.1f} % mean, {_worst(errors)} worst"
    what = f"{name}, {acceptance} acceptance: error of predicted tok/s at K = {', '.join(map(str, KS))}"
    return Row(what, "", f"{figure}; of these Ks the predicted best is {100 * regret:.1f} % slower than the best")


def _worst(errors: dict[int, float]) -> str:
    k = max(errors, key=lambda each: abs(errors[each]))
    return f"{100 * errors[k]:+.1f} % (K = {k})"
