"""Write tiny models whose drafts come from a head: `python -m tests.tools.head_models DIR` makes three files in DIR.

`mtp.gguf` has a layer for multi-token prediction of its own (architecture hy_v3, the plainest one that llama.cpp gives
such layers to). `eagle-target.gguf` is an ordinary llama model, and `eagle3.gguf` is a head for it that reads the
hidden states of three of its layers. All of them are random, yet their heads guess right now and then: what the models
say next depends mostly on the last token (attention adds little), and each head computes just that from its embedding.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.tools.tiny_models import TOKENS, WIDTH, begun, finish, vocabulary

LAYERS, AGREEMENT, MEMORY = 4, 0.3, 0.05
SHARPNESS = 4.0  # of the head's attention: so much more weight has a token itself than those before it

Weights = dict[str, NDArray[np.float32]]


def shared() -> Weights:
    """Embedding, output matrix and first layer, which a head knows as well as its target."""
    random = np.random.default_rng(1)
    words = vocabulary()[0].index("▁") + 1
    found = {
        "token_embd": random.standard_normal((TOKENS, WIDTH), dtype=np.float32),
        "output": random.standard_normal((TOKENS, WIDTH), dtype=np.float32) * WIDTH**-0.5,
        **layer(random, 1.0),
    }
    found["output"][:words] = 0  # control and byte tokens are never said
    return found


def layer(random: np.random.Generator, share: float) -> Weights:
    """The matrices of a layer whose attention remembers little, and whose whole adds `share` to what comes in."""
    shapes = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (WIDTH, WIDTH))
    shapes |= {"ffn_gate": (2 * WIDTH, WIDTH), "ffn_up": (2 * WIDTH, WIDTH), "ffn_down": (WIDTH, 2 * WIDTH)}
    found = {name: random.standard_normal(shape, dtype=np.float32) * shape[1] ** -0.5 for name, shape in shapes.items()}
    found["attn_output"] *= share * MEMORY
    found["ffn_down"] *= share
    return found


def add(file: gguf.GGUFWriter, weights: Weights, prefix: str = "", names: tuple[str, ...] = ()) -> None:
    """Add matrices to a file: those of `names`, or all."""
    for name in names or weights:
        file.add_tensor(f"{prefix}{name}.weight", weights[name].astype(np.float16))


def add_ones(file: gguf.GGUFWriter, prefix: str, *names: str, width: int = WIDTH) -> None:
    """Add norms that change nothing."""
    for name in names:
        file.add_tensor(f"{prefix}{name}.weight", np.ones(width, np.float32))


def add_trunk(file: gguf.GGUFWriter, weights: Weights, *, norms: bool) -> None:
    """Add the layers of a target and what stands around them; `norms`: with those of queries and keys."""
    random = np.random.default_rng(2)
    add(file, weights, names=("token_embd", "output"))
    add_ones(file, "", "output_norm")
    first = {name: each for name, each in weights.items() if name not in ("token_embd", "output")}
    for number in range(LAYERS):
        add_block(file, f"blk.{number}.", layer(random, AGREEMENT) if number else first, norms=norms)


def add_block(file: gguf.GGUFWriter, prefix: str, weights: Weights, *, norms: bool) -> None:
    """Add one layer."""
    add(file, weights, prefix)
    add_ones(file, prefix, "attn_norm", "ffn_norm")
    if norms:
        add_ones(file, prefix, "attn_q_norm", "attn_k_norm", width=64)


def write_mtp(path: Path) -> None:
    """Write a model with one layer for multi-token prediction, which is the trunk's first layer once more."""
    weights = shared()
    file = begun(path, "hy_v3", LAYERS + 1)
    file.add_uint32("hy_v3.nextn_predict_layers", 1)
    file.add_uint32("hy_v3.expert_feed_forward_length", 2 * WIDTH)
    file.add_key_length(64)
    file.add_value_length(64)
    add_trunk(file, weights, norms=True)
    prefix = f"blk.{LAYERS}."
    add_block(file, prefix, {name: weights[name] for name in list(weights)[2:]}, norms=True)
    # The head sees the embedding of the last token beside the hidden state before it, and looks at the former alone.
    both = np.concatenate([np.eye(WIDTH, dtype=np.float32), np.zeros((WIDTH, WIDTH), np.float32)], axis=1)
    add(file, {"nextn.eh_proj": both}, prefix)
    add_ones(file, prefix, "nextn.enorm", "nextn.hnorm", "nextn.shared_head_norm")
    finish(file)


def write_eagle_target(path: Path) -> None:
    """Write the model that the head of `write_eagle_head` drafts for."""
    file = begun(path, "llama", LAYERS)
    add_trunk(file, shared(), norms=False)
    finish(file)


def write_eagle_head(path: Path) -> None:
    """Write an EAGLE-3 head: its attention picks the last token's embedding, the rest is the target's first layer."""
    weights = shared()
    file = begun(path, "eagle3", 1)
    file.add_array("eagle3.target_layers", [1, 2, 3])
    file.add_uint32("eagle3.target_hidden_size", WIDTH)
    pick = np.concatenate([np.eye(WIDTH, dtype=np.float32), np.zeros((WIDTH, WIDTH), np.float32)], axis=1)
    add(file, weights, names=("token_embd", "output"))
    add(file, {"fc": np.zeros((WIDTH, 3 * WIDTH), np.float32)})
    head = {"attn_q": pick * SHARPNESS, "attn_k": pick, "attn_v": pick, "attn_output": np.eye(WIDTH, dtype=np.float32)}
    add(file, head | {name: weights[name] for name in ("ffn_gate", "ffn_up", "ffn_down")}, "blk.0.")
    add_ones(file, "blk.0.", "attn_norm", "attn_norm_2", "ffn_norm")
    add_ones(file, "", "output_norm")
    finish(file)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write_mtp(folder / "mtp.gguf")
    write_eagle_target(folder / "eagle-target.gguf")
    write_eagle_head(folder / "eagle3.gguf")
