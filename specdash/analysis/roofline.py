"""What memory allows: every pass of the target reads its weights once, so their size bounds the rate. Pure.

bound = bandwidth / bytes per pass * tokens per step: the roofline of a computation that does one thing with each byte
(Williams, Waterman and Patterson, Roofline, 2009). It leaves out the draft, the KV cache and all arithmetic, each of
which makes a run slower than that, so a rate above it is an error of a clock or of what was loaded, not a fast machine.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from specdash.core.axes import value
from specdash.core.events import BandwidthMeasured, ModelRead
from specdash.core.measure import combine
from specdash.core.methods import BASELINE
from specdash.core.numbers import finite, positive
from specdash.core.plan import Step
from specdash.core.state import RunState
from specdash.core.step_state import StepState

CACHE_MULTIPLE = 4  # a model below so many times the last-level cache is read from the cache in part
# Repeated at rest the measured bandwidth moves by 4 %, so a rate is impossible only well above the bound.
TOLERANCE = 0.15
# More than half of it is gone for as long as another program reads memory: 18.7 GB/s were seen where it had been 44.2
# four minutes before. So what was measured before there was anything to accuse proves nothing against anybody: it is
# measured again then, and the best of so many figures counts.
LEAST_FIGURES = 3


@dataclass(frozen=True, slots=True)
class Roofline:
    """The bound of a step's rate.

    `bound_tok_s` is in tokens per second, `share` the mean decode rate over it, `bytes_per_pass` what one pass of the
    target reads; None where unknown. `reason`: why there is no bound, "" where there is one. `figures` is how often
    the bandwidth was measured.
    """

    bound_tok_s: float | None
    share: float | None
    bytes_per_pass: int | None
    reason: str
    figures: int = 0

    @property
    def is_exceeded(self) -> bool:
        """Whether the rate lies above the bound by more than its own error, so that the bound has to be looked at."""
        return self.share is not None and self.share > 1 + TOLERANCE

    @property
    def impossible(self) -> bool:
        """Whether the rate lies above the bound however often the bandwidth was measured."""
        return self.is_exceeded and self.figures >= LEAST_FIGURES


def roofline(found: StepState, view: RunState) -> Roofline | None:
    """What bounds the rate of a step; None for a step without any good sample, which has no rate."""
    if not found.good:
        return None
    model = view.models.get(found.step.target)
    if model is None:
        return Roofline(None, None, None, "the header of its target was not read")
    bytes_per_pass = pass_bytes(model, found.step)
    reason = _exempt(view.bandwidth, model)
    if reason:
        return Roofline(None, None, bytes_per_pass, reason)
    if not bytes_per_pass:
        return Roofline(None, None, None, _why_no_bytes(model, found.step))
    per_step = _tokens_per_step(found)
    if per_step is None:
        return Roofline(None, None, bytes_per_pass, "how many tokens a pass makes is not known")
    bandwidth = view.bandwidth.bytes_s if view.bandwidth is not None else None
    bound = (bandwidth or 0.0) / bytes_per_pass * per_step
    rates = [sample.decode_tok_s for sample in found.good if sample.decode_tok_s is not None]
    share = statistics.fmean(rates) / bound if rates and bound > 0 else None
    return Roofline(bound, finite(share), bytes_per_pass, "", view.bandwidth_count)


def exceeded(view: RunState) -> bool:
    """Whether any step is faster than the bandwidth that is known allows."""
    bounds = (roofline(found, view) for found in view.steps.values())
    return any(bound is not None and bound.is_exceeded for bound in bounds)


def pass_bytes(model: ModelRead, step: Step) -> int | None:
    """Bytes of weights that a pass over one token reads at the step's number of experts; None where not known.

    A pass that verifies several drafted tokens of a mixture reads the experts of all of them, which is more.
    """
    experts = value(step, "moe_experts")
    if experts is None or model.bytes_per_token is None:
        return model.bytes_per_token
    if not model.expert_bytes:
        return model.bytes_per_token  # a dense model has no experts to count
    if not model.expert_count or model.expert_used_count is None:
        return None
    others = model.bytes_per_token - model.expert_bytes * model.expert_used_count // model.expert_count
    return others + model.expert_bytes * int(experts) // model.expert_count


def _exempt(bandwidth: BandwidthMeasured | None, model: ModelRead) -> str:
    """Why memory's bandwidth bounds nothing here; "" where it does."""
    if bandwidth is None:
        return "memory bandwidth was not measured in this run"
    if bandwidth.cache_bytes is not None and model.size_bytes < CACHE_MULTIPLE * bandwidth.cache_bytes:
        return f"the model fits the cache: it is under {CACHE_MULTIPLE} times as large"
    if bandwidth.bytes_s is None:
        return bandwidth.reason or "memory bandwidth was not measured"
    if positive(bandwidth.bytes_s) is None:
        return "the measured memory bandwidth is no usable number"
    return ""


def _why_no_bytes(model: ModelRead, step: Step) -> str:
    """Why it is not known what a pass reads."""
    if model.expert_bytes and (value(step, "moe_experts") is not None or model.bytes_per_token is None):
        return "the header of its target does not tell how many experts a token uses"
    return "the sizes of its target's weights are not known"


def _tokens_per_step(found: StepState) -> float | None:
    """Tokens that one pass of the target makes: 1 for a baseline, measured for the others."""
    if found.step.method == BASELINE:
        return 1.0
    return combine(sample.step_facts for sample in found.good).tokens_per_step
