"""Write a tiny target and draft pair of random weights: `-m tests.tools.tiny_models DIR`.

It makes DIR/target.gguf and DIR/draft.gguf. A llama-architecture target of four layers whose last three add little, and
a draft that is its first layer: they agree on a part of the tokens, and a request takes milliseconds. Control and byte
tokens have no output weights, so text never ends early.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import numpy as np

WIDTH, TOKENS, LAYERS, AGREEMENT = 256, 1024, 4, 0.3
SYLLABLES = [a + b for a in "bdfghjklmnprstvz" for b in "aeiou"]


def vocabulary() -> tuple[list[str], list[int]]:
    """Tokens and their types: three special ones, the bytes, words of two syllables."""
    special, kinds = ["<unk>", "<s>", "</s>"], [2, 3, 3]
    octets = [f"<0x{byte:02X}>" for byte in range(256)]
    words = ["▁", *("▁" + a + b for a in SYLLABLES for b in SYLLABLES)][: TOKENS - len(special) - len(octets)]
    return special + octets + words, kinds + [6] * len(octets) + [1] * len(words)


def begun(path: Path, architecture: str, layers: int) -> gguf.GGUFWriter:
    """A file with the header of a tiny model, and no tensor yet."""
    tokens, kinds = vocabulary()
    file = gguf.GGUFWriter(path, architecture)
    file.add_name(path.stem)
    file.add_context_length(8192)
    file.add_embedding_length(WIDTH)
    file.add_block_count(layers)
    file.add_feed_forward_length(2 * WIDTH)
    file.add_head_count(WIDTH // 64)
    file.add_head_count_kv(WIDTH // 64)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_rope_dimension_count(64)
    file.add_vocab_size(TOKENS)
    file.add_tokenizer_model("llama")
    file.add_token_list(tokens)
    file.add_token_scores([-float(i) for i in range(TOKENS)])
    file.add_token_types(kinds)
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_unk_token_id(0)
    file.add_chat_template("{% for m in messages %}{{ m['content'] }} {% endfor %}")
    return file


def finish(file: gguf.GGUFWriter) -> None:
    """Write everything that was added, and close the file."""
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def write(path: Path, layers: int) -> None:
    """Write the first `layers` layers of the model."""
    tokens, _ = vocabulary()
    file = begun(path, "llama", layers)
    random = np.random.default_rng(1)

    def weights(name: str, rows: int, columns: int, scale: float = 1.0) -> None:
        values = random.standard_normal((rows, columns), dtype=np.float32) * scale * columns**-0.5
        if name == "output":
            values[: tokens.index("▁") + 1] = 0
        file.add_tensor(f"{name}.weight", values.astype(np.float16))

    # The same generator fills both files, so what they share comes first.
    weights("token_embd", TOKENS, WIDTH, WIDTH**0.5)
    weights("output", TOKENS, WIDTH)
    file.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(layers):
        share = AGREEMENT if layer else 1.0
        for norm in ("attn_norm", "ffn_norm"):
            file.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(WIDTH, np.float32))
        for name in ("attn_q", "attn_k", "attn_v"):
            weights(f"blk.{layer}.{name}", WIDTH, WIDTH)
        weights(f"blk.{layer}.attn_output", WIDTH, WIDTH, share)
        weights(f"blk.{layer}.ffn_gate", 2 * WIDTH, WIDTH)
        weights(f"blk.{layer}.ffn_up", 2 * WIDTH, WIDTH)
        weights(f"blk.{layer}.ffn_down", WIDTH, 2 * WIDTH, share)
    finish(file)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "target.gguf", LAYERS)
    write(folder / "draft.gguf", 1)
