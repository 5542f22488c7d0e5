"""The whole K curve from one server: predicted tok/s at every K up to K_max, with intervals. Pure.

`replay` counts the steps that a traced text would have taken at another K, `costs` says what a step costs by its
length, `curve` joins them into points and makes the curves of a run.
"""

from specdash.analysis.kcurve.curve import Curve, PredictedPoint, confirmations, curve_of, curves_of_run, off_the_line
from specdash.analysis.kcurve.replay import acceptance_by_position

__all__ = [
    "Curve",
    "PredictedPoint",
    "acceptance_by_position",
    "confirmations",
    "curve_of",
    "curves_of_run",
    "off_the_line",
]
