"""What specdash-mlx takes: the flags of its start, and the bodies of requests."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "*.tiktoken")


class MlxServerError(Exception):
    """A command line that cannot be used; the message is what the user reads."""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are RefusedError."""

    def error(self, message: str) -> NoReturn:
        raise MlxServerError(f"error: {message}")


# Flag, placeholder of its value, type, default, help. Names and defaults are mlx_lm's own where it has them.
# fmt: off
FLAGS: tuple[tuple[str, str, Callable[[str], Any], Any, str], ...] = (
    ("--model", "FOLDER", Path, None, "the model: a folder with config.json, *.safetensors and a tokenizer"),
    ("--adapter-path", "FOLDER", str, None, "LoRA adapters for the model"),
    ("--draft-model", "FOLDER", Path, None, "the draft model for speculative decoding"),
    ("--num-draft-tokens", "N", int, 3, "tokens to draft for each verification, where a request does not say (3)"),
    ("--host", "HOST", str, "127.0.0.1", "IP address to listen on (127.0.0.1)"),
    ("--port", "PORT", int, 8080, "port to listen on, 0 = any free one (8080)"),
    ("--alias", "STRING", str, "", "name of the model in answers (its folder's name)"),
    ("--kv-bits", "N", int, None, "bits of a quantised KV cache, such as 4 or 8 (not quantised)"),
    ("--kv-group-size", "N", int, 64, "group size of a quantised KV cache (64)"),
    ("--quantized-kv-start", "N", int, 5000, "tokens after which the KV cache is quantised, with --kv-bits (5000)"),
    ("--max-kv-size", "N", int, None, "most tokens that the KV cache keeps; not with a draft model"),
    ("--prefill-step-size", "N", int, 2048, "prompt tokens processed at a time (2048)"),
    ("--temp", "N", float, 0.0, "temperature, where a request does not say (0)"),
    ("--top-p", "P", float, 1.0, "nucleus sampling (1 = off)"),
    ("--top-k", "N", int, 0, "sampling from the N likeliest tokens (0 = off)"),
    ("--min-p", "P", float, 0.0, "least probability beside the likeliest token's (0 = off)"),
    ("--max-tokens", "N", int, 512, "tokens to generate, where a request does not say (512)"),
    ("--chat-template-args", "JSON", json.loads, {}, 'arguments of the chat template, as {"enable_thinking": false}'),
)
# fmt: on


def parser() -> argparse.ArgumentParser:
    """The command line; its help has llama-server's two columns."""

    def wide(prog: str) -> argparse.HelpFormatter:
        return argparse.HelpFormatter(prog, max_help_position=34, width=120)

    made = _Parser("specdash-mlx", description="An MLX server that tells its timings.", formatter_class=wide)
    made.allow_abbrev = False
    made.add_argument("--version", action="store_true", help="print the versions of mlx_lm and mlx, and exit")
    made.add_argument("--trust-remote-code", action="store_true", help="run code that comes with a model")
    for flag, hint, kind, default, words in FLAGS:
        made.add_argument(flag, metavar=hint, type=kind, default=default, help=words)
    return made


def options_of(args: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked; RefusedError. Exits after --help."""
    options, rest = parser().parse_known_args(args)
    if rest:
        raise MlxServerError(f"error: invalid argument: {rest[0]}")
    if options.version:
        return options
    if options.model is None:
        raise MlxServerError("error: no model: give one with --model FOLDER")
    if not isinstance(options.chat_template_args, dict):
        raise MlxServerError("error: argument --chat-template-args: not a JSON object")
    if options.num_draft_tokens < 0 or options.max_tokens < 1:
        raise MlxServerError("error: --num-draft-tokens and --max-tokens count tokens")
    if options.draft_model is not None and options.max_kv_size is not None:
        raise MlxServerError("error: --max-kv-size cannot be used with --draft-model: such a cache cannot be rewound")
    require_folder(options.model, "--model")
    if options.draft_model is not None:
        require_folder(options.draft_model, "--draft-model")
    options.alias = options.alias or options.model.resolve().name
    return options


def require_folder(path: Path, flag: str) -> None:
    """RefusedError for a folder that is no MLX model."""
    if not os.path.isdir(path):
        raise MlxServerError(f"error: {flag}: {path} is no folder; name one with config.json and model*.safetensors")
    needed = (("config.json", ("config.json",)), ("weights", ("model*.safetensors",)), ("tokenizer", TOKENIZERS))
    for what, names in needed:
        if not any(True for name in names for _ in path.glob(name)):
            raise MlxServerError(f"error: {flag}: {path} has no {what} (none of {', '.join(names)})")


def versions() -> str:
    """The versions of what generates; RefusedError when it is not installed."""
    missing = [name for name in ("mlx_lm", "mlx") if importlib.util.find_spec(name) is None]
    if missing:
        raise MlxServerError(f"error: {missing[0]} is missing; install it: pip install 'specdash[mlx]'")
    return f"mlx_lm {importlib.metadata.version('mlx-lm')}, mlx {importlib.metadata.version('mlx')}"


# -- requests ------------------------------------------------------------------------------------------------------


class BadRequestError(Exception):
    """A request that cannot be served; the message is what its client reads."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One generation; `k` is None without a draft model. `sampling` is named as mlx_lm names it."""

    prompt: str | list[int]
    max_tokens: int
    sampling: Mapping[str, float]
    seed: int
    k: int | None
    with_probs: bool
    stream: bool


def ask_of(body: Mapping[str, Any], options: argparse.Namespace, *, drafts: bool) -> Ask:
    """What a body asks for, with the command line's values for what it leaves open; BadRequestError."""
    prompt = body.get("prompt")
    k = _number(body, "speculative.n_max", int, options.num_draft_tokens, least=0)
    seed = _number(body, "seed", int, -1, least=-1)
    return Ask(
        prompt=prompt if isinstance(prompt, str) else tokens_in(prompt),
        max_tokens=_number(body, "n_predict", int, options.max_tokens, least=1),
        sampling={
            "temp": _number(body, "temperature", float, options.temp, least=0),
            "top_p": _number(body, "top_p", float, options.top_p, least=0),
            "top_k": _number(body, "top_k", int, options.top_k, least=0),
            "min_p": _number(body, "min_p", float, options.min_p, least=0),
        },
        seed=seed if seed >= 0 else time.time_ns() & 0xFFFFFFFF,
        k=k if drafts else None,
        with_probs=_number(body, "n_probs", int, 0, least=0) > 0,
        stream=body.get("stream") is True,
    )


def tokens_in(value: Any) -> list[int]:
    """A list of token ids; BadRequestError."""
    if not isinstance(value, list) or not all(type(token) is int and 0 <= token < 2**31 for token in value):
        raise BadRequestError("wanted: a text, or a list of token ids")
    return value


def _number(body: Mapping[str, Any], name: str, kind: type, default: Any, *, least: float) -> Any:
    """A number of a request's body, or the default."""
    value = body.get(name, default)
    good = isinstance(value, int) or (kind is float and isinstance(value, float) and math.isfinite(value))
    if not good or isinstance(value, bool) or not least <= value < 2**63:
        raise BadRequestError(f"{name} must be {'a whole' if kind is int else 'a'} number of at least {least:g}")
    return value
