"""The command line of the server, checked as far as that needs neither mlx nor a loaded model."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "*.tiktoken")


class RefusedError(Exception):
    """A command line that cannot be used; the message is what the user reads."""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are RefusedError."""

    def error(self, message: str) -> NoReturn:
        raise RefusedError(f"error: {message}")


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
        raise RefusedError(f"error: invalid argument: {rest[0]}")
    if options.version:
        return options
    if options.model is None:
        raise RefusedError("error: no model: give one with --model FOLDER")
    if not isinstance(options.chat_template_args, dict):
        raise RefusedError("error: argument --chat-template-args: not a JSON object")
    if options.num_draft_tokens < 0 or options.max_tokens < 1:
        raise RefusedError("error: --num-draft-tokens and --max-tokens count tokens")
    if options.draft_model is not None and options.max_kv_size is not None:
        raise RefusedError("error: --max-kv-size cannot be used with --draft-model: such a cache cannot be rewound")
    require_folder(options.model, "--model")
    if options.draft_model is not None:
        require_folder(options.draft_model, "--draft-model")
    options.alias = options.alias or options.model.resolve().name
    return options


def require_folder(path: Path, flag: str) -> None:
    """RefusedError for a folder that is no MLX model."""
    if not os.path.isdir(path):
        raise RefusedError(f"error: {flag}: {path} is no folder; name one with config.json and model*.safetensors")
    needed = (("config.json", ("config.json",)), ("weights", ("model*.safetensors",)), ("tokenizer", TOKENIZERS))
    for what, names in needed:
        if not any(True for name in names for _ in path.glob(name)):
            raise RefusedError(f"error: {flag}: {path} has no {what} (none of {', '.join(names)})")


def versions() -> str:
    """The versions of what generates; RefusedError when it is not installed."""
    missing = [name for name in ("mlx_lm", "mlx") if importlib.util.find_spec(name) is None]
    if missing:
        raise RefusedError(f"error: {missing[0]} is missing; install it: pip install 'specdash[mlx]'")
    return f"mlx_lm {importlib.metadata.version('mlx-lm')}, mlx {importlib.metadata.version('mlx')}"
