from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from specdash.config.gguf import read_model
from specdash.config.mlx_folder import folder_name, is_mlx_folder
from specdash.config.mlx_model import read_mlx_folder
from specdash.core.model import MLX, vocabulary_conflict
from specdash.engines.demo import TINY, write_pair
from specdash.errors import EngineError
from tests.support.demo_models import write_mlx_pair
from tests.support.mlx_folders import TENSORS, WORDS, mlx_model, safetensors

QUANTISED = {"group_size": 64, "bits": 4, "model.layers.0.mlp.down_proj": {"group_size": 32, "bits": 8}}


def quantised(module: str, rows: int, columns: int, bits: int, group: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {
        f"{module}.weight": ("U32", (rows, columns * bits // 32)),
        f"{module}.scales": ("BF16", (rows, columns // group)),
        f"{module}.biases": ("BF16", (rows, columns // group)),
    }


def test_what_a_folder_says(tmp_path: Path) -> None:
    facts = read_mlx_folder(mlx_model(tmp_path / "m", about={"chat_template": "{{ messages }}"}))
    assert (facts.path, facts.format) == (tmp_path / "m", MLX)
    names = ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"]
    assert facts.parts == tuple(tmp_path / "m" / name for name in names)
    assert facts.size_bytes == (tmp_path / "m" / "model.safetensors").stat().st_size
    assert (facts.architecture, facts.quantisation, facts.parameters) == ("llama", "bf16", 10 * 8 + 16 * 8)
    assert (facts.layers, facts.embedding_width, facts.context_length) == (2, 8, 4096)
    assert (facts.expert_count, facts.expert_used_count, facts.expert_bytes) == (None, None, None)
    assert facts.bytes_per_token == 2 * (10 * 8 + 16 * 8)  # without an output of its own the embedding is read
    assert (facts.has_chat_template, facts.synthetic, facts.model_class) == (True, False, "dense-small")
    vocab = facts.vocab
    assert (vocab.family, vocab.size, vocab.bos_id, vocab.eos_id) == ("BPE", len(WORDS), 1, 2)
    assert [token.decode() for token in vocab.tokens()] == list(WORDS)


def test_the_demo_models_are_those_of_gguf(tmp_path: Path) -> None:
    for folder, path in zip(
        write_mlx_pair(tmp_path, shape=TINY), write_pair(tmp_path / "gguf", shape=TINY), strict=True
    ):
        ours, theirs = read_mlx_folder(folder), read_model(path)
        for name in ("architecture", "parameters", "layers", "embedding_width", "context_length", "synthetic"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert ours.bytes_per_token == theirs.bytes_per_token
        assert list(ours.vocab.tokens()) == list(theirs.vocab.tokens())
        assert vocabulary_conflict(ours, theirs) == (
            "the target is an MLX folder and the draft a GGUF file: no server takes both"
        )


def test_quantised_weights_are_counted_by_their_bits(tmp_path: Path) -> None:
    tensors = {
        **quantised("model.embed_tokens", 10, 64, 4, 64),
        **quantised("model.layers.0.mlp.down_proj", 16, 64, 8, 32),
        "model.norm.weight": ("BF16", (64,)),
        **quantised("lm_head", 10, 64, 4, 64),
    }
    facts = read_mlx_folder(mlx_model(tmp_path / "m", tensors=tensors, quantization=QUANTISED))
    assert (facts.quantisation, facts.parameters) == ("4-bit g64", 10 * 64 + 16 * 64 + 64 + 10 * 64)
    down, norm, head = 16 * 64 + 2 * 2 * 16 * 2, 64 * 2, 10 * 32 + 2 * 2 * 10
    assert facts.bytes_per_token == down + norm + head
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | {"quantization": {"mode": "mxfp4", "bits": 4}}))
    assert read_mlx_folder(tmp_path / "m").quantisation == "mxfp4"
    del config["quantization"]
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    facts = read_mlx_folder(tmp_path / "m")
    assert (facts.quantisation, facts.parameters) == ("u32", None)


def test_experts_are_read_in_part(tmp_path: Path) -> None:
    tensors = {
        **TENSORS,
        "lm_head.weight": ("BF16", (10, 8)),
        "model.layers.0.mlp.switch_mlp.up_proj.weight": ("BF16", (4, 16, 8)),
        "model.layers.0.mlp.shared_experts.up_proj.weight": ("BF16", (16, 8)),
        "model.layers.2.mlp.switch_mlp.up_proj.weight": ("BF16", (4, 16, 8)),  # only drafts ahead
        "vision_tower.layers.0.weight": ("BF16", (99, 8)),
    }
    inner = {"num_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 2}
    facts = read_mlx_folder(mlx_model(tmp_path / "m", tensors=tensors, text_config=inner))
    assert (facts.model_class, facts.expert_count, facts.expert_used_count) == ("moe", 4, 2)
    assert facts.expert_bytes == 2 * 4 * 16 * 8
    assert facts.bytes_per_token == 2 * (10 * 8 + 2 * 16 * 8) + 2 * 2 * 16 * 8


def test_shards_are_those_of_the_index(tmp_path: Path) -> None:
    path = mlx_model(tmp_path / "m")
    (path / "model.safetensors").unlink()
    for number, (name, tensor) in enumerate(TENSORS.items(), start=1):
        (path / f"model-{number:05}-of-00002.safetensors").write_bytes(safetensors({name: tensor}))
    (path / "consolidated.safetensors").write_bytes(b"not looked at")
    assert read_mlx_folder(path).parameters == 208
    names = [f"model-{number:05}-of-00002.safetensors" for number in (1, 2)]
    index = {"weight_map": dict(zip(TENSORS, names, strict=True))}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    facts = read_mlx_folder(path)
    assert facts.parameters == 208
    assert [part.name for part in facts.parts[:2]] == names


@pytest.mark.parametrize("kind", ["BPE", "Unigram", "WordPiece", "WordLevel"])
def test_drafts_are_compared_by_their_tokens(tmp_path: Path, kind: str) -> None:
    one = read_mlx_folder(mlx_model(tmp_path / "one", kind=kind))
    same = read_mlx_folder(mlx_model(tmp_path / "same", kind=kind, about={"eos_token": {"content": "b"}}))
    other = read_mlx_folder(mlx_model(tmp_path / "other", kind=kind, words=(*WORDS[:8], "X", "g")))
    kindless = read_mlx_folder(mlx_model(tmp_path / "kindless", kind="Unigram" if kind == "BPE" else "BPE"))
    assert vocabulary_conflict(one, same) is None
    assert same.vocab.eos_id == 4
    assert vocabulary_conflict(one, other) == "token 8 is 'f' in the target and 'X' in the draft"
    assert (vocabulary_conflict(one, kindless) or "").startswith("the tokenizers differ")


def test_a_tokenizer_of_another_kind_counts_by_the_configuration(tmp_path: Path) -> None:
    path = mlx_model(tmp_path / "m", vocab_size=32_000)
    (path / "tokenizer.json").rename(path / "tokenizer.model")
    facts = read_mlx_folder(path)
    assert (facts.vocab.tokenizer, facts.vocab.size, facts.vocab.texts) == ("tokenizer.model", 32_000, b"")
    (path / "tokenizer_config.json").unlink()
    (path / "chat_template.jinja").write_text("{{ messages }}")
    assert read_mlx_folder(path).has_chat_template


def without(name: str) -> Callable[[Path], Any]:
    return lambda path: (path / name).unlink()


def with_bytes(name: str, data: bytes | str) -> Callable[[Path], Any]:
    return lambda path: (path / name).write_bytes(data.encode() if isinstance(data, str) else data)


WHOLE = safetensors(TENSORS)
HEADER = int.from_bytes(WHOLE[:8], "little") + 8
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without("config.json"), "{} has no config.json, so it is no MLX model"),
        (without("model.safetensors"), "{} has no weights: no model*.safetensors"),
        (without("tokenizer.json"), "{} has no tokenizer: neither tokenizer.json nor any of tokenizer.model, "),
        (with_bytes("config.json", "{"), "{}/config.json is damaged: "),
        (with_bytes("config.json", "[]"), "{}/config.json is damaged: "),
        (with_bytes("config.json", "{}"), "{}/config.json names no model_type"),
        (with_bytes("tokenizer.json", "{}"), "{}/tokenizer.json is damaged: "),
        (with_bytes("tokenizer.json", '{"model": {"type": "BPE", "vocab": {}}}'), "{}/tokenizer.json has no tokens"),
        (
            with_bytes("tokenizer.json", '{"model": {"type": "BPE", "vocab": {"a": 99999999999}}}'),
            "{}/tokenizer.json is damaged: a token's id is out of range",
        ),
        (with_bytes("tokenizer_config.json", "no"), "{}/tokenizer_config.json is damaged: "),
        (with_bytes("model.safetensors", b""), "{}/model.safetensors is empty"),
        (with_bytes("model.safetensors", bytes(4096)), "{}/model.safetensors begins with zero bytes only"),
        (with_bytes("model.safetensors", b"<html><body>sign in"), "{}/model.safetensors is a web page"),
        (
            with_bytes("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0"),
            "{}/model.safetensors is a Git LFS pointer",
        ),
        (with_bytes("model.safetensors", b"\xff" * 64), "{}/model.safetensors is no safetensors file, or damaged"),
        (with_bytes("model.safetensors", WHOLE[: HEADER - 5]), "{}/model.safetensors is truncated: its header has"),
        (with_bytes("model.safetensors", WHOLE[:-5]), "{}/model.safetensors is truncated: 5 bytes of its tensors are"),
        (
            with_bytes("model.safetensors", WHOLE.replace(b"[10, 8]", b"[11, 8]")),
            "{}/model.safetensors is damaged: the bytes of the tensor model.embed_tokens.weight do not fit its shape",
        ),
        (
            with_bytes("model.safetensors", WHOLE.replace(b'"BF16"', b'"BF1\xff"')),
            "{}/model.safetensors is damaged: its header cannot be read",
        ),
        (
            with_bytes("model.safetensors", b"\x02" + bytes(7) + b"{}"),
            "{} has no weights in its safetensors files",
        ),
        (
            with_bytes(INDEX, '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}'),
            "{} lacks weights: model-00001-of-00002.safetensors",
        ),
        (with_bytes(INDEX, '{"weight_map": {"a": "../x.safetensors"}}'), f"{{}}/{INDEX} is damaged: it does not say"),
        (with_bytes(INDEX, "{}"), f"{{}}/{INDEX} is damaged: it does not say"),
        (
            lambda path: (path / "model.safetensors").rename(path / "model-00002-of-00008.safetensors"),
            "{} lacks weights: model-00001-of-00008.safetensors, model-00003-of-00008.safetensors, "
            "model-00004-of-00008.safetensors, model-00005-of-00008.safetensors, model-00006-of-00008.safetensors "
            "and 2 more",
        ),
    ],
)
def test_what_is_missing_or_damaged_is_named(tmp_path: Path, spoil: Callable[[Path], Any], said: str) -> None:
    path = mlx_model(tmp_path / "m")
    spoil(path)
    with pytest.raises(EngineError) as caught:
        read_mlx_folder(path)
    assert caught.value.what.startswith(said.format(path))
    assert caught.value.todo


def test_odd_configurations_leave_gaps_not_errors(tmp_path: Path) -> None:
    odd: dict[str, Any] = {
        "hidden_size": "wide",
        "num_hidden_layers": True,
        "num_experts": -1,
        "quantization": [],
        "text_config": 3,
    }
    facts = read_mlx_folder(mlx_model(tmp_path / "m", **odd, eos_token_id=[]))
    assert (facts.embedding_width, facts.layers, facts.expert_count, facts.vocab.eos_id) == (None, None, None, None)


def test_a_model_is_told_from_a_folder_of_models(tmp_path: Path) -> None:
    model = mlx_model(tmp_path / "org" / "model")
    assert is_mlx_folder(model)
    assert not is_mlx_folder(tmp_path / "org")
    assert not is_mlx_folder(tmp_path / "nowhere")
    (model / "model.safetensors").unlink()
    assert is_mlx_folder(model)  # what is left of one
    (model / "m.gguf").touch()
    assert not is_mlx_folder(model)  # a folder of GGUF files with the configuration of what they were made from


def test_snapshots_are_called_as_their_repository(tmp_path: Path) -> None:
    assert folder_name(tmp_path / "models--org--Qwen2.5-4bit" / "snapshots" / "0123abc") == "Qwen2.5-4bit"
    assert folder_name(tmp_path / "Qwen2.5-4bit") == "Qwen2.5-4bit"
