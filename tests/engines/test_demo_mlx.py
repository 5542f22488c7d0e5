from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from specdash.engines import demo
from specdash.errors import EngineError
from tests.support import demo_models


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and data of a safetensors file."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def test_it_has_the_weights_of_the_gguf_demo_models(mlx_pair: tuple[Path, Path], tmp_path: Path) -> None:
    names = {"token_embd": "model.embed_tokens", "blk.0.attn_output": "model.layers.0.self_attn.o_proj"}
    for folder, path in zip(mlx_pair, demo.write_pair(tmp_path, shape=demo.TINY), strict=True):
        other = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
        header, data = header_of(folder / "model.safetensors")
        assert len(header) - 1 == len(other)
        for theirs, ours in names.items():
            start, end = header[f"{ours}.weight"]["data_offsets"]
            assert np.array_equal(np.frombuffer(data[start:end], "<f4"), other[f"{theirs}.weight"].ravel())


def test_it_says_what_it_is(mlx_pair: tuple[Path, Path]) -> None:
    target, draft = (json.loads((path / "config.json").read_text()) for path in mlx_pair)
    assert target["specdash.synthetic"] is draft["specdash.synthetic"] is True
    assert (target["num_hidden_layers"], draft["num_hidden_layers"]) == (demo.TINY.layers, demo.TINY.shared)
    assert "chat_template" not in json.loads((mlx_pair[0] / "tokenizer_config.json").read_text())


def test_the_same_arguments_leave_the_files_as_they_are(tmp_path: Path) -> None:
    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}

    demo_models.write_mlx_pair(tmp_path, shape=demo.TINY)
    before = times()
    demo_models.write_mlx_pair(tmp_path, shape=demo.TINY)
    assert times() == before
    target, _ = demo_models.write_mlx_pair(tmp_path, shape=demo.TINY, chat_template="{{ messages }}")
    assert json.loads((target / "tokenizer_config.json").read_text())["chat_template"] == "{{ messages }}"


def test_experts_and_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="have no experts"):
        demo_models.write_mlx_pair(tmp_path, shape=demo_models.TINY_MOE)
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match="cannot write demo models into"):
        demo_models.write_mlx_pair(tmp_path / "file", shape=demo.TINY)
