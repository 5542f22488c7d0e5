"""Words for the figures and names of a result, for every report, screen and log.

Each figure has one spelling; a `Style` chooses the signs for what is unknown, for ± and for "inside the noise".
Numbers that are not finite count as unknown. Escaping is for the renderer of a format: texts from outside stay raw,
but for those that terminals show (`choice` and what follows it), which are made harmless.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from specdash.core.axes import HasAxes, value_words
from specdash.core.measure import INFERRED, Verdict
from specdash.core.numbers import finite
from specdash.core.plan import LoadKey, Step
from specdash.core.profile import ALL
from specdash.core.text import human_bytes, one_line, plural

if TYPE_CHECKING:  # a dashboard's first frame has words and no result yet
    from specdash.analysis.result import (
        Arm,
        Bandwidth,
        CurvePoint,
        EngineUsed,
        Hardware,
        Imported,
        Measurement,
        Recommendation,
        Result,
        ResultSettings,
        RunInfo,
    )
    from specdash.analysis.stats import Interval, Speedup, Summary


@dataclass(frozen=True, slots=True)
class Style:
    """The signs of a kind of output."""

    unknown: str
    plus_minus: str
    about: str  # before a difference inside the noise


DOCUMENT = Style("\u2013", "±", "≈")
TERMINAL = Style("-", "±", "≈")
ASCII = Style("-", "+-", "about ")

DASH = DOCUMENT.unknown
INFERRED_NOTE = "~: inferred from how the tokens arrived, since this server does not tell what it drafted."
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
"""States of `Agreement` in words, the worst first."""

LEAST_REGRET = 0.001  # a share below which "no alternative is faster" is as good a word for it
NAME_CHARS = 60
COMMAND_CHARS = 8000
TIES_SHOWN = 5


# -- who decides K ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScopeWords:
    """Who decides K on a server: as a sentence, in a few words, and what follows for loads."""

    sentence: str
    short: str
    loads: str = ""


K_SCOPES: Mapping[str, ScopeWords] = {
    "request": ScopeWords("K is taken per request", "K per request", "one load serves every K"),
    "capped": ScopeWords("K is taken per request, up to its start-up value", "K per request, capped"),
    "startup": ScopeWords("K is fixed at start-up", "K fixed at start-up", "one load for every K"),
}


def k_scope(scope: str | None) -> str:
    """Who decides K, as a sentence without its full stop; "" where that is unknown."""
    return K_SCOPES[scope].sentence if scope is not None and scope in K_SCOPES else ""


# -- figures ----------------------------------------------------------------------------------------------------------


def bounds(interval_: Interval | Sequence[float | None] | None) -> tuple[float | None, float | None]:
    """The ends of an interval, None where unknown or infinite."""
    return (None, None) if interval_ is None else (finite(interval_[0]), finite(interval_[1]))


def is_noise(ci95: Interval | Sequence[float | None] | None) -> bool:
    """Whether an interval of a ratio holds 1, so that the difference counts as none."""
    if ci95 is None:
        return False
    low, high = bounds(ci95)
    return (low is None or low <= 1) and (high is None or high >= 1)


def rate(value: object, style: Style = DOCUMENT) -> str:
    """Tokens per second, with as many digits as a rate of that size is worth: "1250", "18.2", "9.81"."""
    number = finite(value)
    return style.unknown if number is None else f"{number:.{_digits(number)}f}"


def _digits(value: float) -> int:
    return 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2


def mean(summary: Summary | None, style: Style = DOCUMENT) -> str:
    """Mean ± standard deviation of rates."""
    value = finite(summary.mean) if summary is not None else None
    if summary is None or value is None:
        return style.unknown
    spread = finite(summary.stddev)
    return rate(value) if spread is None else f"{rate(value)} {style.plus_minus} {spread:.{_digits(value)}f}"


def ratio(value: object, style: Style = DOCUMENT) -> str:
    """A speedup or another factor, with two digits."""
    number = finite(value)
    return style.unknown if number is None else f"{number:.2f}"


def interval(
    ci95: Interval | Sequence[float | None] | None, form: str = "{:.2f}", style: Style = DOCUMENT, to: str = " to "
) -> str:
    """An interval as "1.20 to 1.34", "?" for an end that is unknown; the sign for unknown where both are."""
    low, high = bounds(ci95)
    if low is None and high is None:
        return style.unknown
    return to.join("?" if end is None else form.format(end) for end in (low, high))


def faster(speedup: Speedup | None, n: int | None = 0, style: Style = DOCUMENT) -> str:
    """A speedup with its interval, marked inside the noise. `n` samples: None where no file tells."""
    value = finite(speedup.value) if speedup is not None else None
    if speedup is None or value is None:
        return style.unknown
    if speedup.ci95 is None:
        return f"{ratio(value)} ({'no interval' if n is None else 'too few'})"
    return f"{style.about if is_noise(speedup.ci95) else ''}{ratio(value)} ({interval(speedup.ci95)})"


def share(value: object, digits: int = 0, style: Style = DOCUMENT) -> str:
    """A share as a percentage."""
    number = _percent(value)
    return style.unknown if number is None else f"{number:.{digits}f} %"


def change(value: object, style: Style = DOCUMENT) -> str:
    """A relative change with its sign; never "-0.0"."""
    number = _percent(value)
    return style.unknown if number is None else f"{round(number, 1) + 0.0:+.1f} %"


def _percent(value: object) -> float | None:
    """A share in per cent; None where that is no number."""
    number = finite(value)
    return finite(number * 100) if number is not None else None


def seconds(value: object, style: Style = DOCUMENT) -> str:
    """A time in seconds with three digits: "0.021 s", "2.31 s", "105 s"."""
    number = finite(value)
    if number is None:
        return style.unknown
    digits = 0 if number >= 99.95 else 1 if number >= 9.995 else 2 if number >= 0.9995 else 3
    return f"{number:.{digits}f} s"


def count_text(value: object, style: Style = DOCUMENT) -> str:
    """A count."""
    number = finite(value)
    return style.unknown if number is None else f"{number:.0f}"


def accepted(row: Arm | Measurement, style: Style = DOCUMENT) -> str:
    """The share of drafted tokens that was accepted; "~" where that is inferred."""
    return ("~" if is_inferred(row) else "") + share(row.acceptance_rate, style=style)


def is_inferred(row: Arm | Measurement) -> bool:
    """Whether the acceptance is seen in how tokens arrived, since the server does not tell."""
    return row.acceptance_source == INFERRED and finite(row.acceptance_rate) is not None


def answer_times(summary: Mapping[str, Summary], style: Style = DOCUMENT) -> list[str]:
    """What stands beside a decode rate: prefill in tok/s, time to the first token, time of the whole answer."""
    prefill, ttft, total = (
        found.mean if (found := summary.get(name)) is not None else None
        for name in ("prefill_tok_s", "ttft_s", "total_time_s")
    )
    return [rate(prefill, style), seconds(ttft, style), seconds(total, style)]


def off_by(point: CurvePoint, mark: str) -> str:
    """How far a measured point of a curve is off the predicted one; "-" where it was predicted from itself."""
    predicted, measured = finite(point.predicted_tok_s), finite(point.measured_tok_s)
    if not predicted or measured is None:
        return DASH
    return "-" if point.step.k == point.k_max else change(measured / predicted - 1) + mark * bool(point.off)


def slower_of(count: int, of: int) -> str:
    """Pairs that something is said of: "0 of 1 pair is", "2 of 3 pairs are"."""
    return f"{count} of {plural(of, 'pair')} {'is' if count == 1 or of == 1 else 'are'}"


# -- names ------------------------------------------------------------------------------------------------------------


def setting(of: HasAxes) -> str:
    """What an arm shares with its baseline beside the target, in words; "" for nothing special."""
    return ", ".join(value_words(of))


def drafter(step: Step) -> str:
    """What drafts in an arm: the draft's label, the method's name, or "none (baseline)"."""
    return step.drafter or "none (baseline)"


def arm_name(step: Step, baseline: str = "none (baseline)") -> str:
    """An arm but for its target and K; a `baseline` may have another name."""
    return ", ".join(filter(None, (step.drafter or baseline, setting(step))))


def subject(of: Step | LoadKey) -> str:
    """The target and its setting."""
    return ", ".join(filter(None, (of.target, setting(of))))


def pair_name(step: Step, *, with_target: bool = False) -> str:
    """A pair in words."""
    parts = [step.target] if with_target else []
    return ", ".join(filter(None, (" + ".join([*parts, step.drafter or "no draft model"]), setting(step))))


def sentence(text: str) -> str:
    """A text with a capital letter and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if not text or text.endswith((".", "!", "?")) else ".")


# -- recommendations --------------------------------------------------------------------------------------------------


def ordered(recommendations: Sequence[Recommendation]) -> list[Recommendation]:
    """Recommendations by target in the order they came, each target's "all" first."""
    targets = {subject(each.baseline): at for at, each in reversed(list(enumerate(recommendations)))}
    return sorted(recommendations, key=lambda each: (targets[subject(each.baseline)], each.category != ALL))


def for_all(recommendations: Iterable[Recommendation]) -> list[Recommendation]:
    """The recommendations over all categories, one for each target and setting."""
    return [each for each in recommendations if each.category == ALL]


def chosen_text(each: Recommendation) -> str:
    """What a recommendation says to use: "0.5B Q8_0, K = 6", "no draft", or that there is none."""
    if each.off:
        return "no draft"
    return _with_k(each.choice, ", ") if each.choice is not None and each.speculates else "no recommendation"


def _with_k(step: Step, between: str) -> str:
    name = drafter(step) if step.drafter else "no draft"
    return name if step.k is None else f"{name}{between}K = {step.k}"


def recommendation_sentence(each: Recommendation) -> str:
    """A recommendation as one sentence behind the target's name and what is chosen."""
    if each.off or finite(each.speedup) is None:
        return each.reason or "no reason is given"
    sure = f"95 % interval {interval(each.ci95)}" if each.ci95 is not None else "no interval"
    text = f"decodes {ratio(each.speedup)} times as fast as no draft ({sure})"
    if _has_rates(each):
        text += f", {rate(each.tok_s)} instead of {rate(each.baseline_tok_s)} tok/s"
    text += f"; {whole_answer_text(each)}" if whole_answer_text(each) else ""
    return text if each.proven else f"{text}; not proven"


def _has_rates(each: Recommendation) -> bool:
    return finite(each.tok_s) is not None and finite(each.baseline_tok_s) is not None


def remark(each: Recommendation) -> str:
    """The reason of a recommendation where `recommendation_sentence` does not give it already, as a sentence."""
    return "" if each.off or finite(each.speedup) is None or not each.reason else sentence(each.reason)


def tied(each: Recommendation) -> str:
    """The arms that a recommendation is not told apart from."""
    found = [
        _with_k(other.step, ", ") + (f" ({ratio(other.speedup)})" if finite(other.speedup) is not None else "")
        for other in each.tied
    ]
    return "; ".join(found) if found else DASH


def regret_interval(each: Recommendation) -> str:
    """The interval of a recommendation's regret in per cent, without the unit."""
    return interval([None if end is None else 100 * end for end in bounds(each.regret_ci95)], "{:.1f}")


def whole_answer_change(each: Recommendation, style: Style = DOCUMENT) -> str:
    """By how much longer or shorter whole answers take with what is recommended: "+11 %", "≈+2 %" inside the noise."""
    found = each.whole_answer
    value = finite(found.ratio) if found is not None else None
    if found is None or value is None:
        return style.unknown
    unsure = found.ci95 is None or is_noise(found.ci95)
    return f"{style.about if unsure else ''}{change(value - 1)}"


def whole_answer_interval(each: Recommendation) -> str:
    """The interval of that change, in per cent without the unit."""
    ends = bounds(each.whole_answer.ci95 if each.whole_answer is not None else None)
    return interval([None if end is None else 100 * (end - 1) for end in ends], "{:+.1f}")


def whole_answer_text(each: Recommendation) -> str:
    """What becomes of a gain in whole answers, in words; "" where nothing is known of them.

    "whole answers take 11.2 % longer (+4.0 to +19.1 %)", "… 18.0 % less time (…)", "… as long within the noise (…)".
    """
    found = each.whole_answer
    value = finite(found.ratio) if found is not None else None
    if found is None or value is None:
        return ""
    by = f"{abs(value - 1) * 100:.1f} % {'longer' if value > 1 else 'less time'}"
    if found.ci95 is None:
        return f"whole answers take {by} by the mean (no interval)"
    ends = f"({whole_answer_interval(each)} %)"
    return f"whole answers take {'as long within the noise' if is_noise(found.ci95) else by} {ends}"


# -- recommendations on a terminal: one line each, text from outside made harmless -------------------------------------


def recommendation_heading(each: Recommendation) -> str:
    """What a recommendation is for: the target and its setting."""
    return one_line(subject(each.baseline), 120)


def arm_with_k(step: Step) -> str:
    """What drafts, with its K: "0.5B with K = 6", "no draft"."""
    name = one_line(step.drafter or "no draft", NAME_CHARS)
    return name if step.k is None else f"{name} with K = {step.k}"


def choice(each: Recommendation) -> str:
    """The recommendation in a line: what to use and how much faster it is, "off", or that nothing can be said."""
    reason = one_line(each.reason, 600)
    if each.off:
        return f"off: {reason or 'no draft is faster beyond the noise'}"
    if each.choice is None or not each.speculates:
        return f"nothing can be recommended{f': {reason}' if reason else ''}"
    text = f"use {arm_with_k(each.choice)}"
    if finite(each.speedup) is not None:
        text += f": {ratio(each.speedup)} times as fast ({_ends_or(each.ci95, 'no interval')})"
    if _has_rates(each):
        text += f", {rate(each.tok_s)} tok/s instead of {rate(each.baseline_tok_s)}"
    text += f"; {whole_answer_text(each)}" if whole_answer_text(each) else ""
    return text + ("" if each.proven else " (not proven)")


def _ends_or(ci95: Interval | None, none: str) -> str:
    return none if None in bounds(ci95) else interval(ci95)


def short(each: Recommendation) -> str:
    """The choice in a few words, for a table: "0.5B with K = 6", "off: no draft"."""
    if each.off:
        return "off: no draft"
    return arm_with_k(each.choice) if each.choice is not None and each.speculates else "nothing can be recommended"


def brief(each: Recommendation) -> str:
    """The choice with its speedup and what becomes of it in whole answers, in half a line, in ASCII signs.

    "0.5B with K = 6: 1.82x (1.77 to 1.88), answers -18.2 %, 12.3 tok/s".
    """
    if each.off or not each.speculates:
        return short(each)
    figures = []
    if finite(each.speedup) is not None:
        figures.append(f"{ratio(each.speedup)}x ({_ends_or(each.ci95, 'no interval')})")
    figures += [f"answers {whole_answer_change(each, ASCII)}"] if each.whole_answer is not None else []
    figures += [f"{rate(each.tok_s)} tok/s"] if finite(each.tok_s) is not None else []
    said = f"{short(each)}{': ' if figures else ''}{', '.join(figures)}"
    return said + ("" if each.proven else ", not proven")


def reason_text(each: Recommendation) -> str:
    """The reason of a choice; "" where `choice` says it already."""
    return one_line(each.reason, 1000) if each.speculates and not each.off else ""


def ties(each: Recommendation) -> str:
    """What the choice cannot be told apart from; "" for nothing, and where the reason says it."""
    found = [
        arm_with_k(other.step) + (f" ({ratio(other.speedup)})" if finite(other.speedup) is not None else "")
        for other in each.tied
    ]
    if not found or each.off or not each.speculates or "told apart" in each.reason:
        return ""
    more = f" and {len(found) - TIES_SHOWN} more" if len(found) > TIES_SHOWN else ""
    return f"not to be told apart from it: {', '.join(found[:TIES_SHOWN])}{more}"


def regret(each: Recommendation) -> str:
    """How much faster an alternative could be; "" where that is unknown, and where nothing was chosen."""
    value, (low, high) = finite(each.regret), bounds(each.regret_ci95)
    if value is None or not (each.speculates or each.off):
        return ""
    if value < LEAST_REGRET:
        is_open = low is not None and high is not None and high >= LEAST_REGRET
        return f"no alternative has a faster mean (at most {share(high, 1)})" if is_open else ""
    between = f" ({regret_interval(each)} %)" if low is not None and high is not None else ""
    return f"an alternative's mean is {share(value, 1)} faster{between}"


def command(each: Recommendation) -> str:
    """The command line to paste, on one line; "" where there is none."""
    return one_line(each.command or "", COMMAND_CHARS)


def others(recommendations: Iterable[Recommendation], overall: Recommendation) -> list[Recommendation]:
    """The recommendations for single categories that are other ones than that over all of the same target."""
    mine = (
        each
        for each in recommendations
        if each.category != ALL and subject(each.baseline) == recommendation_heading(overall)
    )
    return [each for each in mine if short(each) != short(overall)]


# -- the run ----------------------------------------------------------------------------------------------------------


def without_samples(imported: Imported) -> str:
    """That an imported file has no single samples, as the end of a sentence; "" where it has."""
    return "" if imported.has_samples else "they hold no single samples, so there are no intervals"


def run_end_text(run: RunInfo) -> str:
    """The state of a run, when it ended and why."""
    state = f"{run.state} {run.finished}" if run.finished else str(run.state)
    return f"{state}: {run.reason}" if run.reason else state


def report_title(run: RunInfo) -> str:
    """What a report is about."""
    return f"{run.name} on {run.hardware.label}" if run.hardware.label else str(run.name)


def build(engine: EngineUsed) -> str:
    """The engine, its version and dialect."""
    return " ".join(filter(None, (engine.kind, engine.version, engine.dialect))) or "unknown"


def settings_text(settings: ResultSettings) -> str:
    """Every setting that has a value, lists in brackets, but for the digest of the prompts."""
    named = {name: getattr(settings, name) for name in (item.name for item in fields(settings)) if name != "others"}
    told = {**named, **settings.others}
    told.pop("prompts_digest")
    return ", ".join(f"{name} {_listed(value)}" for name, value in told.items() if value is not None)


def _listed(value: Any) -> str:
    return f"({', '.join(map(str, value))})" if isinstance(value, list | tuple) else str(value)


def model_description(target: str, result: Result) -> str:
    """What the header of a target's file told: architecture, quantisation, size."""
    for model in result.models:
        if model.label == target and model.role == "target":
            size = human_bytes(model.size_bytes) if model.size_bytes else None
            return ", ".join(filter(None, (model.architecture, model.quantisation, size)))
    return ""


def machine_text(hardware: Hardware) -> str:
    """CPU, memory, devices and system in one line, as far as known."""
    gpus = [
        gpu.name + (f" ({human_bytes(gpu.memory_bytes)})" if gpu.memory_bytes else "") for gpu in hardware.gpus or ()
    ]
    parts = [
        hardware.cpu,
        f"{hardware.cores} cores" if hardware.cores else None,
        f"{human_bytes(hardware.ram_bytes)} RAM" if hardware.ram_bytes else None,
        *gpus,
        " ".join(filter(None, (hardware.os, hardware.os_release, hardware.arch))),
    ]
    return ", ".join(filter(None, parts)) or "unknown"


def bandwidth(found: Bandwidth | None) -> str:
    """What was measured of the memory, in one sentence; "" where it was not tried."""
    if found is None:
        return ""
    bytes_s = finite(found.bytes_s)
    if bytes_s is None:
        return f"Memory bandwidth is unknown: {found.reason or 'no reason is given'}"
    by = f" with {plural(found.threads, 'thread')}" if found.threads is not None else ""
    best = f", the best of {found.measured}" if (found.measured or 1) != 1 else ""
    cache = f"; last-level cache {human_bytes(found.cache_bytes)}" if found.cache_bytes else ""
    return f"Memory bandwidth, measured here{by}{best}: {bytes_s / 1e9:.1f} GB/s{cache}."


def disturbances(result: Result) -> list[str]:
    """How many samples were taken again, and in how many this program was stopped itself; nothing where none was."""
    again = sum(row.taken_again or 0 for row in result.rows)
    samples = [sample for row in result.rows for sample in row.samples]
    names = set(Verdict)
    reasons = dict.fromkeys(why_ for sample in samples for why_ in sample.reasons if why_ in names)
    ours = sum("total_time_s" in sample.unknown for sample in samples)
    said = []
    if again:
        because = f" ({', '.join(reasons)})" if reasons else ""
        said.append(f"{plural(again, 'sample was', 'samples were')} taken again{because}")
    if ours:
        which = "a sample, whose TTFT or total time is" if ours == 1 else f"{ours} samples, whose TTFT or total time is"
        said.append(f"specdash itself was stopped during {which} unknown; the rates are by the server's clock")
    return said
