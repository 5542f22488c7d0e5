"""Figures and names of a result in words, for every kind of report; escaping is for the one who writes the format.

Unknown is an en dash. Numbers that are not finite count as unknown. Older documents lack keys: they are asked with a
default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from specdash.core.axes import drafter_label, said
from specdash.core.measure import INFERRED, Verdict
from specdash.core.methods import BASELINE
from specdash.core.numbers import finite
from specdash.core.text import human_bytes

Json = Mapping[str, Any]

DASH = "\u2013"
INFERRED_NOTE = "~: inferred from how the tokens arrived, since this server does not tell what it drafted."
SPEED = "decode_tok_s"
SCOPES = {
    "request": "K is taken from each request",
    "capped": "K is taken from each request, up to the start-up value",
    "startup": "K is fixed at start-up",
}
WHOLE_ANSWER_NOTE = (
    "answers: change of the time of whole answers, prompt and all, as they were measured; ≈ inside the noise. Speedups"
    " are of decoding alone, and a draft reads the prompt too."
)
FROM_ITSELF = "off by: - at the largest K, which is predicted from itself."
LOSSLESS = {
    "output_differs": "output differs",
    "near_tie": "near tie",
    "unknown": "unknown",
    "identical": "identical",
}
"""States of `measurements[].lossless` in words, the worst first."""


def known(value: Any) -> float | None:
    """A number that is one, else None."""
    return finite(value)


def bounds(interval: Any) -> tuple[float | None, float | None]:
    """The ends of an interval, None where unknown or infinite."""
    if not isinstance(interval, list | tuple) or len(interval) != 2:
        return None, None
    return known(interval[0]), known(interval[1])


def rate(value: Any) -> str:
    """Tokens per second, with as many digits as a rate of that size is worth."""
    number = known(value)
    return DASH if number is None else f"{number:.{_digits(number)}f}"


def _digits(value: float) -> int:
    return 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2


def mean(summary: Json | None) -> str:
    """Mean ± standard deviation."""
    value = known((summary or {}).get("mean"))
    if summary is None or value is None:
        return DASH
    spread = known(summary.get("stddev"))
    return rate(value) if spread is None else f"{rate(value)} ± {spread:.{_digits(value)}f}"


def ratio(value: Any) -> str:
    """A speedup."""
    number = known(value)
    return DASH if number is None else f"{number:.2f}"


def interval(ci95: Any, form: str = "{:.2f}") -> str:
    """An interval as "1.20 to 1.34", "?" for an end that is unknown; a dash for none."""
    low, high = bounds(ci95)
    if low is None and high is None:
        return DASH
    return " to ".join("?" if end is None else form.format(end) for end in (low, high))


def is_noise(ci95: Any) -> bool:
    """Whether an interval of a speedup holds 1, so that the difference counts as none."""
    if not isinstance(ci95, list | tuple):
        return False
    low, high = bounds(ci95)
    return (low is None or low <= 1) and (high is None or high >= 1)


def faster(speedup: Json | None, n: Any = 0) -> str:
    """A speedup with its interval; ≈ marks a difference inside the noise. `n` samples: None where no file tells."""
    if speedup is None or known(speedup.get("value")) is None:
        return DASH
    ci95 = speedup.get("ci95")
    if ci95 is None:
        return f"{ratio(speedup['value'])} ({'no interval' if n is None else 'too few'})"
    return f"{'≈' if is_noise(ci95) else ''}{ratio(speedup['value'])} ({interval(ci95)})"


def slower_of(count: int, of: int) -> str:
    """Pairs that something is said of: "0 of 1 pair is", "2 of 3 pairs are"."""
    return f"{count} of {of} {'pair' if of == 1 else 'pairs'} {'is' if count == 1 or of == 1 else 'are'}"


def share(value: Any, digits: int = 0) -> str:
    """A share as a percentage."""
    number = known(value)
    return DASH if number is None else f"{number * 100:.{digits}f} %"


def accepted(arm: Json) -> str:
    """The share of drafted tokens that was accepted; "~" where that is inferred."""
    text = share(arm.get("acceptance_rate"))
    return f"~{text}" if is_inferred(arm) else text


def is_inferred(arm: Json) -> bool:
    """Whether the acceptance of an arm is seen in how its tokens arrived, since its server does not tell."""
    return arm.get("acceptance_source") == INFERRED and known(arm.get("acceptance_rate")) is not None


def change(value: Any) -> str:
    """A relative change with its sign; never "-0.0"."""
    number = known(value)
    return DASH if number is None else f"{round(number * 100, 1) + 0.0:+.1f} %"


def regret_interval(each: Json) -> str:
    """The interval of a recommendation's regret in per cent, without the unit."""
    low, high = bounds(each.get("regret_ci95"))
    return interval([_percent(low), _percent(high)], "{:.1f}")


def _percent(value: float | None) -> float | None:
    return None if value is None else value * 100


def seconds(value: Any) -> str:
    """A time in seconds with three digits: "0.021 s", "2.31 s", "105 s"."""
    number = known(value)
    if number is None:
        return DASH
    digits = 0 if number >= 99.95 else 1 if number >= 9.995 else 2 if number >= 0.9995 else 3
    return f"{number:.{digits}f} s"


def metric(arm: Json, name: str) -> float | None:
    """The mean of a metric in an arm's summary; None where it is unknown."""
    return known(((arm.get("summary") or {}).get(name) or {}).get("mean"))


def answer_times(arm: Json) -> list[str]:
    """What stands beside a decode rate: prefill in tok/s, time to the first token, time of the whole answer."""
    return [rate(metric(arm, "prefill_tok_s")), seconds(metric(arm, "ttft_s")), seconds(metric(arm, "total_time_s"))]


def whole_answer_change(each: Json) -> str:
    """By how much longer or shorter whole answers take with what is recommended: "+11 %", "≈+2 %" inside the noise."""
    found = each.get("whole_answer") or {}
    ratio_ = known(found.get("ratio"))
    if ratio_ is None:
        return DASH
    unsure = found.get("ci95") is None or is_noise(found["ci95"])
    return f"{'≈' if unsure else ''}{change(ratio_ - 1)}"


def whole_answer_interval(each: Json) -> str:
    """The interval of that change, in per cent without the unit."""
    ends = bounds((each.get("whole_answer") or {}).get("ci95"))
    return interval([None if end is None else 100 * (end - 1) for end in ends], "{:+.1f}")


def whole_answer(each: Json) -> str:
    """What becomes of a gain in whole answers, in words; "" where nothing is known of them.

    "whole answers take 11.2 % longer (+4.0 to +19.1 %)", "… 18.0 % less time (…)", "… as long within the noise (…)".
    """
    found = each.get("whole_answer") or {}
    ratio_ = known(found.get("ratio"))
    if ratio_ is None:
        return ""
    share_ = f"{abs(ratio_ - 1) * 100:.1f} % {'longer' if ratio_ > 1 else 'less time'}"
    if found.get("ci95") is None:
        return f"whole answers take {share_} by the mean (no interval)"
    ends = f"({whole_answer_interval(each)} %)"
    return f"whole answers take {'as long within the noise' if is_noise(found['ci95']) else share_} {ends}"


def whole(value: Any) -> str:
    """A count, or a dash."""
    number = known(value)
    return DASH if number is None else f"{number:.0f}"


def setting(arm: Json) -> str:
    """What an arm shares with its baseline beside the target, in words; "" for nothing special."""
    return ", ".join(said(arm))


def drafter_of(arm: Json) -> str | None:
    """What drafts in an arm, as `core.axes.drafter_label` names it; None for a baseline."""
    return drafter_label(arm)


def drafter(arm: Json) -> str:
    """What drafts in an arm: the draft's label, the method's name, or "none (baseline)"."""
    return drafter_of(arm) or "none (baseline)"


def arm_name(arm: Json) -> str:
    """An arm but for its target and K."""
    return ", ".join(part for part in (drafter(arm), setting(arm)) if part)


def subject(each: Json) -> str:
    """What a recommendation is for, but for the category: the target and its setting."""
    return ", ".join(part for part in (str(each.get("target")), setting(each)) if part)


def chosen(each: Json) -> str:
    """What a recommendation says to use: "0.5B Q8_0, K = 6", "no draft", or that there is none."""
    if each.get("off"):
        return "no draft"
    if each.get("draft") is None and each.get("method") in (BASELINE, None, ""):
        return "no recommendation"
    k = each.get("k")
    return drafter(each) if k is None else f"{drafter(each)}, K = {k}"


def advice(each: Json) -> str:
    """A recommendation as one sentence behind the target's name and what is chosen."""
    value, low_high = known(each.get("speedup")), each.get("ci95")
    if each.get("off") or value is None:
        return str(each.get("reason") or "no reason is given")
    sure = f"95 % interval {interval(low_high)}" if low_high is not None else "no interval"
    text = f"decodes {ratio(value)} times as fast as no draft ({sure})"
    if known(each.get("tok_s")) is not None and known(each.get("baseline_tok_s")) is not None:
        text += f", {rate(each['tok_s'])} instead of {rate(each['baseline_tok_s'])} tok/s"
    text += f"; {whole_answer(each)}" if whole_answer(each) else ""
    return text if each.get("proven", True) else f"{text}; not proven"


def remark(each: Json) -> str:
    """The reason of a recommendation where `advice` does not give it already, as a sentence."""
    if each.get("off") or known(each.get("speedup")) is None or not each.get("reason"):
        return ""
    return sentence(str(each["reason"]))


def sentence(text: str) -> str:
    """A text with a capital letter and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if not text or text.endswith((".", "!", "?")) else ".")


def tied(each: Json) -> str:
    """The arms that a recommendation is not told apart from."""
    found = [
        f"{chosen({'method': 'off', **other, 'off': other.get('k') is None and other.get('draft') is None})}"
        + (f" ({ratio(other.get('speedup'))})" if known(other.get("speedup")) is not None else "")
        for other in each.get("tied") or ()
    ]
    return "; ".join(found) if found else DASH


def off_by(point: Json, mark: str) -> str:
    """How far a measured point of a curve is off the predicted one; "-" where it was predicted from itself."""
    predicted, measured = known(point.get("predicted_tok_s")), known(point.get("measured_tok_s"))
    if not predicted or measured is None:
        return DASH
    return (
        "-"
        if point.get("k") == point.get("k_max")
        else change(measured / predicted - 1) + mark * bool(point.get("off"))
    )


def ordered(recommendations: Sequence[Json]) -> list[Json]:
    """Recommendations by target in the order they came, each target's "all" first."""
    targets = {subject(each): number for number, each in reversed(list(enumerate(recommendations)))}
    return sorted(recommendations, key=lambda each: (targets[subject(each)], each.get("category") != "all"))


def measured_n(arm: Json) -> Any:
    """How many samples an arm's rate is the mean of; None where its file does not tell."""
    return ((arm.get("summary") or {}).get(SPEED) or {}).get("n")


def without_samples(imported: Json) -> str:
    """That an imported file has no single samples, as the end of a sentence; "" where it has."""
    return "" if imported.get("has_samples") else "they hold no single samples, so there are no intervals"


def when(run: Json) -> str:
    """The state of a run, when it ended and why."""
    state = f"{run['state']} {run['finished']}" if run.get("finished") else str(run.get("state"))
    return f"{state}: {run['reason']}" if run.get("reason") else state


def title(run: Json) -> str:
    """What a report is about."""
    label = (run.get("hardware") or {}).get("label")
    return f"{run.get('name')} on {label}" if label else str(run.get("name"))


def build(engine: Json) -> str:
    """The engine, its version and dialect."""
    return " ".join(str(engine[name]) for name in ("kind", "version", "dialect") if engine.get(name)) or "unknown"


def settings_text(settings: Json) -> str:
    """Every setting that has a value, lists in brackets."""
    return ", ".join(
        f"{name} {_listed(value) if isinstance(value, list) else value}"
        for name, value in settings.items()
        if value is not None
    )


def _listed(values: Sequence[Any]) -> str:
    return f"({', '.join(str(each) for each in values)})"


def about(target: str, result: Json) -> str:
    """What the header of a target's file told: architecture, quantisation, size."""
    for model in result.get("models") or ():
        if model.get("label") == target and model.get("role") == "target":
            size = known(model.get("size_bytes"))
            parts = [model.get("architecture"), model.get("quantisation"), human_bytes(size) if size else None]
            return ", ".join(str(part) for part in parts if part)
    return ""


def machine(hardware: Json) -> str:
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


def bandwidth(found: Json | None) -> str:
    """What was measured of the memory, in one sentence; "" where it was not tried."""
    if found is None:
        return ""
    bytes_s, cache = known(found.get("bytes_s")), known(found.get("cache_bytes"))
    if bytes_s is None:
        return f"Memory bandwidth is unknown: {found.get('reason') or 'no reason is given'}"
    threads = known(found.get("threads"))
    by = "" if threads is None else f" with {threads:.0f} {'thread' if threads == 1 else 'threads'}"
    times = known(found.get("measured")) or 1
    best = "" if times == 1 else f", the best of {times:.0f}"
    text = f"Memory bandwidth, measured here{by}{best}: {bytes_s / 1e9:.1f} GB/s"
    return text + (f"; last-level cache {human_bytes(cache)}." if cache else ".")


def disturbances(result: Json) -> list[str]:
    """How many samples were taken again, and in how many this program was stopped itself; nothing where none was."""
    rows = [*(result.get("measurements") or ()), *(result.get("unfinished") or ())]
    again = sum(int(each.get("taken_again") or 0) for each in rows)
    samples = [sample for each in rows for sample in each.get("samples") or ()]
    names = {verdict.value for verdict in Verdict}
    reasons = dict.fromkeys(why for sample in samples for why in sample.get("reasons") or () if why in names)
    ours = sum("total_time_s" in (sample.get("unknown") or {}) for sample in samples)
    said = []
    if again:
        why = f" ({', '.join(reasons)})" if reasons else ""
        said.append(f"{again} {'sample was' if again == 1 else 'samples were'} taken again{why}")
    if ours:
        which = "a sample, whose TTFT or total time is" if ours == 1 else f"{ours} samples, whose TTFT or total time is"
        said.append(f"specdash itself was stopped during {which} unknown; the rates are by the server's clock")
    return said
