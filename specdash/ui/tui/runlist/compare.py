"""Two runs side by side as a page: `analysis.compare` of what their journals tell."""

from __future__ import annotations

from specdash.analysis.build_result import result_of
from specdash.analysis.compare import Comparison, Pair, Quotient
from specdash.analysis.compare import compare as compared
from specdash.core.state import RunState
from specdash.core.text import one_line
from specdash.ui.tui.lines import Line, fitted, rule
from specdash.ui.tui.terminal import Glyphs
from specdash.ui.tui.terminal.theme import StyleName

_HEAD = (
    f" {'A tok/s':>9} {'B tok/s':>9} {'B/A':>6}  {'95 %':<13} {'B IS':<8} {'PREFILL':>7} {'TTFT':>5} {'TOTAL':>5}  STEP"
)


def compare(a: RunState, b: RunState) -> Comparison:
    """Two runs, step by step; where nothing can be set side by side, with the reason."""
    if a.run is None or b.run is None:
        return Comparison(("one of the two has no first record: nothing was measured",))
    found = compared(result_of(a), result_of(b))
    return found if found.reasons or found.pairs else Comparison(("no step was measured by both",))


def lines(found: Comparison, names: tuple[str, str], width: int, glyphs: Glyphs) -> list[Line]:
    """The comparison as a page to scroll."""
    page: list[Line] = [rule("compare", "", width, glyphs.rule)]
    page += [
        fitted(((f" {letter} ", "marked"), (one_line(name), "")), width)
        for letter, name in zip("AB", names, strict=True)
    ]
    if found.reasons:
        page += [(), ((" These two cannot be compared:", "warn"),)]
        return page + [
            fitted(((f"  - {one_line(reason, 300)}", ""),), width, glyphs.ellipsis) for reason in found.reasons
        ]
    page += [fitted(((f" {one_line(machine, 300)}", "title"),), width, glyphs.ellipsis) for machine in found.machines]
    page += [fitted(((f" {one_line(note, 300)}", "dim"),), width, glyphs.ellipsis) for note in found.notes]
    alone = [f"{count} only in {letter}" for letter, count in (("A", found.only_a), ("B", found.only_b)) if count]
    page += [(((f" steps {', '.join(alone)} are left out"), "dim"),)] if alone else []
    page += [(), ((_HEAD, "dim"),)]
    return page + [fitted(_row(pair), width, glyphs.ellipsis) for pair in found.pairs]


def _over(found: Quotient | None) -> str:
    return "-" if found is None else f"{found.value:.2f}"


def _row(pair: Pair) -> Line:
    ratio = "-" if pair.ratio is None else f"{pair.ratio:.3f}"
    interval = "-" if pair.low is None or pair.high is None else f"{pair.low:.3f}-{pair.high:.3f}"
    styles: dict[str, StyleName] = {"faster": "faster", "slower": "slower"}
    return (
        (f" {pair.a_tok_s:>9.2f} {pair.b_tok_s:>9.2f} {ratio:>6}  {interval:<13} ", ""),
        (f"{pair.word:<8} ", styles.get(pair.word, "dim")),
        (f"{_over(pair.prefill):>7} {_over(pair.ttft):>5} {_over(pair.total):>5}  ", ""),
        (one_line(pair.step), ""),
        (f" ({', '.join(pair.doubts)})" if pair.doubts else "", "warn"),
    )
