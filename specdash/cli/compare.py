"""`specdash compare`: two runs, machines or builds side by side, with uncertainty."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specdash.cli import command_parser
from specdash.cli.table import print_folded, print_table
from specdash.core.axes import ARM, row_of
from specdash.core.text import one_line, plural
from specdash.errors import Exit, SpecdashError

if TYPE_CHECKING:
    from specdash.analysis.compare import Comparison, Lost, Pair, Quotient

BOLD, PLAIN = "\x1b[1m", "\x1b[0m"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what this command takes."""
    for letter in "AB":
        parser.add_argument(
            letter.lower(), metavar=letter, help="a run (folder, or the beginning of its name), or a result file"
        )
    parser.add_argument(
        "--max-regression",
        type=_share,
        metavar="PCT",
        help="exit with 4 where an arm of B, over all categories, is surely slower than A's by more than PCT percent,"
        " and where a step that counts in A fails or changes its output in B",
    )
    parser.add_argument("--anyway", action="store_true", help="compare unlike things too; the reasons are printed")
    parser.add_argument("--json", action="store_true", help="the comparison as JSON")


def main(name: str, arguments: list[str]) -> Exit:
    """Prints B over A for what both measured; REGRESSION where an arm of B is slower than agreed, or broken."""
    parser = command_parser(name)
    options = parser.parse_args(arguments)
    from specdash.analysis.compare import compare_results
    from specdash.report.importers.saved import unusable
    from specdash.report.results import named_result
    from specdash.store.runs import known_results_dirs

    dirs = known_results_dirs()
    names = [_shown(given) for given in (options.a, options.b)]
    a, b = (named_result(given, dirs) for given in (options.a, options.b))
    try:
        found = compare_results(a.result, b.result, anyway=options.anyway)
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
        files = [each.path for each in (a, b) if each.view is None]
        if not files:
            raise
        raise unusable(Path(" or ".join(map(str, files))), error) from error
    if found.reasons and not options.anyway:
        reasons = "".join(f"\n  - {one_line(reason, 400)}" for reason in found.reasons)
        raise SpecdashError(
            f"{names[0]} and {names[1]} are unlike things:{reasons}", "To compare them all the same: --anyway."
        )
    if not found.pairs and not (found.lost and options.max_regression is not None):
        raise SpecdashError(
            f"{names[0]} and {names[1]} have no step in common that counts in both",
            "They need the same labels of targets and drafts, the same K and the same category.",
            exit_code=Exit.NOTHING_MEASURED,
        )
    slower = found.regressions(options.max_regression) if options.max_regression is not None else ()
    lost = found.lost if options.max_regression is not None else ()
    if options.json:
        print(json.dumps(_as_json(found, (*slower, *lost)), indent=2, allow_nan=False))
    else:
        _print(found, names)
    return _judged(found, slower, options.max_regression)


def _share(word: str) -> float:
    """A percentage as a share."""
    try:
        value = float(word.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not 0 <= value < 100:
        raise argparse.ArgumentTypeError(f"{word!r} is no percentage from 0 to below 100")
    return value / 100


def _shown(given: str) -> str:
    return one_line(given.rstrip("/"), 300)


def _judged(found: Comparison, slower: tuple[Pair, ...], most: float | None) -> Exit:
    """Says on stderr what a script has to know, and gives its exit code."""
    if most is None:
        return Exit.OK
    unknown = sum(pair.high is None for pair in found.overall)
    if unknown:
        arms = plural(unknown, "arm has", "arms have")
        print(f"specdash: {arms} too few samples for an interval: no regression can be told there", file=sys.stderr)
    for pair in slower:
        loss = (1 - (pair.ratio or 0)) * 100
        print(
            f"specdash: regression: {one_line(pair.step)}: {loss:.1f} % slower in B, surely more than"
            f" {most * 100:g} % (B/A {_ratio(pair.ratio)}, 95 % {_interval(pair.low, pair.high)})",
            file=sys.stderr,
        )
    for each in found.lost:
        print(f"specdash: regression: {one_line(each.step)}: {one_line(each.reason, 400)}", file=sys.stderr)
    return Exit.REGRESSION if slower or found.lost else Exit.OK


def _print(found: Comparison, names: list[str]) -> None:
    """The comparison as text: what differs, the arms over all categories, then the single steps."""
    for letter, name in zip("AB", names, strict=True):
        print(f"{letter}  {name}")
    for reason in found.reasons:
        print(_loud(f"unlike: {one_line(reason, 400)}"))
    for machine in found.machines:
        print(_loud(one_line(machine, 400)))
    for note in (*found.notes, *found.left_out):
        print_folded(one_line(note, 400), 4)
    if found.lost:
        print("\nworse in B, where no ratio tells:\n")
        print_table(("STEP", "WHY"), [(each.step, one_line(each.reason)) for each in found.lost])
    print("\nB over A, all categories that both have:\n")
    _table(found.overall)
    if any(len(pair.categories) > 1 for pair in found.overall):
        print("\nby category:\n")
        _table(found.pairs)
    print(
        "\nB/A, PREFILL: rates, more is better. TTFT, TOTAL: time to the first token, and of the whole answer, less is"
        " better."
    )
    print("A x, B x: each one's speedup over its own baseline; these compare across machines.")


def _loud(text: str) -> str:
    """In bold on a terminal that was not asked to leave styles out."""
    import os

    return f"{BOLD}{text}{PLAIN}" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text


def _table(pairs: tuple[Pair, ...]) -> None:
    print_table(
        ("A tok/s", "B tok/s", "B/A", "95 %", "B IS", "PREFILL", "TTFT", "TOTAL", "A x", "B x", "STEP"),
        [
            (
                f"{pair.a_tok_s:.2f}",
                f"{pair.b_tok_s:.2f}",
                _ratio(pair.ratio),
                _interval(pair.low, pair.high),
                pair.word,
                _value(pair.prefill),
                _value(pair.ttft),
                _value(pair.total),
                _with_interval(pair.a_speedup),
                _with_interval(pair.b_speedup),
                pair.step + (f" ({', '.join(pair.doubts)})" if pair.doubts else ""),
            )
            for pair in pairs
        ],
    )


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3f}-{high:.3f}"


def _value(found: Quotient | None) -> str:
    """A quotient; one inside the noise is marked."""
    if found is None:
        return "-"
    is_equal = found.low is not None and found.high is not None and found.low <= 1 <= found.high
    return f"{'~' if is_equal else ''}{found.value:.2f}"


def _with_interval(found: Quotient | None) -> str:
    if found is None:
        return "-"
    if found.low is None or found.high is None:
        return f"{found.value:.2f}"
    return f"{found.value:.2f} ({found.low:.2f}-{found.high:.2f})"


def _as_json(found: Comparison, worse: tuple[Pair | Lost, ...]) -> dict[str, Any]:
    """The comparison with null for an interval that has no end."""
    told = {
        **asdict(replace(found, overall=(), pairs=(), lost=())),
        "overall": [{**_row(pair), "word": pair.word} for pair in found.overall],
        "pairs": [{**_row(pair), "word": pair.word} for pair in found.pairs],
        "lost": [_row(each) for each in found.lost],
        "regressions": [each.step for each in worse],
    }
    return {name: _finite(value) for name, value in told.items()}


def _row(found: Pair | Lost) -> dict[str, Any]:
    """A compared step or arm, with the axes of its arm."""
    return {**asdict(found), "arm": row_of(found.arm, ARM)}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
