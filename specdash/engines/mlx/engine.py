"""The mlx engine: the stock mlx_lm.server, or specdash-mlx, our own server of the same models.

Both take folders of safetensors, and K from each request. The stock server tells no times and nothing of drafting; it
is always started with `--prompt-cache-size 0`, since it keeps prompts otherwise, and with a draft model loaded answers
wrongly from what it kept (mlx_lm 0.32.2). `engine.args` may override that: then the samples show cached tokens, and do
not count. specdash-mlx (`mlx_server`) tells what llama-server tells, in its protocol.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from specdash.core.engine import (
    ACCEPTED,
    ALIAS,
    DRAFTED,
    K_SEEN,
    TIMINGS,
    TOKEN_IDS,
    UNKNOWN,
    Cause,
    CauseKind,
    Endpoint,
    EngineClient,
    EngineInfo,
    FindContext,
    Param,
    ServerSpec,
)
from specdash.core.engine_kinds import KINDS, MLX_SERVER, SPECDASH_MLX
from specdash.core.events import K_PLACE
from specdash.core.generation import Piece, PromptRead
from specdash.core.plan import LoadKey
from specdash.core.profile import EngineConfig
from specdash.engines.base import BaseEngine
from specdash.engines.llama_cpp import stream as llama_stream
from specdash.engines.llama_cpp.flags import parse_help
from specdash.engines.llama_cpp.server import LlamaClient
from specdash.engines.log_diagnosis import hints, last_cause
from specdash.engines.mlx.client import STOCK_K, StockClient
from specdash.engines.openai import stream as openai_stream
from specdash.engines.params import Value, sampling_params, start_words
from specdash.engines.placeholders import with_environment
from specdash.engines.program_help import BRIEF_LIMIT_S, run_briefly
from specdash.errors import EngineError

KIND = "mlx"
STOCK, OWN = MLX_SERVER, SPECDASH_MLX
PROGRAMS = (STOCK, OWN)
INSTALL = KINDS[KIND].install
MODULE = "mlx_lm"

_BOTH = (STOCK, OWN)
_DRAFT = (
    "the draft's folder; a request to the stock server could name another, at the price of loading both again, and none"
    " of ours does"
)
_KV_START = (
    "tokens after which the KV cache is quantised: 5000, so that kv_bits does nothing to shorter texts unless this is"
    " set to 0"
)


def _argument(name: str, about: str, *, of: tuple[str, ...] = _BOTH, default: int | None = None) -> Param:
    """The row of a flag that a profile sets in `engine.args`; `of` are the programs that have it."""
    flags = dict.fromkeys(of, f"--{name.replace('_', '-')}")
    return Param(name, "startup", flags, None, about, "engine.args", default)


PARAMS: tuple[Param, ...] = (
    Param("model", "startup", dict.fromkeys(_BOTH, "--model"), None, "the model folder", "targets.path"),
    Param("draft", "reload", dict.fromkeys(_BOTH, "--draft-model"), None, _DRAFT, "drafts.path"),
    STOCK_K,
    _argument(
        "prompt_cache_size",
        "prompts kept for later requests; 0, since answers from them are wrong where a draft is loaded",
        of=(STOCK,),
        default=0,
    ),
    _argument("kv_bits", "bits of a quantised KV cache"),
    _argument("kv_group_size", "group size of a quantised KV cache"),
    _argument("quantized_kv_start", _KV_START),
    _argument("max_kv_size", "most tokens that the KV cache keeps; not with a draft", of=(OWN,)),
    _argument("prefill_step_size", "prompt tokens processed at a time"),
    _argument(
        "decode_concurrency",
        "requests decoded together; with a draft, a seed or kv_bits they are served one at a time all the same",
        of=(STOCK,),
    ),
    *sampling_params(),
)

_INFERRED = (
    "mlx_lm.server tells nothing of drafting: it is inferred from how tokens arrive, where that is clear, and counts"
    " where a step of any answer accepted as many tokens as K says."
)
NOT_REPORTED: Mapping[str, str] = MappingProxyType(
    {
        TIMINGS: "mlx_lm.server sends no times of its own, so that this machine's clock counts; the first tokens of a"
        " drafted answer arrive together and are left out of its rate, and a short answer where they do not show has"
        " none.",
        TOKEN_IDS: "mlx_lm.server sends no token ids in a stream, so that texts are compared by their characters.",
        DRAFTED: _INFERRED,
        ACCEPTED: _INFERRED,
        K_SEEN: _INFERRED,
        ALIAS: "mlx_lm.server cannot be given a name, so that only the port proves whose it is.",
    }
)
_NEEDED = {"--model", "--draft-model", "--num-draft-tokens", "--port"}
_NO_MEMORY = hints(
    (
        r"insufficient memory|out of memory|failed to allocate|unable to allocate",
        "It ran out of memory: a smaller or more quantised model, a shorter context, or --kv-bits.",
    ),
)
_ARGUMENTS = hints(
    (
        r"unrecognized arguments|invalid argument:|the following arguments",
        "This build does not know a flag in engine.args or configs.args; see its --help.",
    ),
    kind=CauseKind.NOT_K,
)
_PORT = hints(
    (r"address already in use|couldn't bind", "The port is taken by another program; set engine.port = 0."),
    kind=CauseKind.PORT_TAKEN,
)
_OTHERS = hints(
    (
        r"has no (config\.json|weights|tokenizer)|is no folder|repo id must be|no safetensors found"
        r"|does not appear to have a file named|\S*config\.json",
        "An MLX model is a folder with config.json, model*.safetensors and a tokenizer; check the path, and that"
        " its download is whole. GGUF files are for llama-server.",
    ),
    (
        r"model type \S+ not supported|requires importing and running a custom module",
        "This mlx-lm does not know the model; use a newer one, or --trust-remote-code where the model asks for it.",
    ),
    (
        r"speculative decoding (needs a cache|requires a trimmable)",
        "This kind of model cannot speculate on MLX, since its cache cannot be rewound.",
    ),
    (r"No module named '?mlx|mlx_lm is missing", INSTALL),
    (
        r"failed to load model|generation thread died|safetensors",
        "The model cannot be loaded; check that its download is whole, and that this mlx-lm knows its kind.",
    ),
)
HINTS = (*_NO_MEMORY, *_ARGUMENTS, *_PORT, *_OTHERS)


class MlxEngine(BaseEngine):
    """One of the two programs, and how to start and address it; implements core.engine.Engine."""

    hints = HINTS

    def __init__(self, command: Sequence[str], info: EngineInfo, filler: str) -> None:
        self._command = tuple(command)
        self._filler = filler
        self.info = info

    def unsupported_reason(self, key: LoadKey, *, vision: bool = False) -> str | None:
        """All but baselines and draft models, and what MLX decides when a model is converted."""
        if vision:
            return "MLX servers are asked for text alone here"
        if key.value("moe_experts") is not None:
            return "MLX has no way to set how many experts a model uses"
        if not key.is_plain:
            return f"MLX speculates with a draft model only, not with {key.method}"
        return None

    def endpoint(self, spec: ServerSpec, port: int, alias: str) -> Endpoint:
        """On this port of loopback; only our own server can be given a name."""
        return Endpoint(port, alias if self.info.dialect == OWN else "")

    def command(self, spec: ServerSpec, endpoint: Endpoint) -> tuple[str, ...]:
        """The argument list of a server start; of a flag that is given twice the later one, the user's, counts."""
        listen = ("--host", "127.0.0.1", "--port", str(endpoint.port))
        name = ("--alias", endpoint.alias) if self.info.dialect == OWN else ()
        return (*self._command, *self._parameters(spec, str(spec.key.k_startup)), *listen, *name, *spec.args)

    def command_to_paste(self, spec: ServerSpec) -> tuple[str, ...]:
        """The command as a user would type it, by the program's own name where it is started through a Python."""
        program = (self.info.dialect,) if len(self._command) > 1 else self._command
        return with_environment(spec.env, (*spec.wrap, *program, *self._parameters(spec, K_PLACE), *spec.args))

    def _parameters(self, spec: ServerSpec, k: str) -> list[str]:
        """The flags of a load; a baseline carries no draft flag at all."""
        values: dict[str, Value] = {"model": str(spec.target)}
        if spec.draft is not None:
            values |= {"draft": str(spec.draft), "k": k}
        return start_words(PARAMS, values, lambda param: param.flags.get(self.info.dialect))

    def client(self, spec: ServerSpec, endpoint: Endpoint) -> EngineClient:
        """A client of the server that was started as `spec` at `endpoint`."""
        if self.info.dialect == OWN:
            return LlamaClient(endpoint, spec.templated, self._filler)
        return StockClient(endpoint, spec, self._filler)

    def decode_partial(self, received: Sequence[tuple[float, bytes]]) -> tuple[Piece | PromptRead, ...]:
        """What these events of an answer that is not whole yet say."""
        return (
            llama_stream.decode_partial(received)
            if self.info.dialect == OWN
            else openai_stream.decode_partial(received)
        )

    def diagnose(self, log_tail: str) -> Cause | None:
        """What its log tells of a failure."""
        return last_cause(log_tail, self.hints)


def find(config: EngineConfig, context: FindContext) -> MlxEngine:
    """The engine for `engine.program`: mlx_lm.server or specdash-mlx, each also as NAME:PYTHON, or a path of either.

    EngineError says what is wrong with it. A script by one of these names has to have mlx_lm beside its Python; of any
    other program the --help is read, which takes seconds: mlx_lm is loaded for it.
    """
    command, python = resolve_mlx_program(config.program)
    shown_as, env = config.program, context.env
    name = Path(shown_as.partition(":")[0]).name
    dialect = name if name in PROGRAMS and python is not None else _dialect(command, shown_as, env)
    if dialect == OWN:
        said = run_briefly([*command, "--version"], shown_as, BRIEF_LIMIT_S, env).strip()
        if not said.startswith("version: "):
            raise _not_mlx(shown_as, said)
        version = said.removeprefix("version: ")
    else:
        version = _version(python, shown_as, env)
    untold = {} if dialect == OWN else dict(NOT_REPORTED)
    return MlxEngine(command, EngineInfo(KIND, shown_as, version, dialect, context.k_scope, untold), context.filler)


def _dialect(command: Sequence[str], shown_as: str, env: Mapping[str, str] | None) -> str:
    """Which of the two programs answers --help so; EngineError for neither."""
    text = run_briefly([*command, "--help"], shown_as, BRIEF_LIMIT_S, env)
    known, _removed = parse_help(text)
    if not known >= _NEEDED:
        raise _not_mlx(shown_as, text)
    return OWN if "--alias" in known else STOCK


def resolve_mlx_program(program: str) -> tuple[tuple[str, ...], str | None]:
    """The command that starts `program`, and the Python that runs it if that is known; EngineError for none."""
    name, _, python = program.partition(":")
    if name in PROGRAMS and python and shutil.which(python) is None:
        raise EngineError(f"engine.program: there is no Python at {python}", f'Use "{name}:PATH-OF-PYTHON".')
    if name == OWN:
        python = python or sys.executable
        return (python, "-I", str(Path(__file__).parents[2] / "programs" / "mlx_server")), python
    if name == STOCK and python:
        return (python, "-m", MODULE, "server"), python
    path = shutil.which(program) if os.sep not in program else program
    if path is not None:
        return (path,), _interpreter(Path(path))
    if name == STOCK and find_spec(MODULE) is not None:
        return (sys.executable, "-m", MODULE, "server"), sys.executable
    raise EngineError(f"engine.program: {program} is not on PATH", f'{INSTALL}, or use "{STOCK}:PATH-OF-PYTHON".')


def _interpreter(script: Path) -> str | None:
    """The Python in the first line of a script; None for a program of another kind."""
    try:
        with script.open("rb") as file:
            first = file.readline(4096).decode("utf-8", "replace")
    except OSError:
        return None
    words = first.removeprefix("#!").split()
    return words[0] if first.startswith("#!") and words and "python" in words[0] else None


def _version(python: str | None, shown_as: str, env: Mapping[str, str] | None) -> str:
    """The versions of mlx_lm and mlx beside a Python, "unknown" without one to ask; EngineError without mlx_lm."""
    if python is None:
        return UNKNOWN
    code = "from importlib.metadata import version as v; print('versions', v('mlx-lm'), v('mlx'))"
    text = run_briefly([python, "-c", code], shown_as, BRIEF_LIMIT_S, env)
    words = text.split()
    if words[:1] != ["versions"] or len(words) != 3:
        raise _not_mlx(shown_as, text)
    return f"mlx_lm {words[1]}, mlx {words[2]}"


def _not_mlx(shown_as: str, text: str) -> EngineError:
    """The error for a program that does not answer as an MLX server does."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = lines[-1] if lines else "nothing"
    if re.search(r"No module named|is missing|No package metadata", said):
        return EngineError(f"engine.program: {shown_as} lacks mlx-lm: {said[:200]}", INSTALL)
    return EngineError(
        f"{shown_as} does not look like an MLX server: its --help lists no --num-draft-tokens (it says:"
        f" {lines[0][:120] if lines else said!r})",
        f'Set engine.program to "{STOCK}" or "{OWN}".',
    )
