"""Steps and loads of every kind that the table of axes allows, for tests of what must hold of all of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from specdash.core.axes import AXES, PARAMS, POINT, SETTING, Axis, Values
from specdash.core.methods import METHODS, needs_draft_model
from specdash.core.step import LoadKey, Stage, Step

# Without quotes: names of steps put labels in quotes, as they always did, and do not escape those inside.
LABELS = st.text(st.sampled_from("ab4 +|=.,-"), min_size=1, max_size=8).filter(str.strip)
WORDS = st.text(st.sampled_from("abc"), min_size=1, max_size=4)


def values_of(axis: Axis) -> st.SearchStrategy[Any]:
    """Values of an axis, the default among them."""
    if axis.name == "workload":
        return st.sampled_from(["content", "lossless"])
    if axis.kind is str:
        return st.just(axis.default) | LABELS
    if axis.kind is int:
        return st.just(axis.default) | st.integers(axis.least, 4096)
    most = axis.below if axis.below is not None else 100.0
    return st.just(axis.default) | st.floats(axis.least, most, exclude_max=True, allow_subnormal=False)


def some(names: tuple[str, ...]) -> st.SearchStrategy[Values]:
    """Values of several axes."""
    return st.fixed_dictionaries({name: values_of(AXES[name]) for name in names}).map(Values)


@st.composite
def stages(draw: st.DrawFn) -> Stage:
    """One stage of a speculation, with the parameters that its method has."""
    method = draw(st.sampled_from(METHODS))
    draft = draw(LABELS) if needs_draft_model(method) else None
    params = draw(some(tuple(name for name in PARAMS if AXES[name].is_of(method))))
    return Stage(method, draft, draw(st.integers(1, 99)), params)


STEPS = st.builds(
    Step,
    target=LABELS,
    setting=some(SETTING),
    speculation=st.lists(stages(), max_size=3).map(tuple),
    point=some(POINT),
    category=WORDS,
    copy=st.integers(0, 3),
)


@st.composite
def loads(draw: st.DrawFn) -> LoadKey:
    """The load of some step."""
    step = draw(STEPS)
    return step.key(draw(st.none() | st.integers(1, 99)) if step.speculates else None)


LOADS = loads()
