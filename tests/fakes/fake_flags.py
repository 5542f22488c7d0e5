"""What the fake server is told: llama-server's flags in either dialect, and its behaviour from the environment.

`FAKE_DIALECT=current|old` chooses the flags (today's llama.cpp, or that of early 2026). `FAKE_SERVER` holds the
behaviour, as a JSON object or as `key=value,key=value`; the keys are the fields of Behaviour. Lists are JSON, or
`0.9/0.8`; pairs are JSON objects, or `0:1/8:1.6`. What the numbers of such a server have to be:
support/fake_truth.py.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NoReturn, cast

REMOVED = "the argument has been removed. use --spec-draft-n-max or --spec-ngram-mod-n-max"

# (names, value hint, text); a flag without a hint is a switch.
COMMON = (
    ("-h --help --usage", "", "print usage and exit"),
    ("--version", "", "show version and build info"),
    ("-t --threads", "N", "number of CPU threads to use during generation"),
    ("-tb --threads-batch", "N", "number of threads to use during batch and prompt processing"),
    ("-c --ctx-size", "N", "size of the prompt context"),
    ("-b --batch-size", "N", "logical maximum batch size"),
    ("-ub --ubatch-size", "N", "physical maximum batch size"),
    ("-fa --flash-attn", "[on|off|auto]", "set Flash Attention use"),
    ("-ctk --cache-type-k", "TYPE", "KV cache data type for K"),
    ("-ctv --cache-type-v", "TYPE", "KV cache data type for V"),
    ("-ngl --gpu-layers --n-gpu-layers", "N", "max. number of layers to store in VRAM"),
    ("--override-kv", "KEY=TYPE:VALUE,...", "advanced option to override model metadata by key"),
    ("--numa", "TYPE", "attempt optimizations that help on some NUMA systems"),
    ("-m --model", "FNAME", "model path to load"),
    ("-s --seed", "SEED", "RNG seed"),
    ("--warmup --no-warmup", "", "whether to perform warmup with an empty run"),
    ("-np --parallel", "N", "number of server slots"),
    ("-a --alias", "STRING", "set model name aliases, comma-separated"),
    ("--host", "HOST", "IP address to listen on"),
    ("--port", "PORT", "port to listen"),
    ("--metrics", "", "enable prometheus compatible metrics endpoint"),
    ("--slots --no-slots", "", "expose slots monitoring endpoint"),
    ("--jinja --no-jinja", "", "whether to use jinja template engine for chat"),
    ("--webui --no-webui", "", "whether to enable the Web UI"),
)
CURRENT = (
    ("-lm --load-mode", "MODE", "model loading mode (default: auto)"),
    ("--spec-draft-threads -td --threads-draft", "N", "number of threads to use during generation"),
    (
        "--spec-draft-ngl -ngld --gpu-layers-draft --n-gpu-layers-draft",
        "N",
        "max. number of draft model layers in VRAM",
    ),
    ("--spec-draft-type-k -ctkd --cache-type-k-draft", "TYPE", "KV cache data type for K for the draft model"),
    ("--spec-draft-type-v -ctvd --cache-type-v-draft", "TYPE", "KV cache data type for V for the draft model"),
    ("--spec-draft-model -md --model-draft", "FNAME", "draft model for speculative decoding (default: unused)"),
    (
        "--spec-type",
        "none,draft-simple,ngram-simple,ngram-mod",
        "comma-separated list of types of speculative decoding",
    ),
    ("--spec-draft-n-max", "N", "number of tokens to draft for speculative decoding (default: 3)"),
    ("--spec-draft-n-min", "N", "minimum number of draft tokens to use for speculative decoding (default: 0)"),
    ("--spec-draft-p-min --draft-p-min", "P", "minimum speculative decoding probability (greedy) (default: 0.00)"),
    ("--draft --draft-n --draft-max", "N", REMOVED),
    ("--draft-min --draft-n-min", "N", REMOVED.replace("-max", "-min")),
)
OLD = (
    ("--mlock", "", "force system to keep model in RAM rather than swapping or compressing"),
    ("--mmap --no-mmap", "", "whether to memory-map model"),
    ("-td --threads-draft", "N", "number of threads to use during generation"),
    ("--draft --draft-n --draft-max", "N", "number of tokens to draft for speculative decoding (default: 16)"),
    ("--draft-min --draft-n-min", "N", "minimum number of draft tokens to use for speculative decoding (default: 0)"),
    ("--draft-p-min", "P", "minimum speculative decoding probability (greedy) (default: 0.75)"),
    ("-ngld --gpu-layers-draft --n-gpu-layers-draft", "N", "max. number of draft model layers to store in VRAM"),
    ("-ctkd --cache-type-k-draft", "TYPE", "KV cache data type for K for the draft model"),
    ("-ctvd --cache-type-v-draft", "TYPE", "KV cache data type for V for the draft model"),
    ("-md --model-draft", "FNAME", "draft model for speculative decoding (default: unused)"),
)


Numbers = tuple[float, ...]
Pairs = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What this server does; every default is a healthy server. Counts of 0 mean never."""

    # speed
    load_s: float = 0.0  # 503 for so long
    speed: float = 1000.0  # tokens a second without speculation, in real time
    prompt_speed: float = 20000.0
    draft_cost: float = 0.05  # of one drafted token, in plain steps
    verify_cost: float = 0.05  # of each further token in a verification, in plain steps
    step_costs: Pairs = ()  # drafted tokens to the whole step's cost, in place of both; straight lines between them
    first_step_extra: float = 0.0  # of the first step behind a prompt, in plain steps
    noise: float = 0.0  # sigma of the logarithm of each step's time; the mean stays
    drift: float = 0.0  # relative change of speed a second, since `drift_since`
    drift_since: float = 0.0  # seconds since 1970; 0 = since this server's start
    drift_per_request: float = 0.0  # relative change of speed with each completion
    request_log: str = ""  # file by which servers count their completions together
    exact_clock: bool = False  # the server's clock tells planned times: no delay of this machine is in them
    burn_cpu_s: float = 0.0  # computes so long before the first token of a request
    clock_factor: float = 1.0  # the server's own clock, times this
    # speculation
    acceptance: float = 0.7  # chance of each drafted token
    acceptances: Numbers = ()  # by draft position in place of `acceptance`; the last one stays
    acceptance_where: Pairs = ()  # a word to the chance in prompts that hold it, in place of both
    models: str = ""  # JSON: part of a target's or draft's file name to keys for servers with it
    seed: int = 1
    k_scope: str = ""  # request | capped | startup; "" = as the dialect's real servers
    no_draft: bool = False
    no_draft_where: str = ""  # nothing is drafted for prompts with this word
    draft_in_baseline: bool = False
    replay: bool = False  # accepts every draft when a prompt comes twice in a row, as builds of early 2026 do
    # life and death
    exit_at_once: int = -1  # with this code, before anything else
    die_at_load: int = -1  # with this code, at the end of the load
    die_after_tokens: int = 0
    die_after_requests: int = 0
    die_code: int = 1
    die_signal: int = 0  # in place of the code
    death_text: str = ""
    ignore_term: bool = False
    spawn_child: bool = False
    setsid_child: bool = False
    signal_log: str = ""  # file that gets a line for every signal
    early_200: bool = False  # /health before the load is done
    reuseport: bool = False
    help_extra: str = ""
    stderr_mb: int = 0
    long_line: int = 0  # bytes
    # answers
    hang_after: int = 0  # tokens of a request; the rest never comes, /health does
    cut: int = 0  # tokens, then RST
    fin: int = 0  # tokens, then a clean end without the final event
    http500: int = 0  # so many completions are refused first
    http_status: int = 0  # of every completion
    drip: float = 0.0  # seconds before each byte of the stream
    split_utf8: bool = False
    u2028: bool = False
    tokens_text: str = ""  # text of every token
    differs_at: int = 0  # with a draft, another text from this token on (0-based)
    near_tie_at: int = 0  # the same, where the baseline was hardly sure either
    near_tie: float = 0.004  # nats by which it was sure there
    rounding: float = (
        0.0  # nats by which margins differ at most when the prompt was cached; at one place it is ten times that
    )
    wavers_at: int = 0  # every second completion has another text from this token on, baselines too
    eos_after: int = 0  # tokens of every answer
    no_timings: bool = False
    no_metrics: bool = False
    no_props: bool = False
    cached: int = -1  # tokens of every prompt that are said to be cached
    wrong_model: str = ""  # served in place of the model asked for


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    dialect: str
    model: str = ""
    draft: str = ""
    spec_type: str = "none"
    k: int = 3
    host: str = "127.0.0.1"
    port: int = 8080
    alias: str = ""
    metrics: bool = False
    n_ctx: int = 4096
    experts_share: float = 1.0  # of eight, the cost of a token with it

    @property
    def speculates(self) -> bool:
        """A draft model alone is loaded and never used by today's servers; it was enough for those before."""
        if self.dialect == "old":
            return bool(self.draft)
        return (bool(self.draft) and "draft-simple" in self.spec_type) or "ngram" in self.spec_type


def read_behaviour(text: str) -> Behaviour:
    """The behaviour from FAKE_SERVER's text; an unknown key is an error, or a test would pass for nothing."""
    text = text.strip()
    if text.startswith("{"):
        given = json.loads(text)
    else:
        given = dict(pair.partition("=")[::2] for pair in text.split(",") if pair)
    return changed(Behaviour(), given)


def changed(behaviour: Behaviour, given: Mapping[str, object]) -> Behaviour:
    """The behaviour with these keys set."""
    known = {field.name: str(field.type) for field in fields(Behaviour)}
    for key in given:
        if key not in known:
            raise SystemExit(f"FAKE_SERVER: unknown key {key!r}; known: {', '.join(sorted(known))}")
    return replace(behaviour, **{key: _value(known[key], value) for key, value in given.items()})  # type: ignore[arg-type]  # checked by kind


def _value(kind: str, value: object) -> object:
    """A value of a field of this type, from text or JSON; hashable, as the fields of a frozen class should be."""
    if kind == "Numbers":
        return tuple(float(each) for each in (value.split("/") if isinstance(value, str) else cast(list[float], value)))
    if kind == "Pairs":
        if isinstance(value, str):
            value = dict(pair.partition(":")[::2] for pair in value.split("/"))
        items = cast(Mapping[str, float], value).items() if isinstance(value, Mapping) else cast(Pairs, value)
        return tuple((str(name), float(number)) for name, number in items)
    if kind == "bool":
        return str(value).lower() in {"1", "true", "", "yes"}
    if kind == "str":
        return value if isinstance(value, str) else json.dumps(value)
    return (int if kind == "int" else float)(cast(str, value))


def behaviour_of(behaviour: Behaviour, *models: str) -> Behaviour:
    """The behaviour of a server with these model files: what `models` says of them on top, targets first."""
    special = json.loads(behaviour.models) if behaviour.models else {}
    for model in models:
        for part, keys in special.items():
            if part in Path(model).name:
                behaviour = changed(behaviour, keys)
    return behaviour


def table(dialect: str) -> tuple[tuple[str, str, str], ...]:
    """The flags of a dialect."""
    return COMMON + (OLD if dialect == "old" else CURRENT)


def help_text(dialect: str, extra: str) -> str:
    """The help in llama-server's layout."""
    lines = ["----- common params -----", ""]
    for names, hint, text in table(dialect):
        first, *rest = names.split()
        head = f"{first + ',':<6} {', '.join(rest)}" if rest else first
        head = f"{head} {hint}".rstrip()
        body = textwrap.wrap(text, 70)
        lines += [f"{head:<40}{body[0]}"] if len(head) < 40 else [head, " " * 40 + body[0]]
        lines += [" " * 40 + line for line in body[1:]]
    return "\n".join([*lines, extra, ""])


def read_options(args: list[str], dialect: str) -> Options:
    """The options, or llama-server's own complaint and exit code 1."""
    hints = {name: (names.split()[-1], hint, text) for names, hint, text in table(dialect) for name in names.split()}
    options = Options(dialect, k=16 if dialect == "old" else 3)
    rest = iter(args)
    for arg in rest:
        if arg not in hints:
            _refuse(f"error: invalid argument: {arg}")
        name, hint, text = hints[arg]
        if text.startswith("the argument has been removed"):
            _refuse(f'error while handling argument "{arg}": {text}\n\nto show complete usage, run with -h')
        value = next(rest, None) if hint else ""
        if value is None:
            _refuse(f'error while handling argument "{arg}": expected value for argument')
        options = _set(options, name, value)
    return options


def _set(options: Options, name: str, value: str) -> Options:
    """One flag, by the last of its names."""
    texts = {
        "--model": "model",
        "--model-draft": "draft",
        "--spec-type": "spec_type",
        "--host": "host",
        "--alias": "alias",
    }
    numbers = {"--draft-max": "k", "--spec-draft-n-max": "k", "--port": "port", "--ctx-size": "n_ctx"}
    if name in texts:
        return replace(options, **{texts[name]: value})  # type: ignore[arg-type]  # str fields only
    if name in numbers:
        return replace(options, **{numbers[name]: int(value)})  # type: ignore[arg-type]  # int fields only
    if name == "--metrics":
        return replace(options, metrics=True)
    if name == "--override-kv" and "expert_used_count=int:" in value:
        return replace(options, experts_share=int(value.rpartition(":")[2]) / 8)
    return options


def _refuse(text: str) -> NoReturn:
    """End as llama-server does when its command line is wrong."""
    raise SystemExit(text)
