"""Verdicts that no sample shows by itself: from the texts, the machine's memory, the curve and the anchors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specdash.analysis.findings import derived_findings, examine_run
from specdash.analysis.kcurve import Curve, PredictedPoint
from specdash.core import events as ev
from specdash.core.measure import Verdict
from specdash.core.profile import ALL
from specdash.core.state import RunState
from tests.support.recorded_run import TARGET, folded, measured, started, step

BASE, K4 = step(), step(4)


def run(*facts: list[ev.Fact], **settings: object) -> RunState:
    first = started([BASE, K4], settings={"iterations": 5, **settings})
    return folded([first, *(fact for part in facts for fact in part)])


def test_a_run_without_anything_odd_has_no_findings() -> None:
    assert derived_findings(run(measured(BASE, [10.0, 10.1, 9.9]), measured(K4, [20.0, 20.1, 19.9]))) == {}
    assert derived_findings(run()) == {}


def test_a_rate_above_what_memory_allows_is_impossible() -> None:
    model = ev.ModelRead(TARGET, "target", "/m", 10**10, "qwen2", "Q8_0", "dense-small", bytes_per_token=10**10)
    rates = measured(BASE, [9.0, 9.1, 9.0]), measured(K4, [90.0] * 3)
    figures = [ev.BandwidthMeasured(gb_s * 1e9, 2**20, 8) for gb_s in (100, 20, 90)]
    assert derived_findings(run([model, *figures[:2]], *rates)) == {}, "of too few figures none accuses"
    ((name, found),) = derived_findings(run([model, *figures], *rates)).items()
    ((verdict, detail),) = found
    # 2.5 tokens per step: 25 tok/s are the bound.
    assert (name, verdict) == (K4.id, Verdict.IMPOSSIBLE)
    assert detail == "3.6 times the 25 tok/s that memory allows"


@pytest.mark.parametrize(("predicted", "is_off"), [(20.0, False), (20.3, False), (25.0, True), (15.0, True)])
def test_a_measured_rate_off_the_predicted_curve_is_told(predicted: float, is_off: bool) -> None:
    view = run(measured(BASE, [10.0, 10.1, 9.9]), measured(K4, [20.0, 20.2, 19.8, 20.1, 19.9]))
    rates = tuple(((f"p{block % 3}", block), predicted) for block in range(5))
    point = PredictedPoint(4, predicted, (predicted - 0.5, predicted + 0.5), 2.5, 0.125, rates, 0.01)
    curve = Curve(K4.pair, "coding", 0, 8, (point,), 4, False, "")
    examined = replace(examine_run(view), curves=(curve, replace(curve, category=ALL, points=())))
    found = derived_findings(view, examined)
    assert [verdict for verdict, _ in found.get(K4.id, ())] == [Verdict.OFF_THE_CURVE] * is_off
    deeper = replace(examined, curves=(replace(curve, depth=4096),))
    assert derived_findings(view, deeper) == {}


def test_a_baseline_that_disagrees_with_itself_is_no_broken_arm() -> None:
    texts = [ev.TextSeen("aa", tuple(range(20))), ev.TextSeen("bb", (7, *range(1, 20)))]
    checks = [ev.TextChecked(BASE.id, "l001", "p0", name, (5.0,) * 20) for name in ("aa", "bb")]
    assert derived_findings(run([*texts], measured(BASE, [10.0, 10.1]), [*checks], temperature=0.0)) == {}
