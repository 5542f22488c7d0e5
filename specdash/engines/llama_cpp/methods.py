"""The parameters of llama.cpp's programs, one row each: the flags that set them and the fields of a request.

A load speculates by one word of `--spec-type`, and every such method has rows of its own: all have one for the draft
length K, some have one for the n-gram that is looked up, and most have more by which a build drafts less than K by
itself. The defaults of those are such that K alone decides. Names differ between builds, so a flag is chosen by what
the program's own help lists. Pure.

What was seen on b11669: `ngram-mod` drafts nothing below its `n-min`, which is 48 where nobody sets it; `ngram-cache`
says `n_draft=8` whatever K is; `--spec-draft-n-max` does not bound the n-gram methods. In builds of early 2026
`--draft-max`, 16 where nobody sets it, bounds them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from specdash.core.axes import AXES
from specdash.core.engine import Param, ServerSpec
from specdash.core.methods import BASELINE, DRAFT, LOOKUP, MTP, WITH_DRAFT_MODEL, needs_draft_model
from specdash.core.plan import LoadKey
from specdash.engines.llama_cpp.flags import CURRENT, OLD, Flags
from specdash.engines.params import Value, sampling_params, stage_values, start_words

DRAFT_SIMPLE = "draft-simple"
SPEC_TYPES: Mapping[str, str] = MappingProxyType(
    {DRAFT: DRAFT_SIMPLE, "ngram": "ngram-simple", LOOKUP: "ngram-cache", MTP: "draft-mtp"}
    | {method: f"draft-{method}" for method in WITH_DRAFT_MODEL if method != DRAFT}
)
"""The words of `--spec-type` for methods that specdash names otherwise; other methods have llama.cpp's own names."""

_K_KEY, _N_KEY = "sweep.k", "sweep.ngram_n"


def _flags(current: str, old: str) -> Mapping[str, str]:
    return {CURRENT: current, OLD: old}


TARGET = Param("target", "startup", _flags("-m", "-m"), None, "the model that is sped up", "targets.path")
DRAFT_MODEL = Param("draft", "startup", _flags("-md", "-md"), None, "the model that proposes tokens", "drafts.path")
EXPERTS = Param(
    "moe_experts",
    "startup",
    _flags("--override-kv", "--override-kv"),
    None,
    "experts used for each token of a mixture-of-experts model",
    "sweep.moe_experts",
)
_METHOD = Param("spec_type", "startup", _flags("--spec-type", "--spec-type"), None, "what drafts", "sweep.methods")
_MOST = Param("k_most", "startup", {OLD: "--draft-max"}, None, "the most that any method may draft", _K_KEY)

K = Param(
    "k",
    "request",
    _flags("--spec-draft-n-max", "--draft-max"),
    "speculative.n_max",
    "tokens drafted for each verification; builds since mid-2026 ignore it in requests",
    _K_KEY,
)
SPECULATION = (
    Param("spec_type", "startup", {CURRENT: "--spec-type"}, None, "without draft-simple a draft model is never used"),
    K,
    Param(
        "n_min",
        "request",
        _flags("--spec-draft-n-min", "--draft-min"),
        "speculative.n_min",
        "shortest draft worth verifying; 0 unless asked for, so that K alone decides",
        "sweep.n_min",
        default=0,
    ),
    Param(
        "p_min",
        "request",
        _flags("--spec-draft-p-min", "--draft-p-min"),
        "speculative.p_min",
        "confidence below which a draft stops; 0 unless asked for, as old builds have 0.75 and then draft fewer than K",
        "sweep.p_min",
        default=0.0,
    ),
)
"""Of a draft model that drafts as usual. All of them are sent with a request, where it says K.

A row that has the name of an axis of stages is set to the value of the load's first stage, and to its `default` where
that has none.
"""

_ABOUT_DRAFTS = {
    "k": "tokens drafted for each verification",
    "n_min": "shortest draft worth verifying; 0 unless asked for",
    "p_min": "confidence below which a draft stops; 0 unless asked for",
}


def _of_drafts(kind: str) -> tuple[Param, ...]:
    """The parameters of a method that drafts with a model or a part of one, and of those with no flags of their own."""
    return (
        _METHOD,
        *(_as_start_up(row, kind) for row in SPECULATION if row.name in _ABOUT_DRAFTS),
    )


def _as_start_up(row: Param, kind: str) -> Param:
    """A parameter of drafts as a start-up flag of a method; one that the method does not have is no key of profiles."""
    about, axis = f"{kind}: {_ABOUT_DRAFTS[row.name]}", AXES[row.name]
    if row.name != "k" and not axis.is_of(kind.removeprefix("draft-")):
        return replace(row, scope="startup", field=None, help=about.replace("0 unless asked for", "always 0"), key="")
    return replace(row, scope="startup", field=None, help=about)


def _ngram_size(kind: str, flag: str) -> Param:
    """The parameter for the size of the looked-up n-gram; builds before have one flag for all methods."""
    flags = _flags(f"--spec-{kind}-{flag}", "--spec-ngram-size-n")
    return Param("ngram_n", "startup", flags, None, f"{kind}: tokens of the n-gram that is looked up", _N_KEY)


def _most_drafted(kind: str, flag: str, old: str) -> Param:
    """The parameter for K of a method that may draft fewer."""
    flags = _flags(f"--spec-{kind}-{flag}", old)
    return Param("k", "startup", flags, None, f"{kind}: the most tokens drafted for each verification", _K_KEY)


def _of_sizes(kind: str) -> tuple[Param, ...]:
    """The parameters of a method that looks n-grams up in the text and has its flags named by `size`."""
    return (
        _METHOD,
        _ngram_size(kind, "size-n"),
        _most_drafted(kind, "size-m", "--spec-ngram-size-m"),
        Param(
            "min_hits",
            "startup",
            _flags(f"--spec-{kind}-min-hits", "--spec-ngram-min-hits"),
            None,
            f"{kind}: how often an n-gram must have been seen; 1, so that K alone decides",
            default=1,
        ),
        _MOST,
    )


def _of_matches(kind: str) -> tuple[Param, ...]:
    """The parameters of a method whose flags are named as those of `ngram-mod`."""
    return (
        _METHOD,
        _ngram_size(kind, "n-match"),
        _most_drafted(kind, "n-max", "--draft-max"),
        Param(
            "n_min",
            "startup",
            _flags(f"--spec-{kind}-n-min", "--draft-min"),
            None,
            f"{kind}: shortest draft worth verifying; 0 unless asked for, as by itself it may be longer than K",
            "sweep.n_min",
            default=0,
        ),
    )


METHODS: Mapping[str, tuple[Param, ...]] = MappingProxyType(
    {DRAFT_SIMPLE: SPECULATION}
    | {kind: _of_sizes(kind) for kind in ("ngram-simple", "ngram-map-k", "ngram-map-k4v")}
    | {"ngram-mod": _of_matches("ngram-mod"), "ngram-cache": _of_drafts("ngram-cache")}
    | {kind: _of_drafts(kind) for kind in ("draft-mtp", "draft-eagle3", "draft-dflash", "draft-dspark")}
)
"""The parameters of every method that is known, by its word of `--spec-type`."""

START_PARAMS = (
    TARGET,
    DRAFT_MODEL,
    *SPECULATION,
    EXPERTS,
    *(row for kind, rows in METHODS.items() if kind != DRAFT_SIMPLE for row in rows if row not in (_METHOD, _MOST)),
    _MOST,
)
"""All that is set at a start, for whoever lists what can be set."""

SAMPLING = sampling_params({"max_tokens": "n_predict"})


def spec_type(method: str) -> str:
    """The word of `--spec-type` that means a method."""
    return SPEC_TYPES.get(method, method)


def params_of(kind: str, flags: Flags) -> tuple[Param, ...]:
    """The parameters of a `--spec-type`: known ones, else those that the help has flags for, named as others are."""
    if kind in METHODS:
        return METHODS[kind]
    if kind.startswith("ngram"):
        for named in (_of_sizes(kind), _of_matches(kind)):
            if any(param.flags[CURRENT] in flags for param in named[1:] if CURRENT in param.flags):
                return named
    return _of_drafts(kind)


def flag_of(param: Param, flags: Flags) -> str | None:
    """What a program calls a parameter: its dialect's name, or the other dialect's where the help lists only that.

    None where its dialect has none. A build of today has no `--draft-max` for all methods, for example, though it may
    list the flag as one of its draft models.
    """
    own = param.flags.get(OLD if flags.dialect == OLD else CURRENT)
    if own is None or own in flags or not flags.known:
        return own
    return next((flag for flag in param.flags.values() if flag in flags), None)


def stage_words(key: LoadKey, k: str, flags: Flags, stage: tuple[Param, ...] | None = None) -> list[str]:
    """The flags of how a load drafts, with K as `k`; none for a baseline.

    `stage` are the parameters of a program that drafts in one way only; None for those of the load's method.
    """
    kind = spec_type(key.method)
    if stage is None:
        stage = () if key.method == BASELINE else params_of(kind, flags)
    values = stage_values(stage, key.stages) | {"spec_type": kind, "k": k, "k_most": k}
    return start_words(stage, values, lambda param: flag_of(param, flags))


def start_arguments(spec: ServerSpec, k: str, flags: Flags, stage: tuple[Param, ...] | None = None) -> list[str]:
    """The flags of a load: its models, how it drafts (see `stage_words`), and its experts."""

    def own(param: Param) -> str:
        return param.flags[OLD if flags.dialect == OLD else CURRENT]

    values: dict[str, Value] = {"target": str(spec.target)}
    if spec.draft is not None:
        values["draft"] = str(spec.draft)
    experts = spec.key.value(EXPERTS.name)
    if experts is not None:
        values[EXPERTS.name] = f"{spec.architecture}.expert_used_count=int:{experts}"
    return [
        *start_words((TARGET, DRAFT_MODEL), values, own),
        *stage_words(spec.key, k, flags, stage),
        *start_words((EXPERTS,), values, own),
    ]


def unsupported_reason(key: LoadKey, flags: Flags, program: str) -> str | None:
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
    missing = missing_param(key, flags, params_of(kind, flags))
    if missing is not None:
        return f"{program} has no flag for {AXES[missing].what} of {key.method}; leave {missing} out for it"
    return None


def missing_param(key: LoadKey, flags: Flags, rows: Iterable[Param]) -> str | None:
    """The parameter of a load's first stage that a program has no flag for; None where nothing is missing."""
    known = {row.name for row in rows if flag_of(row, flags) is not None}
    return next((name for stage in key.stages[:1] for name in stage.params if name not in known), None)


def missing_for_experts(key: LoadKey, flags: Flags) -> str | None:
    """The flag for expert counts that a program lacks, where a load sets one; None where nothing is missing."""
    flag = EXPERTS.flags[CURRENT]
    return flag if key.value(EXPERTS.name) is not None and flag not in flags else None


def dialect_words(dialect: str) -> str:
    """The flag of K in a dialect, as a reader knows it."""
    return K.flags[dialect]
