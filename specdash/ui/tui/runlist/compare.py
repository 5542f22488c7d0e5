"""Two runs side by side: the decode rates of the steps that both measured, and why two runs cannot be compared.

What makes numbers incomparable (other prompts, settings, hardware or model files) is a reason to refuse. Other builds
and versions are what one compares for; they are said.
"""

from __future__ import annotations

import statistics
from collections.abc import Hashable
from dataclasses import dataclass

from specdash.analysis.stats import speedup
from specdash.core.events import RunStarted
from specdash.core.steps import StepView
from specdash.core.text import one_line
from specdash.core.view import View
from specdash.ui.tui.lines import Line, fitted, rule
from specdash.ui.tui.styles import StyleName
from specdash.ui.tui.terminal import Glyphs

HARDWARE = ("label", "cpu", "cores", "ram_bytes", "gpus")
BY_DIGEST = "prompts"  # a path; what is in it, the digest of the prompts tells


@dataclass(frozen=True, slots=True)
class Pair:
    """One step in both runs: mean decode rates in tok/s, and B over A with its 95 % interval where there is one."""

    step: str
    a_tok_s: float
    b_tok_s: float
    ratio: float | None
    low: float | None = None
    high: float | None = None

    @property
    def word(self) -> str:
        """Whether B is faster beyond the noise."""
        if self.ratio is None or self.low is None or self.high is None:
            return "unknown"
        return "faster" if self.low > 1 else "slower" if self.high < 1 else "equal"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`reasons` not to compare (then there are no pairs), `notes` of what else differs, counts of single steps."""

    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    only_a: int = 0
    only_b: int = 0


def compare(a: View, b: View) -> Comparison:
    """Two runs, step by step."""
    if a.run is None or b.run is None:
        return Comparison(("one of the two has no first record: nothing was measured",))
    reasons = (*_reasons(a.run, b.run), *_other_models(a, b))
    if reasons:
        return Comparison(reasons)
    ours = {name: step for name, step in a.steps.items() if step.status == "ok"}
    theirs = {name: step for name, step in b.steps.items() if step.status == "ok"}
    pairs = [pair for name in ours if name in theirs for pair in [_pair(name, ours[name], theirs[name])] if pair]
    if not pairs:
        return Comparison(("no step was measured by both",))
    return Comparison(
        (), _notes(a, b), tuple(pairs), len(ours.keys() - theirs.keys()), len(theirs.keys() - ours.keys())
    )


def _reasons(a: RunStarted, b: RunStarted) -> list[str]:
    reasons = ["they were asked different prompts"] if a.prompts_digest != b.prompts_digest else []
    names = sorted({*a.settings, *b.settings} - {BY_DIGEST})
    told = [(one_line(name, 40), a.settings.get(name), b.settings.get(name)) for name in names]
    told += [(f"the hardware differs: {name}", a.hardware.get(name), b.hardware.get(name)) for name in HARDWARE]
    return reasons + [
        f"{what} is {_said(ours)} in A and {_said(theirs)} in B" for what, ours, theirs in told if ours != theirs
    ]


def _other_models(a: View, b: View) -> list[str]:
    """Models of one label that are not the same file, as far as the headers tell."""
    return [
        f"the {ours.role} {one_line(label, 60)} is another file in B"
        for label, ours in a.models.items()
        if (theirs := b.models.get(label)) is not None
        and (ours.size_bytes, ours.quantisation, ours.architecture)
        != (theirs.size_bytes, theirs.quantisation, theirs.architecture)
    ]


def _said(value: object) -> str:
    return "unknown" if value is None else one_line(str(value), 60)


def _notes(a: View, b: View) -> tuple[str, ...]:
    assert a.run is not None
    assert b.run is not None
    told = [
        ("server", a.engine.version if a.engine else None, b.engine.version if b.engine else None),
        ("program", a.engine.program if a.engine else None, b.engine.program if b.engine else None),
        ("host", a.run.host, b.run.host),
        ("specdash", a.run.specdash_version, b.run.specdash_version),
    ]
    return tuple(f"{what}: {_said(ours)} in A, {_said(theirs)} in B" for what, ours, theirs in told if ours != theirs)


def _rates(step: StepView) -> list[tuple[Hashable, float]]:
    return [
        ((sample.prompt_id, sample.block), sample.decode_tok_s)
        for sample in step.good
        if sample.decode_tok_s is not None and sample.decode_tok_s > 0
    ]


def _pair(name: str, ours: StepView, theirs: StepView) -> Pair | None:
    a, b = _rates(ours), _rates(theirs)
    if not a or not b:
        return None
    mean_a, mean_b = (statistics.fmean(rate for _, rate in rates) for rates in (a, b))
    found = speedup(b, a)
    if found is None:
        return Pair(name, mean_a, mean_b, None)
    low, high = found.ci95 if found.ci95 is not None else (None, None)
    return Pair(name, mean_a, mean_b, found.value, low, high)


def lines(found: Comparison, names: tuple[str, str], width: int, glyphs: Glyphs) -> list[Line]:
    """The comparison as a page to scroll."""
    page: list[Line] = [rule("compare", "", width, glyphs.rule)]
    page += [
        fitted(((f" {letter} ", "marked"), (one_line(name), "")), width)
        for letter, name in zip("AB", names, strict=True)
    ]
    if found.reasons:
        page += [(), ((" These two cannot be compared:", "warn"),)]
        return page + [fitted(((f"  - {reason}", ""),), width, glyphs.ellipsis) for reason in found.reasons]
    page += [fitted(((f" {note}", "dim"),), width, glyphs.ellipsis) for note in found.notes]
    alone = [f"{count} only in {letter}" for letter, count in (("A", found.only_a), ("B", found.only_b)) if count]
    page += [(((f" steps {', '.join(alone)} are left out"), "dim"),)] if alone else []
    page += [(), (((f" {'A tok/s':>9} {'B tok/s':>9} {'B/A':>6}  {'95 %':<13} {'B IS':<8} STEP"), "dim"),)]
    return page + [fitted(_row(pair), width, glyphs.ellipsis) for pair in found.pairs]


def _row(pair: Pair) -> Line:
    ratio = "-" if pair.ratio is None else f"{pair.ratio:.3f}"
    interval = "-" if pair.low is None or pair.high is None else f"{pair.low:.3f}-{pair.high:.3f}"
    styles: dict[str, StyleName] = {"faster": "faster", "slower": "slower"}
    return (
        (f" {pair.a_tok_s:>9.2f} {pair.b_tok_s:>9.2f} {ratio:>6}  {interval:<13} ", ""),
        (f"{pair.word:<8} ", styles.get(pair.word, "dim")),
        (one_line(pair.step), ""),
    )
