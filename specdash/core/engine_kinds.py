"""The kinds of engine, one row for each: what configuration, commands and screens ask of a kind by its name.

A new kind is a row here and a module (or package) in `specdash.engines`. A row is data alone; how servers of a kind are
started and asked is its module's. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from specdash.core.axes import Axis
from specdash.core.draft_lengths import ANYTHING, LLAMA_CPP, Abilities
from specdash.core.methods import LOOKUP
from specdash.core.model import GGUF, MLX

EMBEDDED: Final = "embedded"
MLX_SERVER: Final = "mlx_lm.server"
SPECDASH_MLX: Final = "specdash-mlx"
BY_NAME: Final = "name"  # beside the formats of model files: the server knows its models by name


class KScope(StrEnum):
    """Who decides K. CAPPED: a request may go up to the value of the server's start, and no further."""

    REQUEST = "request"
    CAPPED = "capped"
    STARTUP = "startup"


@dataclass(frozen=True, slots=True)
class Program:
    """A program of a kind of engine, by the name that profiles give it.

    `package` is the Python package that it comes with ("" for a program of its own), `package_title` its name for
    people, `install` the command that installs it. The name of such a program may be followed by ":" and a Python.
    `on_path`: there may be an executable file of this name.
    """

    name: str
    package: str = ""
    package_title: str = ""
    install: str = ""
    on_path: bool = True


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of engine.

    `programs` are those to look for where a profile names none, the default first; () where the user brings the server,
    which `starters` may start if they are on PATH. `program_todo` says what to do where a program is missing;
    `takes_folder`: a folder may stand for the programs in it. `keys` are the keys of `[engine]` that not every kind
    has. `refused` are arguments and variables that the user may not set, with what to do instead: names parted by
    blanks; () where arguments are not looked at. `flag_axes` are the axes of `core.axes` that a flag of it sets, where
    not every kind has one. `k_scope` is who decides K, None where a probe has to tell.
    `model_format` is GGUF, MLX or BY_NAME. `fallback` is the kind that takes over what this one cannot serve ("" for
    none). `reach` is what to write where a profile says no way to a server. `new_profile` are the lines of `[engine]`
    in a new profile, "" for a kind that none is written for. `abilities` are what methods without a draft model can
    draft, by the name of the method. `renamed` are methods that have another name in results, `equal` pairs of methods
    that are the same here. `module` is where the engine is, below `specdash.engines`.
    """

    name: str
    title: str
    install: str
    module: str
    model_format: str
    programs: tuple[Program, ...] = ()
    starters: tuple[str, ...] = ()
    program_todo: str = ""
    takes_folder: bool = False
    keys: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    flag_axes: tuple[str, ...] = ()
    k_scope: KScope | None = None
    fallback: str = ""
    reach: str = ""
    new_profile: str = ""
    abilities: Mapping[str, Abilities] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    equal: tuple[tuple[str, str], ...] = ()

    @property
    def by_name(self) -> bool:
        """Whether it starts no program of its own, so that models may be known by name alone."""
        return self.model_format == BY_NAME

    def method_named(self, method: str) -> str:
        """The name that results have for a method on this kind of engine."""
        return self.renamed.get(method, method)

    def program(self, name: str) -> Program | None:
        """The program of that name; None for one that is not listed."""
        return next((program for program in self.programs if program.name == name), None)

    def abilities_of(self, method: str, args: Sequence[str] = ()) -> Abilities:
        """What a method can draft here, as far as it is known.

        `args` are the user's own: a size of the n-gram that they set is not known, and so leaves nothing out.
        """
        method = self.method_named(method)
        found = self.abilities.get(method, ANYTHING)
        sizes = ("--spec-ngram-size-n", f"--spec-{method}-size-n")
        is_set = any(arg.partition("=")[0] in sizes for arg in args)
        return replace(found, drops_below=None) if is_set else found

    def problem_with(self, axis: Axis, method: str) -> str | None:
        """Why an axis cannot be set for a method on this kind of engine; None where it can."""
        if not axis.is_of(method):
            return f"{method} has no {axis.name}"
        return None if self.sets(axis) else f'kind = "{self.name}" has no way to set {axis.name}'

    def sets(self, axis: Axis) -> bool:
        """Whether this kind of engine can set an axis, as far as is known here."""
        return not axis.is_flag or axis.name in self.flag_axes

    @property
    def keeping_history(self) -> frozenset[str]:
        """The methods whose servers keep what they have seen from request to request."""
        return frozenset(method for method, found in self.abilities.items() if found.keeps_history)


# -- arguments that specdash sets itself, or that a key of the profile sets ----------------------------------------

_TARGET = 'The models under test go in [[targets]], as path = "…"'
_DRAFT = 'The drafts under test go in [[drafts]], as path = "…"'
_K = "K goes in sweep.k"
_N_MIN, _P_MIN = "It goes in sweep.n_min", "It goes in sweep.p_min"
_METHOD = "What drafts is chosen by sweep.methods"
LOOPBACK_ONLY: Final = "Servers listen on 127.0.0.1. Leave it out"
_PORT = "It goes in engine.port (0 = any free port)"
_ALIAS = "specdash proves by it that the server is its own. Leave it out"
_SYNTHETIC = "Synthetic acceptance is no measurement. Leave it out"
_KEY = "specdash starts the server for itself alone, on 127.0.0.1 and without a key. Leave it out"
_ONE_AT_A_TIME = (
    "How many requests run at once is measure.concurrency's, and this version asks one at a time. Leave it out"
)

# As llama-server lists them, those of older builds too; the variables of the environment are the same flags.
_LLAMA_REFUSED: tuple[tuple[str, str], ...] = (
    ("-m --model LLAMA_ARG_MODEL -mu --model-url LLAMA_ARG_MODEL_URL -hf -hfr --hf-repo LLAMA_ARG_HF_REPO", _TARGET),
    ("-hff --hf-file LLAMA_ARG_HF_FILE -dr --docker-repo LLAMA_ARG_DOCKER_REPO", _TARGET),
    ("-md --model-draft --spec-draft-model LLAMA_ARG_SPEC_DRAFT_MODEL LLAMA_ARG_MODEL_DRAFT", _DRAFT),
    ("-hfd -hfrd --hf-repo-draft --spec-draft-hf LLAMA_ARG_SPEC_DRAFT_HF_REPO LLAMA_ARG_HFD_REPO", _DRAFT),
    ("--draft --draft-n --draft-max --spec-draft-n-max LLAMA_ARG_SPEC_DRAFT_N_MAX LLAMA_ARG_DRAFT_MAX", _K),
    ("--draft-min --draft-n-min --spec-draft-n-min LLAMA_ARG_SPEC_DRAFT_N_MIN LLAMA_ARG_DRAFT_MIN", _N_MIN),
    ("--draft-p-min --spec-draft-p-min LLAMA_ARG_SPEC_DRAFT_P_MIN LLAMA_ARG_DRAFT_P_MIN", _P_MIN),
    ("--spec-type --spec-default LLAMA_ARG_SPEC_TYPE", _METHOD),
    ("--spec-synth-len --spec-synth-rates LLAMA_ARG_SPEC_SYNTH_LEN LLAMA_ARG_SPEC_SYNTH_RATES", _SYNTHETIC),
    ("-mm --mmproj -mmu --mmproj-url LLAMA_ARG_MMPROJ LLAMA_ARG_MMPROJ_URL", "It goes in targets.mmproj"),
    ("-np --parallel LLAMA_ARG_N_PARALLEL", _ONE_AT_A_TIME),
    ("--port LLAMA_ARG_PORT", _PORT),
    ("-a --alias LLAMA_ARG_ALIAS", _ALIAS),
    ("--metrics LLAMA_ARG_ENDPOINT_METRICS", "specdash always sets it. Leave it out"),
    ("--api-key LLAMA_API_KEY --api-key-file LLAMA_ARG_API_KEY_FILE --api-prefix LLAMA_ARG_API_PREFIX", _KEY),
    ("--ssl-key-file LLAMA_ARG_SSL_KEY_FILE --ssl-cert-file LLAMA_ARG_SSL_CERT_FILE", _KEY),
    ("LLAMA_ARG_HOST", LOOPBACK_ONLY),
)
# A run of a program is one answer: what a request says to a server stands on its command line, before the user's own.
_LLAMA_CLI_REFUSED: tuple[tuple[str, str], ...] = (
    *_LLAMA_REFUSED,
    ("-n --predict --n-predict LLAMA_ARG_N_PREDICT", "It goes in measure.max_tokens"),
    ("--temp --temperature LLAMA_ARG_TEMPERATURE", "It goes in measure.temperature"),
    ("-s --seed", "It goes in measure.seed"),
    ("-p --prompt -f --file -bf --binary-file --image", "Prompts go in measure.prompts"),
)
_MLX_REFUSED: tuple[tuple[str, str], ...] = (
    ("--model", _TARGET),
    ("--draft-model", _DRAFT),
    ("--num-draft-tokens", _K),
    ("--port", _PORT),
    ("--alias", _ALIAS),
)

# -- the rows --------------------------------------------------------------------------------------------------

_LLAMA_FLAG_AXES = ("p_min", "n_min")
_INSTALL_EMBEDDED = 'pip install "specdash[embedded]"'
_INSTALL_MLX = 'pip install "specdash[mlx]"'
_SCRIPT_KEYS = ("launch", "stop", "health", "ready", "metrics", "pid_file", "cool_down_s")
_RENAMED: Mapping[str, str] = MappingProxyType({"ngram": "ngram-simple"})


def _missing(name: str) -> str:
    """What to do where the program of a kind is missing and no other one can take its place."""
    return f"Give its path; specdash doctor tells what kind {name} needs"


_ROWS = (
    Kind(
        "llama-server",
        "llama.cpp's server",
        "a llama-server on PATH (https://github.com/ggml-org/llama.cpp), or pip install 'specdash[embedded]'",
        "llama_cpp.server",
        GGUF,
        programs=(
            Program("llama-server"),
            Program(EMBEDDED, "xllamacpp", "the built-in llama.cpp", _INSTALL_EMBEDDED, on_path=False),
        ),
        program_todo=f'Give its path, or set program = "{EMBEDDED}" ({_INSTALL_EMBEDDED})',
        keys=("program",),
        refused=_LLAMA_REFUSED,
        flag_axes=_LLAMA_FLAG_AXES,
        fallback="llama-cli",
        new_profile="""\
kind = "llama-server"  # llama.cpp's server; others: docs/engines.md
program = {program}  # a name on PATH, a path, or "embedded": the llama.cpp inside specdash
args = ["-c", "4096"]  # for every server start; on a GPU add "-ngl", "99"; no shell, so one string for each word""",
        abilities={**LLAMA_CPP, LOOKUP: LLAMA_CPP["ngram-cache"]},
        renamed=_RENAMED,
        equal=((LOOKUP, "ngram-cache"),),
    ),
    Kind(
        "llama-cli",
        "llama.cpp's command-line programs",
        "llama-speculative-simple, llama-lookup, llama-completion and llama-mtmd-cli of one build of llama.cpp"
        " (https://github.com/ggml-org/llama.cpp) on PATH, or their folder as engine.program",
        "llama_cpp.cli",
        GGUF,
        programs=(Program("llama-speculative-simple"),),
        program_todo=_missing("llama-cli"),
        takes_folder=True,
        keys=("program",),
        refused=_LLAMA_CLI_REFUSED,
        flag_axes=_LLAMA_FLAG_AXES,
        k_scope=KScope.REQUEST,
        # A process for each answer remembers nothing; llama-lookup is a program of its own, which obeys K.
        abilities={method: replace(found, keeps_history=False) for method, found in LLAMA_CPP.items()},
        renamed=_RENAMED,
    ),
    Kind(
        "mlx",
        "MLX: mlx_lm.server, or specdash's own server of the same models, which tells its timings",
        "pip install 'specdash[mlx]'",
        "mlx.engine",
        MLX,
        programs=(
            Program(MLX_SERVER, "mlx_lm", "mlx-lm", _INSTALL_MLX),
            Program(SPECDASH_MLX, "mlx_lm", "mlx-lm", _INSTALL_MLX, on_path=False),
        ),
        program_todo=_missing("mlx"),
        keys=("program",),
        refused=_MLX_REFUSED,
        k_scope=KScope.REQUEST,
        new_profile="""\
kind = "mlx"  # mlx-lm; others: docs/engines.md
program = {program}  # our server around mlx-lm, which tells what was drafted; or "mlx_lm.server", the stock one
args = []  # for every server start, such as ["--kv-bits", "8"]; no shell, so one string for each word""",
    ),
    Kind(
        "script",
        "a server that scripts of yours start and stop: an MLX cluster, llama.cpp with RPC workers, containers",
        "nothing: write a launch script and a stop script; profiles/mlx-cluster.toml and llama-rpc.toml show how",
        "script",
        BY_NAME,
        starters=("mlx.launch",),
        keys=_SCRIPT_KEYS,
        k_scope=KScope.STARTUP,
        reach='Add launch = ["./launch.sh"]',
    ),
    Kind(
        "openai",
        "a server with /v1/chat/completions: vLLM, SGLang, LM Studio, Ollama and others",
        "pip install vllm, or start the server that you have and give its url",
        "openai.engine",
        BY_NAME,
        starters=("vllm", "sglang", "lms", "ollama"),
        keys=(*_SCRIPT_KEYS, "url", "api_key_env", "body"),
        k_scope=KScope.STARTUP,
        reach='Add url = "http://127.0.0.1:8000", or a launch command',
    ),
)

KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in _ROWS})
"""The kinds of engine that a profile may name, by name."""

DEFAULT: Final = _ROWS[0]
"""The kind of a profile that names none."""


def kind_named(name: str) -> Kind:
    """The row of a kind; an empty one for a name that is not listed, as journals of other versions may have."""
    return KINDS.get(name) or Kind(name, name, "", "", "")


def kind_of_format(model_format: str) -> Kind:
    """The first kind that loads models of a format: GGUF or MLX."""
    return next(kind for kind in _ROWS if kind.model_format == model_format)


def owners_of(key: str) -> tuple[str, ...]:
    """The kinds that have a key of `[engine]`, where not every kind has it; () for a key that all have."""
    return tuple(kind.name for kind in _ROWS if key in kind.keys)


OWN_KEYS: Final = tuple(dict.fromkeys(key for kind in _ROWS for key in kind.keys))
"""The keys of `[engine]` that only some kinds have."""
