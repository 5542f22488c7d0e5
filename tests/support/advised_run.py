"""A run with two targets that were answered by a K curve, and the parts of its result document that a screen shows."""

from __future__ import annotations

import math
from typing import Any

from specdash.core import events as ev
from specdash.core.plan import LoadKey, Step
from specdash.core.state import RunState
from specdash.store.result_json import document_of
from tests.support.recorded_run import DRAFT, TARGET, loaded, measured, started, step

SMALL = "7B Q4_K_M"
CATEGORIES = ("coding", "prose")
K_MAX, BEST = 24, 8
COMMAND = (
    "llama-server -m '/models/big model-00001-of-00009.gguf' -md /models/qwen2.5-0.5b-instruct-q8_0.gguf -c 4096 "
    f"-ngl 99 -ngld 99 --spec-draft-n-max {BEST} --spec-draft-n-min 0 --host 127.0.0.1 --port 8080"
)
STAGES = (
    ev.PlanChanged(f"{TARGET} + {DRAFT}: the best K is predicted to be 8; confirming K = 8", 2,
                   stage=f"confirm {TARGET} + {DRAFT}"),
    ev.PlanChanged("the loads once more in mirrored order: 6 steps", 4, stage="pass 2"),
)  # fmt: skip


def rate_at(k: int) -> float:
    """The rate (tok/s) of the big target with its draft: 10 without, best at 8."""
    return 10.0 * (1 + 0.85 * math.exp(-((math.log(k / BEST)) ** 2) / 1.2))


def steps() -> list[Step]:
    """Baselines of both targets, the largest K of the big one, and the K that confirms its curve."""
    big = [step(k, each) for k in (None, K_MAX, BEST) for each in CATEGORIES]
    return big + [step(k, each, target=SMALL) for k in (None, 4) for each in CATEGORIES]


def facts(*, until: int | None = None, stages: int = 2) -> list[ev.Fact]:
    """The run; `until`: how many steps are over, the run being at work then."""
    told: list[ev.Fact] = [started(steps()), *loaded("l001", K_MAX)]
    key = LoadKey.of(SMALL, 4, draft=DRAFT)
    for number, each in enumerate(steps()[:until]):
        rate = 10.0 if each.k is None else rate_at(each.k) if each.target == TARGET else 9.9
        told += measured(each, [rate * noise for noise in (0.99, 1.0, 1.01, 1.005, 0.995)])
        if number == 3:
            told += STAGES[:stages]
    late = ev.VerdictRaised(step(BEST, "prose").id, "l001", "off_the_curve", "18.5 tok/s, predicted 16.0 to 17.0")
    told += [late] if until is None or until > 5 else []
    told += [ev.LoadStarted("l002", key, ("llama-server",), "logs/y.log", 2**30, 180.0, "fp")]
    return told if until is not None else [*told, ev.RunFinished("finished", 0)]


def recommendation(**changes: Any) -> dict[str, Any]:
    """One for the big target over all categories, with a tie."""
    return {
        "target": TARGET, "config": None, "moe_experts": None, "depth": 0, "category": "all", "draft": DRAFT,
        "k": BEST, "method": "draft", "speedup": 1.85, "ci95": [1.82, 1.88], "tok_s": 18.5, "baseline_tok_s": 10.0,
        "regret": 0.0, "regret_ci95": [0.0, 0.012], "off": False, "proven": True,
        "tied": [{"draft": DRAFT, "k": 12, "speedup": 1.84}],
        "reason": "K = 8 and 12 cannot be told apart at this noise; the smaller one is taken",
        "reason_names_tied": True, "command": COMMAND,
        **changes,
    }  # fmt: skip


def off(**changes: Any) -> dict[str, Any]:
    """One that says that no draft helps."""
    return recommendation(**{
        "draft": None, "k": None, "method": "baseline", "speedup": 1.0, "ci95": None, "tok_s": 10.0, "off": True,
        "proven": False, "tied": [], "command": "llama-server -m /models/small.gguf", "regret_ci95": None,
        "reason": "no draft is faster beyond the noise: the best, 0.5B with K = 4, is 0.99 times as fast as none",
        **changes,
    })  # fmt: skip


def document(view: RunState) -> dict[str, Any]:
    """The result of the run with recommendations, a curve and remarks that are known beforehand."""
    found = document_of(view)
    base = {"target": TARGET, "draft": DRAFT, "config": None, "moe_experts": None, "depth": 0}
    curves = [
        {**base, "category": name, "k": k, "predicted_tok_s": rate_at(k), "k_max": K_MAX, "at_edge": False,
         "predicted_ci95": [rate_at(k) * 0.96, rate_at(k) * 1.04], "off": name == "prose" and k == BEST}
        for name in ("all", *CATEGORIES) for k in range(1, K_MAX + 1)
    ]  # fmt: skip
    for each in found["measurements"]:
        each["lossless"] = {"state": "identical", "prompts": 3, "tokens": 300, "diverges_at": None, "margin": None,
                            "prompt_id": None, "reason": "the same tokens as the baseline's for 3 prompts"}  # fmt: skip
        each["roofline"] = {"bound_tok_s": 32.1, "share": 0.576, "bytes_per_pass": 10**9, "reason": ""}
    return {
        **found,
        "curves": curves,
        "recommendations": [
            recommendation(),
            recommendation(category="coding", speedup=1.9, ci95=[1.86, 1.94], tied=[]),
            off(category="prose"),
            off(target=SMALL),
        ],
    }
