"""`specdash demo`: makes a small target and draft pair, and sweeps it with the built-in llama.cpp."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

from specdash.cli import command_parser
from specdash.errors import EngineError, Exit

PROFILE = """# Written by `specdash demo`: a sweep of synthetic models, to see what specdash does.
name = "demo"
model_family = "synthetic"

[engine]
program = "{program}"
args = ["-c", "4096"]

[[targets]]
label = "demo target"
path = "{target}"
{moe_target}
[[drafts]]
label = "demo draft"
path = "{draft}"
{moe_draft}
[sweep]
k = [2, 4, 8]
{axes}
[measure]
categories = {categories}
max_tokens = {max_tokens}
iterations = {iterations}

[results]
dir = "{results}"
"""


def main(name: str, arguments: list[str]) -> Exit:
    """Writes the models and a profile into a cache folder, and runs the profile."""
    parser = command_parser(name)
    parser.add_argument("--moe", action="store_true", help="sweep a mixture of experts too, at 2 and 8 experts")
    parser.add_argument("--full", action="store_true", help="all nine prompt categories, five samples each")
    parser.add_argument("--results", default="results", metavar="DIR", help="where the run goes (default: results)")
    parser.add_argument("--models", metavar="DIR", help="where the models go (default: this user's cache)")
    options = parser.parse_args(arguments)
    from platformdirs import user_cache_path

    from specdash.cli.run import headless
    from specdash.engines.demo import write_moe, write_pair

    program = _program()
    folder = Path(options.models) if options.models else user_cache_path("specdash") / "demo"
    print(f"writing demo models into {folder}: random weights, so their text means nothing", file=sys.stderr)
    target, draft = write_pair(folder)
    moe_target = moe_draft = axes = ""
    if options.moe:
        moe, moe_small = write_moe(folder)
        moe_target = f'\n[[targets]]\nlabel = "demo MoE"\npath = "{moe}"\n'
        moe_draft = f'\n[[drafts]]\nlabel = "demo MoE draft"\npath = "{moe_small}"\n'
        axes = 'moe_experts = [2, 8]\npairs = [["demo target", "demo draft"], ["demo MoE", "demo MoE draft"]]\n'
    text = PROFILE.format(
        program=program,
        target=target,
        draft=draft,
        moe_target=moe_target,
        moe_draft=moe_draft,
        axes=axes,
        categories='"all"' if options.full else '["coding", "repetitive", "conversation"]',
        max_tokens=128 if options.full else 96,
        iterations=5 if options.full else 3,
        results=Path(options.results).absolute(),
    )
    profile = folder / "demo.toml"
    profile.write_text(text, encoding="utf-8")
    print(f"profile: {profile}", file=sys.stderr)
    return headless(str(profile))


def _program() -> str:
    """The built-in llama.cpp where its wheel is installed, else the program on PATH."""
    if importlib.util.find_spec("xllamacpp") is not None:
        return "embedded"
    if shutil.which("llama-server"):
        return "llama-server"
    raise EngineError(
        "the demo needs a llama.cpp: neither the xllamacpp wheel nor a llama-server on PATH is here",
        "pip install 'specdash[embedded]'",
    )
