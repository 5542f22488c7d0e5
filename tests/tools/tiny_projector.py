"""Write a tiny projector for the tiny target, so that it sees: `-m tests.tools.tiny_projector DIR`.

A CLIP of two layers with random weights that makes four tokens of a picture of 28 by 28 pixels, and a LLaVA projector
to the width of the tiny models. What the target says of a picture means nothing, as all that it says.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import numpy as np

TARGET_WIDTH = 256  # of the models that tiny_models.py writes
WIDTH, INNER, LAYERS, HEADS, SIDE, PATCH = 64, 128, 2, 2, 28, 14


def write(path: Path) -> None:
    """Write the projector."""
    file = gguf.GGUFWriter(path, "clip")
    file.add_name("tiny projector")
    file.add_bool("clip.has_vision_encoder", True)
    file.add_string("clip.projector_type", "mlp")
    file.add_bool("clip.use_gelu", True)
    sizes = {"image_size": SIDE, "patch_size": PATCH, "embedding_length": WIDTH, "feed_forward_length": INNER}
    sizes |= {"projection_dim": TARGET_WIDTH, "block_count": LAYERS, "attention.head_count": HEADS}
    for name, size in sizes.items():
        file.add_uint32(f"clip.vision.{name}", size)
    file.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    for name in ("image_mean", "image_std"):
        file.add_array(f"clip.vision.{name}", [0.5, 0.5, 0.5])
    random = np.random.default_rng(1)

    def weights(name: str, *shape: int) -> None:
        values = random.standard_normal(shape, dtype=np.float32) * shape[-1] ** -0.5
        file.add_tensor(f"{name}.weight", values)

    def biased(name: str, rows: int, columns: int) -> None:
        weights(name, rows, columns)
        file.add_tensor(f"{name}.bias", np.zeros(rows, np.float32))

    def norm(name: str) -> None:
        file.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
        file.add_tensor(f"{name}.bias", np.zeros(WIDTH, np.float32))

    file.add_tensor("v.class_embd", np.zeros(WIDTH, np.float32))
    weights("v.patch_embd", WIDTH, 3, PATCH, PATCH)
    weights("v.position_embd", (SIDE // PATCH) ** 2 + 1, WIDTH)
    norm("v.pre_ln")
    norm("v.post_ln")
    for layer in range(LAYERS):
        norm(f"v.blk.{layer}.ln1")
        norm(f"v.blk.{layer}.ln2")
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            biased(f"v.blk.{layer}.{name}", WIDTH, WIDTH)
        biased(f"v.blk.{layer}.ffn_up", INNER, WIDTH)
        biased(f"v.blk.{layer}.ffn_down", WIDTH, INNER)
    biased("mm.0", TARGET_WIDTH, WIDTH)
    biased("mm.2", TARGET_WIDTH, TARGET_WIDTH)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]) / "mmproj.gguf")
