"""Result documents for tests of reports: what a run, an import or a broken run leaves, with every field of the schema.

Their figures come from a small model of speculation, so that charts look like real ones; nothing is random.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from specdash.core import events as ev
from specdash.core.status import StepStatus
from specdash.store.result_json import document_of
from tests.support.paths import DATA
from tests.support.recorded_run import TARGET, folded, loaded, measured, started, step

Json = dict[str, Any]

CATEGORIES = (
    "coding",
    "math",
    "creative",
    "counting",
    "conversation",
    "repetitive",
    "structured",
    "technical",
    "prose",
)
EVIL = "</script><img src=x onerror=alert(1)>'\"&<!--<b>%{x}$a$\u202e\u2028\x1b[31m\ud800"
RTL = "\u05d8\u05d9\u05d5\u05d8\u05d4 \u0645\u0633\u0648\u062f\u0629"
ACCEPTS = (0.9, 0.82, 0.74, 0.66, 0.6, 0.5, 0.42, 0.35, 0.3, 0.22, 0.15, 0.08)


def truth(alpha: float, cost: float, k: int) -> float:
    """Speedup of K drafted tokens: (1 - a^(K+1)) / (1 - a) over 1 + cK, with a verification that grows a little."""
    return (1 - alpha ** (k + 1)) / (1 - alpha) / (1 + (cost + 0.012) * k)


def run_document(
    targets: Sequence[str] = (TARGET,),
    drafts: Sequence[str] = ("0.5B",),
    ks: Sequence[int] = (2, 4, 8, 16),
    categories: Sequence[str] = ("coding", "math"),
    blocks: int = 3,
) -> Json:
    """A finished run of all pairs, with curves, recommendations and everything else that is derived."""
    steps, facts = [], []
    for number, target in enumerate(targets):
        base = 6.5 * 3.1**number
        for category_number, category in enumerate(categories):
            tilt = 1 - 0.03 * category_number
            baseline = step(None, category, target=target)
            steps.append(baseline)
            facts += measured(baseline, [base * (1 + 0.01 * (block % 3 - 1)) for block in range(blocks)])
            for rank, draft in enumerate(drafts):
                for k in ks:
                    rate = base * truth(ACCEPTS[rank % 12] * tilt, 0.02 + 0.03 * number, k)
                    arm = step(k, category, target=target, draft=draft)
                    steps.append(arm)
                    facts += measured(arm, [rate * (1 + 0.012 * ((block + rank) % 3 - 1)) for block in range(blocks)])
    head = [
        started(steps, settings={"max_tokens": 256, "iterations": blocks, "k": "curve", "workloads": ["content"]}),
        ev.EngineFound("llama-server", "/usr/bin/llama-server", "b11669", "current"),
        *(ev.ModelRead(name, "target", "/m", 7 * 2**30, "qwen2", "Q8_0", "dense-small") for name in targets),
        *(fact for number in range(len(targets)) for fact in loaded(f"l{number + 1:03d}", ks[-1])),
    ]
    result = document_of(folded([*head, *facts, ev.RunFinished("finished", 0)]))
    return derive(result, targets, drafts, ks)


def derive(result: Json, targets: Sequence[str], drafts: Sequence[str], ks: Sequence[int]) -> Json:
    """The document with every derived field filled by hand, whatever the analysis made of it."""
    speeds = {(arm["target"], arm["draft"], arm["k"]): arm for arm in result["overall"]}
    result["curves"] = list(_curves(speeds, targets, drafts, ks))
    result["recommendations"] = [each for target in targets for each in _recommendations(speeds, target, drafts, ks)]
    for number, each in enumerate(result["measurements"]):
        state = "output_differs" if each["draft"] == drafts[-1] and number % 5 == 0 and len(drafts) > 1 else "identical"
        if each["draft"] is not None:
            each["lossless"] = {
                "state": state,
                "prompts": 3,
                "tokens": 303,
                "diverges_at": 41 if state != "identical" else None,
                "margin": 2.5 if state != "identical" else None,
                "prompt_id": "p1" if state != "identical" else None,
                "reason": "" if state == "identical" else "Other words where the baseline was sure of its token.",
            }
            if state != "identical":
                each["verdicts"].append("output_differs")
        mean = each["summary"]["decode_tok_s"]["mean"]
        bound = {"bound_tok_s": mean * 1.4, "share": 1 / 1.4, "bytes_per_pass": 7 * 2**30, "reason": ""}
        small = {"bound_tok_s": None, "share": None, "bytes_per_pass": None, "reason": "smaller than four caches"}
        each["roofline"] = bound if each["target"] == targets[0] else small
    return {
        **result,
        "rules": [
            {"rule": "The draft that is accepted most is the fastest", "source": "draftbench", "held": False,
             "evidence": f"{drafts[0]} is accepted most, another is fastest"},
            {"rule": "Code gains more than prose", "source": "velollm", "held": True, "evidence": "1.9 against 1.4"},
            {"rule": "K = 4 is best for mixtures of experts", "source": "k-value-optimization", "held": None,
             "evidence": "no such target was measured"},
        ],
        "bandwidth": {"bytes_s": 41.3e9, "cache_bytes": 32 * 2**20, "threads": 2, "reason": ""},
        "anchors": [
            {"target": target, "config": None, "moe_experts": None, "depth": 0, "first_tok_s": 6.5, "last_tok_s": 6.4,
             "moved": -0.0154, "n": 6}
            for target in targets
        ],
        "plan": [
            {"stage": "baselines", "reason": "what everything is held against"},
            {"stage": "curves", "reason": "one load for each pair at K = 16"},
            {"stage": "confirm", "reason": "the best K of each pair"},
        ],
        "effort": {"loads": 5, "load_time_s": 62.5, "measuring_s": 804.0, "step_by_step_loads": 21},
        "imported": None,
    }  # fmt: skip


def _curves(
    speeds: dict[Any, Json], targets: Sequence[str], drafts: Sequence[str], ks: Sequence[int]
) -> Iterator[Json]:
    for number, target in enumerate(targets):
        base = speeds[target, None, None]["summary"]["decode_tok_s"]["mean"]
        for rank, draft in enumerate(drafts):
            for k in range(1, max(ks) + 1):
                predicted = base * truth(ACCEPTS[rank % 12] * 0.97, 0.02 + 0.03 * number, k)
                arm = speeds.get((target, draft, k)) if k in (ks[0], ks[-1], 4) else None
                speed = None if arm is None else arm["summary"]["decode_tok_s"]
                yield {
                    "target": target,
                    "draft": draft,
                    "config": None,
                    "moe_experts": None,
                    "depth": 0,
                    "category": "all",
                    "k": k,
                    "predicted_tok_s": predicted,
                    "predicted_ci95": [predicted * 0.95, predicted * 1.05],
                    "measured_tok_s": None if speed is None else speed["mean"] * (0.8 if rank == 1 and k == 4 else 1),
                    "measured_ci95": None if speed is None else speed["ci95"],
                    "n": 0 if speed is None else speed["n"],
                    "tokens_per_step": 2.0,
                    "step_time_s": 0.2,
                    "k_max": max(ks),
                    "at_edge": rank == 0 and number == 0,
                    "off": speed is not None and rank == 1 and k == 4,
                }


def _recommendations(speeds: dict[Any, Json], target: str, drafts: Sequence[str], ks: Sequence[int]) -> list[Json]:
    base = speeds[target, None, None]
    draft, k = max(((d, k) for d in drafts for k in ks), key=lambda pair: speeds[target, *pair]["speedup"]["value"])
    best = speeds[target, draft, k]
    off = best["speedup"]["value"] < 1
    common: Json = {"target": target, "config": None, "moe_experts": None, "depth": 0, "tied": [], "proven": True}
    found = []
    for category in ("all", *best["categories"]):
        found.append(
            {
                **common,
                "category": category,
                "draft": None if off else draft,
                "k": None if off else k,
                "method": "baseline" if off else "draft",
                "speedup": None if off else best["speedup"]["value"],
                "ci95": None if off else best["speedup"]["ci95"],
                "tok_s": base["summary"]["decode_tok_s"]["mean"] * (1 if off else best["speedup"]["value"]),
                "baseline_tok_s": base["summary"]["decode_tok_s"]["mean"],
                "regret": 0.004,
                "regret_ci95": [0.0, 0.013],
                "off": off,
                "tied": [] if off else [{"draft": draft, "k": ks[0], "speedup": best["speedup"]["value"] - 0.01}],
                "reason": "No draft is faster than none on this target."
                if off
                else "It is the fastest by more than the noise, and the smallest K of those that tie.",
                "command": f"llama-server -m '/models/{target}.gguf'"
                + ("" if off else f" -md '/models/{draft}.gguf' --spec-type draft-simple --spec-draft-n-max {k}"),
            }
        )
    return found


def large_document() -> Json:
    """4 targets x 12 drafts x 6 K x 9 categories."""
    targets = ("Qwen2.5 72B Q8_0", "Qwen2.5 32B Q8_0", "Qwen2.5 14B Q4_K_M", "Qwen2.5 7B Q4_K_M")
    drafts = tuple(f"{size} {kind}" for size in ("0.5B", "1.5B", "3B", "7B") for kind in ("FP16", "Q8_0", "Q4_K_M"))
    return run_document(targets, drafts, (2, 4, 8, 16, 24, 32), CATEGORIES)


def many_measurements() -> Json:
    """504 measurements: 2 targets x 3 drafts x 9 K with a baseline, 9 categories."""
    return run_document(("72B", "32B"), ("0.5B", "1.5B", "3B"), (2, 3, 4, 6, 8, 12, 16, 20, 24), CATEGORIES)


def failed_document() -> Json:
    """A run in which every step failed."""
    steps = [step(k, category) for k in (None, 4, 8) for category in ("coding", "math")]
    facts: list[ev.Fact] = [started(steps)]
    for each in steps:
        facts.append(
            ev.StepFinished(each.id, None, StepStatus.FAILED, ("http_error",), "the server answered 500: out of memory")
        )
    facts += [*loaded(), ev.LoadFinished("l001", "failed", error="exit 1 after 3 s", hint="Use a smaller model.")]
    return document_of(folded([*facts, ev.RunFinished("finished", 3, "nothing could be measured")]))


def single_sample_document() -> Json:
    """One sample of a baseline and of one arm."""
    steps = [step(), step(4)]
    facts = [started(steps), *loaded(k=4), *measured(steps[0], [10.0]), *measured(steps[1], [12.0])]
    return document_of(folded(facts))


def imported_document(paths: Sequence[Path]) -> Json:
    """What an import of these draftbench files looks like: rates without samples or intervals, two runs as one."""
    overall, categories = [], "all prompts"
    for path in paths:
        content = json.loads(path.read_text(encoding="utf-8"))
        bases = {each["target"]: each["mean_tps"] for each in content["results"] if each["draft"] is None}
        for each in content["results"]:
            mean, base = each["mean_tps"], bases.get(each["target"])
            arm = {
                "target": each["target"], "draft": each["draft"], "method": "draft" if each["draft"] else "baseline",
                "config": None, "k": None, "moe_experts": None, "workload": "content", "depth": 0,
            }  # fmt: skip
            summary = {"n": None, "mean": mean, "stddev": None, "min": None, "max": None, "median": None, "ci95": None}
            speedup = {"value": mean / base, "stddev": None, "ci95": None} if base and each["draft"] else None
            overall.append(
                {**arm, "categories": [categories], "missing": [], "summary": {"decode_tok_s": summary},
                 "acceptance_rate": each["acceptance_rate"], "tokens_per_step": None, "accepted_per_position": None,
                 "speedup": speedup}
            )  # fmt: skip
    measurements = [
        {**arm, "id": f"m{number}", "step": f"s{number}", "load": None, "category": categories, "status": "ok",
         "verdicts": [], "error": None, "details": [], "samples": [], "k_seen": None, "drift": None,
         "speedup_reason": None, "lossless": None, "roofline": None}
        for number, arm in enumerate(overall)
    ]  # fmt: skip
    base = single_sample_document()
    run = {**base["run"], "name": "qwen25", "hardware": {"label": "m4max-128gb"}, "state": "finished"}
    note = "temperature 0, 1024 tokens, three prompts once each"
    return {
        **base, "run": run, "loads": [], "models": [], "unfinished": [], "overall": overall,
        "measurements": measurements, "curves": [], "recommendations": [],
        "imported": {"tool": "draftbench", "file": ", ".join(path.name for path in paths), "notes": [note]},
    }  # fmt: skip


def draftbench_document() -> Json:
    """Both of draftbench's published files."""
    return imported_document(sorted((DATA / "draftbench").glob("*.json")))


def evil_document() -> Json:
    """Labels, errors and commands that try to be more than text."""
    long = "draft " * 90
    result = run_document((EVIL, RTL + " \u202etxt.exe"), (EVIL, long, RTL), (2, 4, 8), (EVIL, "math"))
    result["run"].update(name=EVIL, id=EVIL, reason=EVIL, hardware={"label": EVIL, "cpu": EVIL})
    result["notes"] = [{"level": "warning", "text": EVIL}]
    result["measurements"][3].update(status="failed", error=EVIL, verdicts=[EVIL])
    result["loads"][0].update(argv=["llama-server", EVIL], error=EVIL, hint=EVIL)
    result["rules"][0].update(rule=EVIL, source=EVIL, evidence=EVIL)
    result["recommendations"][0].update(reason=EVIL, command=f"llama-server -m '{EVIL}'")
    return result
