"""How a llama.cpp program is told to speculate by another method than a draft model: `--spec-type` and its flags.

Every method has a flag of its own for the draft length K, some have one for the n-gram that is looked up, and most have
more by which a build drafts less than K by itself. Those are set so that K alone decides. Names differ between builds,
so a flag is chosen by what the program's own help lists. Pure.

What was seen on b11669: `ngram-mod` drafts nothing below its `n-min`, which is 48 where nobody sets it; `ngram-cache`
says `n_draft=8` whatever K is; `--spec-draft-n-max` does not bound the n-gram methods. In builds of early 2026
`--draft-max`, 16 where nobody sets it, bounds them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from specdash.core.axes import AXES
from specdash.core.engine import Param
from specdash.core.methods import LOOKUP, MTP, WITH_DRAFT_MODEL, needs_draft_model
from specdash.core.plan import LoadKey
from specdash.engines.llama_flags import CURRENT, OLD, Flags, params_of_stage

SPEC_TYPES: Mapping[str, str] = MappingProxyType(
    {"ngram": "ngram-simple", LOOKUP: "ngram-cache", MTP: "draft-mtp"}
    | {method: f"draft-{method}" for method in WITH_DRAFT_MODEL if method != "draft"}
)
"""The words of `--spec-type` for methods that specdash names otherwise; other methods have llama.cpp's own names."""

SETTINGS: Mapping[str, str] = MappingProxyType({"min_hits": "1"})
"""What is set so that K, and the parameters that a profile names, decide alone how much is drafted."""

_K_KEY, _N_KEY = "sweep.k", "sweep.ngram_n"
_MOST = Param("k_most", "startup", {OLD: "--draft-max"}, None, "the most that any method may draft", _K_KEY)


def _ngram_size(kind: str, flag: str) -> Param:
    """The parameter for the size of the looked-up n-gram; builds before have one flag for all methods."""
    flags = {CURRENT: f"--spec-{kind}-{flag}", OLD: "--spec-ngram-size-n"}
    return Param("ngram_n", "startup", flags, None, f"{kind}: tokens of the n-gram that is looked up", _N_KEY)


def _most_drafted(kind: str, flag: str, old: str) -> Param:
    """The parameter for K of a method that may draft fewer."""
    flags = {CURRENT: f"--spec-{kind}-{flag}", OLD: old}
    return Param("k", "startup", flags, None, f"{kind}: the most tokens drafted for each verification", _K_KEY)


def _of_sizes(kind: str) -> tuple[Param, ...]:
    """The parameters of a method that looks n-grams up in the text and has its flags named by `size`."""
    return (
        _ngram_size(kind, "size-n"),
        _most_drafted(kind, "size-m", "--spec-ngram-size-m"),
        Param(
            "min_hits",
            "startup",
            {CURRENT: f"--spec-{kind}-min-hits", OLD: "--spec-ngram-min-hits"},
            None,
            f"{kind}: how often an n-gram must have been seen; 1, so that K alone decides",
        ),
        _MOST,
    )


def _of_matches(kind: str) -> tuple[Param, ...]:
    """The parameters of a method whose flags are named as those of `ngram-mod`."""
    return (
        _ngram_size(kind, "n-match"),
        _most_drafted(kind, "n-max", "--draft-max"),
        Param(
            "n_min",
            "startup",
            {CURRENT: f"--spec-{kind}-n-min", OLD: "--draft-min"},
            None,
            f"{kind}: shortest draft worth verifying; 0 unless asked for, as by itself it may be longer than K",
            "sweep.n_min",
        ),
    )


def _of_drafts(kind: str) -> tuple[Param, ...]:
    """The parameters of a method that drafts with a model or a part of one, and of those with no flags of their own."""
    return (
        Param(
            "k",
            "startup",
            {CURRENT: "--spec-draft-n-max", OLD: "--draft-max"},
            None,
            f"{kind}: tokens drafted for each verification",
            _K_KEY,
        ),
        Param(
            "n_min",
            "startup",
            {CURRENT: "--spec-draft-n-min", OLD: "--draft-min"},
            None,
            f"{kind}: shortest draft worth verifying; 0 unless asked for",
            "sweep.n_min",
        ),
        Param(
            "p_min",
            "startup",
            {CURRENT: "--spec-draft-p-min", OLD: "--draft-p-min"},
            None,
            f"{kind}: confidence below which a draft stops; 0 unless asked for",
            "sweep.p_min",
        ),
    )


METHODS: Mapping[str, tuple[Param, ...]] = MappingProxyType(
    {kind: _of_sizes(kind) for kind in ("ngram-simple", "ngram-map-k", "ngram-map-k4v")}
    | {"ngram-mod": _of_matches("ngram-mod"), "ngram-cache": _of_drafts("ngram-cache")}
    | {kind: _of_drafts(kind) for kind in ("draft-mtp", "draft-eagle3", "draft-dflash", "draft-dspark")}
)
"""The parameters of every method that is known, by its word of `--spec-type`."""

METHOD_PARAMS = (*(param for params in METHODS.values() for param in params if param is not _MOST), _MOST)
"""All of them, for whoever lists what can be set."""


def spec_type(method: str) -> str:
    """The word of `--spec-type` that means a method."""
    return SPEC_TYPES.get(method, method)


def params_of(kind: str, flags: Flags) -> tuple[Param, ...]:
    """The parameters of a `--spec-type`: known ones, else those that the help has flags for, named as others are."""
    if kind in METHODS:
        return METHODS[kind]
    if kind.startswith("ngram"):
        for named in (_of_sizes(kind), _of_matches(kind)):
            if any(param.flags[CURRENT] in flags for param in named if CURRENT in param.flags):
                return named
    return _of_drafts(kind)


def flag_of(param: Param, flags: Flags) -> str | None:
    """What a program calls a parameter: its dialect's name, or the other dialect's where the help lists only that."""
    own = param.flags.get(flags.dialect)
    if own is not None and (own in flags or not flags.known):
        return own
    if own is None and param is _MOST:
        return None  # a build of today has no such bound, though it may list the flag as one of its draft models
    return next((flag for flag in param.flags.values() if flag in flags), None)


def arguments(key: LoadKey, k: str, flags: Flags) -> Iterator[str]:
    """The flags of a load that speculates by `key.method`, with K as `k`; what has no flag here is left out."""
    kind = spec_type(key.method)
    yield from ("--spec-type", kind)
    # Sent whether the method has them or not: some builds read them for all.
    values = {"k": k, "k_most": k, "n_min": "0", "p_min": "0", **SETTINGS}
    values |= params_of_stage(key.stages[0])
    for param in params_of(kind, flags):
        flag = flag_of(param, flags)
        if flag is not None and param.name in values:
            yield from (flag, values[param.name])


def cannot(key: LoadKey, flags: Flags, program: str) -> str | None:
    """Why a program cannot serve a load of another method than a draft model; None when it can, as far as is known."""
    kind = spec_type(key.method)
    if "--spec-type" not in flags:
        return f"{program} has no {key.method}: its --help lists no --spec-type, only flags for draft models"
    if kind not in flags.spec_types:
        listed = ", ".join(word for word in flags.spec_types if word != "none")
        return f"{program} has no {key.method}: its --spec-type takes {listed}"
    if needs_draft_model(key.method) and key.draft is None:
        return f"{key.method} drafts with a model of its own, and this load has none"
    params = {param.name: flag_of(param, flags) for param in params_of(kind, flags)}
    if params.get("k") is None:
        return f"{program} lists no flag for the draft length of {key.method}"
    for name in key.stages[0].params:
        if params.get(name) is None:
            return f"{program} has no flag for {AXES[name].what} of {key.method}; leave {name} out for it"
    return None
