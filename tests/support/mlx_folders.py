"""Model folders with made-up contents: headers as real ones have them, tensors of zeros."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BYTES = {"F32": 4, "BF16": 2, "F16": 2, "U32": 4}
WORDS = ("<unk>", "<s>", "</s>", "a", "b", "c", "d", "e", "f", "g")
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "max_position_embeddings": 4096,
    "eos_token_id": [2, 1],
}
TENSORS = {"model.embed_tokens.weight": ("BF16", (10, 8)), "model.layers.0.mlp.up_proj.weight": ("BF16", (16, 8))}

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]


def safetensors(tensors: Tensors) -> bytes:
    """A whole file."""
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        size = BYTES[dtype]
        for width in shape:
            size *= width
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(end)


def tokenizer(words: tuple[str, ...] = WORDS, kind: str = "BPE") -> dict[str, Any]:
    """A tokenizer.json, the last word being an added token."""
    vocab: Any = {word: number for number, word in enumerate(words[:-1])}
    if kind == "Unigram":
        vocab = [[word, -1.5] for word in words[:-1]]
    return {
        "model": {"type": kind, "vocab": vocab, "merges": [["a", "b"]]},
        "added_tokens": [{"id": len(words) - 1, "content": words[-1], "special": True}],
    }


def mlx_model(
    path: Path,
    *,
    tensors: Tensors = TENSORS,
    words: tuple[str, ...] = WORDS,
    kind: str = "BPE",
    about: Mapping[str, Any] | None = None,
    **config: Any,
) -> Path:
    """A model folder; `config` is added to its config.json, `about` is its tokenizer_config.json."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(CONFIG | config))
    (path / "model.safetensors").write_bytes(safetensors(tensors))
    (path / "tokenizer.json").write_text(json.dumps(tokenizer(words, kind)))
    (path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", **(about or {})}))
    return path
