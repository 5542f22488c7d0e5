"""The result files of velollm's speculative benchmark: one target, one draft, one K, and the rates of each run.

{"config": {"main_model", "draft_model", "n_draft", "n_predict", "prompt", "iterations"}, "vanilla": {"mode",
"tokens_per_second": {"mean", "stddev", "min", "max", "samples": […]}, "time_to_first_token_ms", "total_time_ms"} or
null, "speculative": {…}, "speedup", "speedup_stddev", "timestamp"}.
"""

from __future__ import annotations

import hashlib
import math
import re
import statistics
from collections.abc import Hashable, Mapping
from typing import Any

from specdash.analysis.result import RATE, Result
from specdash.analysis.stats import Speedup, Summary, speedup, summarise
from specdash.core.measure import Sample
from specdash.core.numbers import whole
from specdash.errors import SpecdashError
from specdash.report.importers.document import (
    ImportedArm,
    ImportOrigin,
    imported_result,
    moment,
    positive_number,
    sample,
    short_text,
    value_text,
)

Json = dict[str, Any]

TOOL = "velollm"
PROMPT = "prompt"
STDDEV_MATCH = 0.005

_METRICS = {
    "tokens_per_second": ("decode_tok_s", 1.0),
    "time_to_first_token_ms": ("ttft_s", 1000.0),
    "total_time_ms": ("total_time_s", 1000.0),
}
"""Their name of a metric, ours, and how many of their units make one of ours."""

_ALWAYS = (
    "tokens_per_second stands as decode_tok_s: it is the program's own figure, and builds differ by n against n - 1",
    "outputs were not compared, and how many tokens were accepted is not in the file",
)


def is_velollm(content: object) -> bool:
    """Whether a JSON value looks like velollm's, by its shape; it may still be broken."""
    return isinstance(content, dict) and "speculative" in content and "schema" not in content


def from_velollm(content: Mapping[str, Any], file: str) -> Result:
    """The result of a velollm file; `file` is its name, for messages.

    Values that are broken are left out and said in `imported.notes`. Raises SpecdashError where nothing is left.
    """
    config = content.get("config")
    if not isinstance(config, dict):
        raise SpecdashError(f'{file}: "config" is {value_text(config)}, not a table', "velollm names its models there.")
    notes: list[str] = []
    target, draft = _label(config.get("main_model")), _label(config.get("draft_model"))
    if target is None or draft is None:
        key = "main_model" if target is None else "draft_model"
        raise SpecdashError(
            f"{file}: config.{key} is {value_text(config.get(key))}", "A path of a model belongs there."
        )
    vanilla = _summaries(content.get("vanilla"), "vanilla", notes)
    fast = _summaries(content.get("speculative"), "speculative", notes)
    rates = [_samples(content.get(name), "tokens_per_second") for name in ("speculative", "vanilla")]
    # The tool measures all of the one and then all of the other: its runs form no pairs, so no number is there twice.
    slow_samples = _as_samples(content.get("vanilla"), 0)
    fast_samples = _as_samples(content.get("speculative"), _count(content.get("vanilla")))
    findings = [ImportedArm(target, None, summary=vanilla, samples=slow_samples)] if RATE in vanilla else []
    if RATE in fast:
        faster, reason = _faster(rates[0], rates[1], fast, vanilla)
        findings.append(
            ImportedArm(
                target,
                draft,
                whole(config.get("n_draft")),
                fast,
                speedup=faster,
                speedup_reason=reason,
                samples=fast_samples,
            )
        )
    if not findings:
        todo = "\n  ".join(notes[:5]) or "It holds no rates; run the benchmark again."
        raise SpecdashError(f"{file}: nothing in it is a measurement", todo)
    origin = ImportOrigin(
        tool=TOOL,
        file=file,
        name=f"{target} + {draft}",
        backend="llamacpp",
        moment=moment(content.get("timestamp")),
        settings=_settings(config),
    )
    return imported_result(origin, findings, [*notes, *_ALWAYS])


def _label(path: object) -> str | None:
    """The name of a model file, without its folders and its ending, of whatever system."""
    name = re.split(r"[/\\]", path.strip())[-1].removesuffix(".gguf") if isinstance(path, str) else None
    return short_text(name)


def _settings(config: Mapping[str, Any]) -> Json:
    prompt = config.get("prompt")
    is_known = isinstance(prompt, str)
    return {
        "max_tokens": whole(config.get("n_predict")),
        "iterations": whole(config.get("iterations")),
        "prompt": short_text(prompt),
        "prompts_digest": hashlib.sha256(str(prompt).encode("utf-8", "replace")).hexdigest() if is_known else None,
    }


def _given(run: object, metric: str) -> list[object]:
    """The samples of a metric as they stand in the file."""
    told = run.get(metric) if isinstance(run, dict) else None
    values = told.get("samples") if isinstance(told, dict) else None
    return values if isinstance(values, list) else []


def _count(run: object) -> int:
    """How many runs an arm had, those included that brought no rate."""
    return len(_given(run, "tokens_per_second"))


def _as_samples(run: object, first: int) -> list[Sample]:
    """The runs of an arm that have a rate, numbered from `first` as blocks; with their times where each has one."""
    count = _count(run)
    told = {
        ours: [None if (found := positive_number(value)) is None else found / per_unit for value in _given(run, metric)]
        for metric, (ours, per_unit) in _METRICS.items()
    }
    whole_ones = {name: values for name, values in told.items() if len(values) == count}
    return [
        sample(PROMPT, first + number, {name: values[number] for name, values in whole_ones.items()})
        for number in range(count)
        if told["decode_tok_s"][number] is not None
    ]


def _samples(run: object, metric: str) -> list[float]:
    """The samples of a metric that are numbers above 0."""
    return [found for value in _given(run, metric) if (found := positive_number(value)) is not None]


def _summaries(run: object, name: str, notes: list[str]) -> dict[str, Summary]:
    """The summaries of one arm by our metrics, from its samples, else what the file says of the mean."""
    if run is None and name == "vanilla":
        notes.append("it was measured without a baseline (--skip-vanilla), so nothing is said of a speedup")
        return {}
    if not isinstance(run, dict):
        notes.append(f"{name} is {value_text(run)}, not a table: left out")
        return {}
    found = {}
    for metric, (ours, per_unit) in _METRICS.items():
        given = run.get(metric)
        values = [value / per_unit for value in _samples(run, metric)]
        if not isinstance(given, dict):
            notes.append(f"{name}.{metric} is {value_text(given)}, not a table: left out")
            continue
        total = len(given["samples"]) if isinstance(given.get("samples"), list) else 0
        if total > len(values):
            notes.append(f"{name}.{metric}: {total - len(values)} of {total} samples are no numbers above 0: left out")
        if _divides_by_n(values, positive_number(given.get("stddev")), per_unit):
            notes.append(f"{name}.{metric}: the file's stddev divides by n; here it is computed anew, by n - 1")
        summary = summarise(values)
        mean = positive_number(given.get("mean"))
        if summary is not None:
            found[ours] = summary
        elif mean is not None and not total:
            found[ours] = Summary(mean=mean / per_unit)
            notes.append(f"{name}.{metric} has no samples: its mean has no interval")
        else:
            notes.append(f"{name}.{metric} has no sample that counts: left out")
    return found


def _divides_by_n(values: list[float], told: float | None, per_unit: float) -> bool:
    """Whether a standard deviation, in the file's units, is surely that of a population and not of a sample."""
    if told is None or len(values) < 2:
        return False
    by_n, by_less = (spread(values) * per_unit for spread in (statistics.pstdev, statistics.stdev))
    return math.isclose(told, by_n, rel_tol=STDDEV_MATCH) and not math.isclose(told, by_less, rel_tol=2 * STDDEV_MATCH)


def _faster(
    fast: list[float], slow: list[float], summary: Mapping[str, Summary], base: Mapping[str, Summary]
) -> tuple[Speedup | None, str | None]:
    """The speedup, or None and why: by Welch where both have samples, since their runs form no pairs."""
    if RATE not in base:
        return None, "no baseline is in the file"
    spec: list[tuple[Hashable, float]] = [(("speculative", i), rate) for i, rate in enumerate(fast)]
    vanilla: list[tuple[Hashable, float]] = [(("vanilla", i), rate) for i, rate in enumerate(slow)]
    found = speedup(spec, vanilla)
    if found is None:
        found = Speedup(summary[RATE].mean / base[RATE].mean)
    return found, None
