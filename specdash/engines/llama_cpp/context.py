"""How much context a llama.cpp program can have by its arguments alone, and how many tokens prompts have.

Tokens are counted by `llama-tokenize`, llama.cpp's own tokenizer, which loads no weights.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from specdash.core.model import VocabFacts
from specdash.engines.program_help import BRIEF_LIMIT_S, flag_value, read_entries, run_briefly
from specdash.errors import EngineError

FLAG = "-c"
PADDING = 256  # llama.cpp rounds a context up to a multiple of this

_NAMES = (FLAG, "--ctx-size")
VARIABLE = "LLAMA_ARG_CTX_SIZE"
_KINDS = frozenset({"llama-server", "llama-cli"})


def padded(tokens: int) -> int:
    """The context that llama.cpp makes of so many tokens."""
    return -(-tokens // PADDING) * PADDING


def given_context(args: Sequence[str]) -> str | None:
    """What these arguments say of the context; None where they say nothing."""
    return flag_value(args, _NAMES)


def context_of(kind: str, args: Sequence[str], env: Mapping[str, str]) -> int | None:
    """The most tokens of context that these arguments allow; None where the model and the memory decide.

    A server may have less: of less memory, or of a model that was trained with less.
    """
    if kind not in _KINDS:
        return None
    given = given_context(args) or env.get(VARIABLE) or ""
    return padded(int(given)) if given.isascii() and given.isdigit() and int(given) > 0 else None


# -- tokens --------------------------------------------------------------------------------------------------------

PROGRAM = "llama-tokenize"

_NEEDED = {"-m", "-f", "--ids", "--no-bos"}
_WHERE_LISTED = ("--log-disable", "--no-escape")
_IDS = re.compile(r"^\[([\d, ]+)\]\s*$", re.MULTILINE)


def count_tokens(
    folder: Path, model: Path, vocab: VocabFacts, texts: Sequence[str], env: Mapping[str, str]
) -> list[int] | None:
    """The tokens of each text as a prompt, with what stands before every prompt of this model.

    All texts are counted in one run, parted by the token that ends a text, which no tokenizer joins with its
    neighbours. None where the program is not in `folder`, is too old, or does not answer so.
    """
    program = folder / PROGRAM
    ending = _text_of(vocab, vocab.eos_id)
    if not os.access(program, os.X_OK) or not ending or any(ending in text for text in texts):
        return None
    try:
        known = {name for entry in read_entries(_run(program, ["--help"], env)) for name in entry.names}
        if not known >= _NEEDED:
            return None
        with tempfile.TemporaryDirectory(prefix="specdash-") as name:
            file = Path(name) / "prompts"
            file.write_text("".join(f"{text}{ending}" for text in texts), encoding="utf-8", newline="")
            options = [flag for flag in _WHERE_LISTED if flag in known]
            said = _run(program, ["-m", str(model), "-f", str(file), "--ids", "--no-bos", *options], env)
    except (EngineError, OSError):
        return None
    found = _IDS.findall(said)
    counts = _counts([int(word) for word in found[-1].split(",")], vocab.eos_id) if found else []
    return [count + vocab.add_bos + vocab.add_eos for count in counts] if len(counts) == len(texts) else None


def _run(program: Path, words: Sequence[str], env: Mapping[str, str]) -> str:
    return run_briefly([str(program), *words], str(program), BRIEF_LIMIT_S, env)


def _counts(ids: Sequence[int], ending: int | None) -> list[int]:
    """How many ids stand before each ending one."""
    counts, count = [], 0
    for each in ids:
        count += 1
        if each == ending:
            counts.append(count - 1)
            count = 0
    return counts


def _text_of(vocab: VocabFacts, token: int | None) -> str:
    """The text of a token; "" where there is none."""
    with suppress(UnicodeDecodeError):
        return next(vocab.tokens(token), b"").decode() if token is not None else ""
    return ""
