"""Model facts from the folders that MLX loads: config.json, safetensors files and a tokenizer.

Counted is what mlx_lm would load: the shards that the index names, or else every model*.safetensors. Of a quantised
layer, whose weights are packed into 32-bit words beside their scales and biases, the weights are counted and not the
words.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specdash.config.hf_tokenizer import read_object, read_vocabulary
from specdash.config.mlx_folder import CONFIG, INDEX, WEIGHTS
from specdash.config.model_file import WeightBytes, bytes_read, path_text
from specdash.config.problems import escaped
from specdash.config.safetensors import Tensor, read_tensors
from specdash.core.model import MLX, SYNTHETIC_KEY, ModelFacts
from specdash.errors import EngineError

AGAIN = "Download the model again, with all its files."

_WORD_BITS = 32
_SHARD = re.compile(r"(?P<stem>model.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")
_NAMED = 5  # of missing shards, in a message

_EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|tok_embeddings|word_embeddings|embed_in)\.(weight|scales|biases)$")
_OUTPUT = re.compile(r"(^|\.)(lm_head|output|embed_out|output_layer)\.weight$")
_EXPERTS = re.compile(r"\.(experts|switch_mlp|switch_glu)\.")
_LAYER = re.compile(r"(^|\.)layers\.(\d{1,9})\.")
# Not part of a pass over one token of text: other senses, and layers that only draft ahead.
_ASIDE = re.compile(r"(^|\.)(vision_tower|vision_model|visual|audio_tower|multi_modal_projector|mm_projector|mtp)\.")


def read_mlx_folder(path: Path) -> ModelFacts:
    """The facts of the model in the folder `path`; its `parts` are all files that decide what it computes.

    Raises EngineError when its configuration, weights or tokenizer are missing or damaged. Some 0.3 s for a vocabulary
    of 152,000 tokens.
    """
    if not os.path.exists(path / CONFIG):
        raise EngineError(f"{path_text(path)} has no {CONFIG}, so it is no MLX model", AGAIN)
    config = read_object(path / CONFIG)
    architecture = config.get("model_type")
    if not isinstance(architecture, str) or not architecture:
        raise EngineError(f"{path_text(path / CONFIG)} names no model_type, so it is no model", AGAIN)
    shards = _shards(path)
    vocab, templated = read_vocabulary(path, config)
    tensors: dict[str, Tensor] = {}
    size_bytes = 0
    for shard in shards:
        found, size = read_tensors(shard)
        tensors |= found
        size_bytes += size
    if not tensors:
        raise EngineError(f"{path_text(path)} has no weights in its safetensors files", AGAIN)
    # Models with more senses than text keep what concerns text in a part of its own.
    inner = config.get("text_config")
    said = _Said({**config, **inner} if isinstance(inner, Mapping) else config)
    layers = said.whole("num_hidden_layers", "n_layers", "n_layer", "num_layers")
    experts = said.whole("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts") or None
    used = said.whole("num_experts_per_tok", "moe_k", "top_k_experts") if experts is not None else None
    bytes_per_token, expert_bytes = bytes_read([_weights(tensors, layers)], experts, used)
    about = (path / name for name in (CONFIG, "tokenizer.json", "tokenizer_config.json"))
    return ModelFacts(
        path=path,
        parts=(*shards, *(file for file in about if os.path.exists(file))),
        size_bytes=size_bytes,
        architecture=architecture,
        name=None,
        parameters=_parameters(tensors, said),
        quantisation=_quantisation(tensors, said),
        layers=layers,
        embedding_width=said.whole("hidden_size", "n_embd", "d_model", "dim"),
        context_length=said.whole("max_position_embeddings", "max_sequence_length", "n_positions", "model_max_length"),
        expert_count=experts,
        expert_used_count=used,
        has_chat_template=templated,
        vocab=vocab,
        synthetic=config.get(SYNTHETIC_KEY) is True,
        bytes_per_token=bytes_per_token,
        expert_bytes=expert_bytes,
        format=MLX,
    )


@dataclass(frozen=True, slots=True)
class _Said:
    """A configuration, as it is asked."""

    config: Mapping[str, Any]

    def whole(self, *names: str) -> int | None:
        """The first of these entries that is a whole number from 0."""
        values = (self.config.get(name) for name in names)
        return next((value for value in values if type(value) is int and 0 <= value < 2**63), None)

    def quantised(self, module: str) -> Mapping[str, Any]:
        """How a module is quantised: as the configuration says of it, else as it says of all; empty for not at all."""
        general = self.config.get("quantization")
        if not isinstance(general, Mapping):
            return {}
        own = general.get(module)
        return own if isinstance(own, Mapping) else general


def _shards(path: Path) -> tuple[Path, ...]:
    """The files with weights, in order; EngineError when there is none, or one that belongs to them is not there."""
    if os.path.exists(path / INDEX):
        places = read_object(path / INDEX).get("weight_map")
        named = {name for name in places.values() if isinstance(name, str)} if isinstance(places, dict) else set()
        if not named or any(Path(name).name != name for name in named):
            raise EngineError(f"{path_text(path / INDEX)} is damaged: it does not say where the weights are", AGAIN)
        expected = {path / name for name in named}
    else:
        expected = set(path.glob(WEIGHTS))
        expected |= {other for file in expected for other in _siblings(file)}
    if not expected:
        raise EngineError(f"{path_text(path)} has no weights: no {WEIGHTS}", AGAIN)
    missing = sorted(file.name for file in expected if not os.path.exists(file))
    if missing:
        names = ", ".join(escaped(name) for name in missing[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise EngineError(f"{path_text(path)} lacks weights: {names}{more}", AGAIN)
    return tuple(sorted(expected))


def _siblings(file: Path) -> Iterable[Path]:
    """All parts of a model in numbered parts, by the name of one."""
    match = _SHARD.fullmatch(file.name)
    count = int(match["count"]) if match is not None else 0
    if match is None:
        return ()
    return (file.with_name(f"{match['stem']}-{number:05}-of-{count:05}.safetensors") for number in range(1, count + 1))


def _packed(name: str, tensors: Mapping[str, Tensor]) -> str | None:
    """The module whose quantised weights these are; None for weights that are not quantised."""
    module, _, leaf = name.rpartition(".")
    return module if leaf == "weight" and f"{module}.scales" in tensors else None


def _parameters(tensors: Mapping[str, Tensor], said: _Said) -> int | None:
    """How many weights the model has; None where the configuration does not tell how they are packed."""
    total = 0
    for name, tensor in tensors.items():
        module = name.rpartition(".")[0]
        if _packed(name, tensors) is not None and tensor.dtype == "U32":
            bits = said.quantised(module).get("bits")
            if type(bits) is not int or bits < 1:
                return None
            total += tensor.elements * _WORD_BITS // bits
        elif not (name.endswith((".scales", ".biases")) and _packed(f"{module}.weight", tensors) is not None):
            total += tensor.elements
    return total or None


def _quantisation(tensors: Mapping[str, Tensor], said: _Said) -> str | None:
    """The label of how most weights are stored: "4-bit g64", or the type of the numbers."""
    general = said.quantised("")
    bits, group, mode = (general.get(name) for name in ("bits", "group_size", "mode"))
    if type(bits) is int:
        kind = f"{bits}-bit" if mode in (None, "affine") else escaped(str(mode))
        return f"{kind} g{group}" if type(group) is int else kind
    by_type = Counter[str]()
    for tensor in tensors.values():
        by_type[tensor.dtype] += tensor.size_bytes
    return escaped(by_type.most_common(1)[0][0].lower()) or None


def _weights(tensors: Mapping[str, Tensor], layers: int | None) -> WeightBytes:
    """The tensors by how decoding one token reads them."""
    weights = WeightBytes()
    for name, tensor in tensors.items():
        layer = _LAYER.search(name)
        if _ASIDE.search(name) or (layer is not None and layers is not None and int(layer[2]) >= layers):
            continue
        if _EMBEDDING.search(name):
            weights.embedding += tensor.size_bytes
        elif _EXPERTS.search(name):
            weights.experts += tensor.size_bytes
        else:
            weights.whole += tensor.size_bytes
        weights.has_output |= _OUTPUT.search(name) is not None
    return weights
