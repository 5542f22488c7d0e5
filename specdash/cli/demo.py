"""`specdash demo`: makes a small target and draft pair, and sweeps it with the built-in llama.cpp."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from specdash.cli import command_parser
from specdash.core.engine_kinds import DEFAULT, EMBEDDED
from specdash.errors import EngineError, Exit

HEADER = "# Written by `specdash demo`: a sweep of synthetic models, to see what specdash does.\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what this command takes."""
    parser.add_argument("--moe", action="store_true", help="sweep the mixture of experts too")
    parser.add_argument(
        "--epsilon", type=float, default=0.05, metavar="E", help="0.02: the draft is nearly always right; 0.2: seldom"
    )
    parser.add_argument("--full", action="store_true", help="all nine prompt categories, five samples each")
    parser.add_argument("--results", default="results", metavar="DIR", help="where the run goes (default: results)")
    parser.add_argument("--models", metavar="DIR", help="where the models go (default: this user's cache)")
    parser.add_argument("--write-only", action="store_true", help="run nothing; print where the profile is")


def main(name: str, arguments: list[str]) -> Exit:
    """Writes the models and a profile into a cache folder, and runs the profile."""
    parser = command_parser(name)
    options = parser.parse_args(arguments)
    import tomli_w
    from platformdirs import user_cache_path

    from specdash.cli.run import headless
    from specdash.engines.demo import write_moe, write_pair
    from specdash.store.disk import write_atomic

    program = _program(prefer_embedded=not options.moe)
    folder = Path(options.models).absolute() if options.models else user_cache_path("specdash") / "demo"
    print(f"writing demo models into {folder}: random weights, so their text means nothing", file=sys.stderr)
    written = [("demo", write_pair(folder, epsilon=options.epsilon)), ("demo MoE", write_moe(folder))]
    pairs = written if options.moe else written[:1]
    profile = folder / "demo.toml"
    settings = _settings(pairs, program, Path(options.results).absolute(), full=options.full)
    write_atomic(profile, HEADER + tomli_w.dumps(settings))
    if options.write_only:
        print(profile)
        return Exit.OK
    print(f"profile: {profile}", file=sys.stderr)
    return headless(str(profile))


def _settings(pairs: list[tuple[str, tuple[Path, Path]]], program: str, results: Path, *, full: bool) -> dict[str, Any]:
    """The demo's profile: each target with its own draft, and expert counts where there is a mixture of experts."""
    sweep: dict[str, Any] = {
        "k": [2, 4, 8],
        "pairs": [[f"{name} target", f"{name} draft"] for name, _ in pairs],
    }
    if len(pairs) > 1 and program != EMBEDDED:
        sweep["moe_experts"] = [2, 8]  # the wheel has no way to set them
    return {
        "name": "demo",
        "model_family": "synthetic",
        "engine": {"program": program, "args": ["-c", "4096"]},
        "targets": [{"label": f"{name} target", "path": str(target)} for name, (target, _) in pairs],
        "drafts": [{"label": f"{name} draft", "path": str(draft)} for name, (_, draft) in pairs],
        "sweep": sweep,
        "measure": {
            "categories": "all" if full else ["coding", "repetitive", "conversation"],
            "max_tokens": 128 if full else 96,
            "iterations": 5 if full else 3,
        },
        "results": {"dir": str(results)},
    }


def _program(*, prefer_embedded: bool) -> str:
    """The built-in llama.cpp or the program on PATH, whichever is there; only the latter can set expert counts."""
    from specdash.config.programs import is_here

    found = [program.name for program in reversed(DEFAULT.programs) if is_here(program)]
    if found:
        return found[0 if prefer_embedded else -1]
    raise EngineError(
        "the demo needs a llama.cpp: neither the xllamacpp wheel nor a llama-server on PATH is here",
        "pip install 'specdash[embedded]'",
    )
