"""Demo models that only tests make: a tiny mixture of experts, and MLX model folders.

The folders have the weights of `engines.demo`, as safetensors with config.json and a tokenizer.

The same recipe gives the same agreement between target and draft, so what is measured on them through MLX can be set
beside what llama.cpp measures. Two things differ: the tokenizer splits at spaces and punctuation and knows whole words
only (WordLevel; an unknown one is one `<unk>`), and there is no mixture of experts.

The format (https://github.com/huggingface/safetensors#format) is a length, a JSON header and the tensors' bytes, so
only numpy is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specdash.core.model import SYNTHETIC_KEY
from specdash.engines.demo import (
    CONTEXT,
    DEMO,
    EPSILON_KEY,
    SPACE,
    VOCABULARY,
    Shape,
    Weights,
    placed,
    size_name,
    vocabulary,
    writing_into,
)
from specdash.errors import EngineError

if TYPE_CHECKING:
    from specdash.engines.demo import Matrix

TINY_MOE = Shape(width=64, ffn=96, layers=3, head=32, experts=8)

UNKNOWN_ID, BOS_ID, EOS_ID = 0, 1, 2
_WHOLE = {"token_embd": "model.embed_tokens", "output": "lm_head", "output_norm": "model.norm"}
_IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def write_mlx_pair(
    folder: Path, *, epsilon: float = 0.05, shape: Shape = DEMO, seed: int = 1, chat_template: str | None = None
) -> tuple[Path, Path]:
    """Writes a target and its draft, each a folder of its own in `folder`; returns their paths.

    Arguments as for `engines.demo.write_pair`; a `chat_template` (Jinja) goes into both. Raises EngineError when numpy
    is missing, for a shape with experts, and when the files cannot be written.
    """
    if shape.experts:
        raise EngineError("the MLX demo models have no experts", "Use the GGUF ones for a mixture of experts.")
    try:
        import numpy as np
    except ImportError as error:
        raise EngineError("the demo models need the package numpy", "pip install 'specdash[embedded]'") from error
    weights = Weights(np, shape, seed, epsilon)
    target, draft = (folder / f"{size_name(shape)}-dense-{role}-mlx" for role in ("target", "draft"))
    for path in (target, draft):
        with writing_into(path):
            _write(path, weights, chat_template, draft=path is draft)
    return target, draft


def _write(folder: Path, weights: Weights, chat_template: str | None, *, draft: bool) -> None:
    """Writes one model; its configuration last, so that a folder with one is whole."""
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    about: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT, **special}
    if chat_template is not None:
        about["chat_template"] = chat_template
    _write_tensors(folder / "model.safetensors", weights, draft=draft)
    _write_json(folder / "tokenizer.json", _tokenizer())
    _write_json(folder / "tokenizer_config.json", about)
    _write_json(folder / "config.json", _config(weights, draft=draft))


def _write_json(path: Path, value: Any) -> None:
    """Writes one JSON file."""
    with placed(path) as unfinished:
        unfinished.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _write_tensors(path: Path, weights: Weights, *, draft: bool) -> None:
    """Writes the matrices as one safetensors file of 32-bit floats."""
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    end = 0
    for name, matrix in _tensors(weights, draft=draft):
        header[name] = {"dtype": "F32", "shape": matrix.shape, "data_offsets": [end, end + matrix.nbytes]}
        end += matrix.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with placed(path) as unfinished, unfinished.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _name, matrix in _tensors(weights, draft=draft):  # made again: all at once may not fit into memory
            file.write(matrix.astype("<f4", copy=False).tobytes())


def _tensors(weights: Weights, *, draft: bool) -> Iterator[tuple[str, Matrix]]:
    """The matrices under the names that they have in a model of the transformers library."""
    for name, matrix in weights.tensors(draft=draft):
        part = name.removesuffix(".weight")
        if part in _WHOLE:
            yield f"{_WHOLE[part]}.weight", matrix
        else:
            _block, layer, inner = part.split(".")
            yield f"model.layers.{layer}.{_IN_LAYER[inner]}.weight", matrix


def _config(weights: Weights, *, draft: bool) -> dict[str, Any]:
    """What the model is, that it is synthetic, and its sizes."""
    shape = weights.shape
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        SYNTHETIC_KEY: True,
        EPSILON_KEY: weights.epsilon,
        "hidden_size": shape.width,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.shared if draft else shape.layers,
        "num_attention_heads": shape.width // shape.head,
        "num_key_value_heads": shape.width // shape.head,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "vocab_size": VOCABULARY,
        "bos_token_id": BOS_ID,
        "eos_token_id": EOS_ID,
    }


def _tokenizer() -> dict[str, Any]:
    """A tokenizer.json of whole words, with the tokens of the other demo models; a prompt begins with `<s>`."""
    texts, _types, _first_spoken = vocabulary()
    added = [
        {"id": number, "content": texts[number], "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for number in (UNKNOWN_ID, BOS_ID, EOS_ID)
    ]
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    both = [{"Sequence": {"id": name, "type_id": number}} for number, name in enumerate("AB")]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True},
                {"type": "Punctuation", "behavior": "Isolated"},
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, both[0]],
            "pair": [bos, *both],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS_ID], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "WordLevel",
            "vocab": {text: number for number, text in enumerate(texts)},
            "unk_token": texts[UNKNOWN_ID],
        },
    }
