from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from specdash.config.gguf import read_model
from specdash.core.model import vocabulary_conflict
from specdash.engines import demo
from specdash.errors import EngineError
from tests.support.demo_models import TINY_MOE

PROMPT = (
    "Write a short story about a lighthouse keeper who finds a letter in a bottle. The letter is from someone who "
    "lived two hundred years ago, and it asks a question that the keeper can answer."
)


def tensors(path: Path) -> dict[str, Any]:
    return {found.name: found.data for found in gguf.GGUFReader(path).tensors}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return demo.write_pair(tmp_path_factory.mktemp("pair"), shape=demo.TINY)


@pytest.fixture(scope="module")
def moe(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return demo.write_moe(tmp_path_factory.mktemp("moe"), shape=TINY_MOE)


def test_headers_say_what_the_models_are(pair: tuple[Path, Path], moe: tuple[Path, Path]) -> None:
    target, draft, experts = read_model(pair[0]), read_model(pair[1]), read_model(moe[0])
    for facts in (target, draft, experts):
        assert facts.synthetic
        assert facts.name is not None
        assert "synthetic weights" in facts.name
        assert facts.quantisation == "F32"
        assert not facts.has_chat_template
    assert (target.layers, draft.layers) == (demo.TINY.layers, demo.TINY.shared)
    assert draft.size_bytes < target.size_bytes < 4_000_000
    assert (experts.model_class, experts.expert_count, experts.expert_used_count) == ("moe", 8, 2)
    assert target.model_class == "dense-small"


def test_all_demo_models_share_a_vocabulary(pair: tuple[Path, Path], moe: tuple[Path, Path]) -> None:
    first, *others = (read_model(path) for path in (*pair, *moe))
    assert [vocabulary_conflict(first, other) for other in others] == [None, None, None]


def test_the_draft_is_the_beginning_of_its_target(pair: tuple[Path, Path]) -> None:
    target, draft = tensors(pair[0]), tensors(pair[1])
    assert "blk.0.ffn_up.weight" in draft
    assert all(np.array_equal(target[name], data) for name, data in draft.items())
    assert not np.array_equal(target["blk.0.attn_q.weight"], target["blk.1.attn_q.weight"])


def test_later_layers_add_as_much_as_epsilon_says(tmp_path: Path) -> None:
    target, _draft = demo.write_pair(tmp_path, shape=demo.TINY, epsilon=0.25)
    found = tensors(target)
    for name in ("attn_output", "ffn_down"):
        first, later = (float(np.std(found[f"blk.{layer}.{name}.weight"])) for layer in (0, 1))
        assert later == pytest.approx(0.25 * first, rel=0.05)


def test_experts_of_shared_layers_are_alike_and_are_those_of_the_draft(moe: tuple[Path, Path]) -> None:
    target, draft = tensors(moe[0]), tensors(moe[1])
    for part in ("gate", "up", "down"):
        experts = target[f"blk.0.ffn_{part}_exps.weight"]
        assert experts.shape[0] == 8
        assert all(np.array_equal(expert, draft[f"blk.0.ffn_{part}.weight"]) for expert in experts)
        later = target[f"blk.1.ffn_{part}_exps.weight"]
        assert not np.array_equal(later[0], later[1])


def test_only_pseudo_words_can_be_written(pair: tuple[Path, Path]) -> None:
    _texts, _types, first_spoken = demo.vocabulary()
    output = tensors(pair[0])["output.weight"]
    assert output.shape[0] == demo.VOCABULARY
    assert not output[:first_spoken].any()
    assert output[first_spoken:].any(axis=1).all()


def test_the_same_arguments_give_the_same_bytes(pair: tuple[Path, Path], tmp_path: Path) -> None:
    again = demo.write_pair(tmp_path / "again", shape=demo.TINY)
    other = demo.write_pair(tmp_path / "other", shape=demo.TINY, seed=2)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in pair]
    assert other[0].read_bytes() != pair[0].read_bytes()


def test_the_vocabulary_reads_ordinary_text() -> None:
    texts, types, first_spoken = demo.vocabulary()
    known = set(texts)
    assert len(texts) == len(types) == len(known) == demo.VOCABULARY
    assert {f"<0x{byte:02X}>" for byte in range(256)} <= known
    assert {chr(code) for code in range(33, 127)} <= known
    assert len(texts) - first_spoken > 1000
    pieces = [text for text in texts[259:first_spoken] if len(text) > 1]
    assert all(text[:-1] in known for text in pieces)
    assert len(cut(demo.SPACE + PROMPT.replace(" ", demo.SPACE), known)) < len(PROMPT) / 1.8


def cut(text: str, known: set[str]) -> list[str]:
    """The longest known beginning, again and again: what equal scores make of a vocabulary that has all beginnings."""
    pieces = []
    while text:
        length = max(end for end in range(1, 20) if text[:end] in known)
        pieces.append(text[:length])
        text = text[length:]
    return pieces


def test_the_default_demo_is_below_500_mb() -> None:
    total = 0
    for shape in (demo.DEMO, demo.DEMO_MOE):
        ends = 2 * demo.VOCABULARY * shape.width
        attention, expert = 4 * shape.width**2, 3 * shape.width * shape.ffn
        total += 2 * ends + shape.layers * (attention + max(1, shape.experts) * expert)
        total += shape.shared * (attention + expert)
    assert total * 4 < 490e6


@pytest.mark.parametrize("package", ["gguf", "numpy"])
def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EngineError) as raised:
        demo.write_pair(tmp_path, shape=demo.TINY)
    assert package in raised.value.what
    assert raised.value.todo == "pip install 'specdash[embedded]'"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match="cannot write demo models"):
        demo.write_pair(tmp_path / "file" / "models", shape=demo.TINY)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(EngineError, match="cannot write demo models"):
            demo.write_pair(tmp_path, shape=demo.TINY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


# Real servers


def drafted(launch: Callable[..., Any], program: Path, target: Path, draft: Path, *more: str) -> tuple[int, float]:
    """The tokens that a real server generated, and the share of drafted ones that it accepted."""
    flags = ["--port", "0", "-t", "1", "-c", "1024", "--spec-type", "draft-simple", "--spec-draft-n-max", "4"]
    running = launch(program, "-m", target, "-md", draft, *flags, "--spec-draft-p-min", "0", *more)
    running.url()
    body = {"prompt": PROMPT, "n_predict": 128, "temperature": 0, "cache_prompt": False}
    timings = running.request("/completion", body)["timings"]
    return timings["predicted_n"], timings["draft_n_accepted"] / timings["draft_n"]


@pytest.mark.real
def test_acceptance_falls_as_epsilon_grows(launch: Callable[..., Any], llama_server: Path, tmp_path: Path) -> None:
    rates = []
    for epsilon in (0.01, 0.2, 1.0):
        models = demo.write_pair(tmp_path / str(epsilon), shape=demo.TINY, epsilon=epsilon)
        generated, rate = drafted(launch, llama_server, *models)
        assert generated == 128
        rates.append(rate)
    assert rates[0] > 0.8
    assert rates[0] > rates[1] > rates[2]
    assert rates[2] < 0.3


@pytest.mark.real
@pytest.mark.parametrize("experts", [2, 8])
def test_one_draft_fits_at_any_number_of_experts(
    launch: Callable[..., Any], llama_server: Path, moe: tuple[Path, Path], experts: int
) -> None:
    override = ("--override-kv", f"llama.expert_used_count=int:{experts}")
    generated, rate = drafted(launch, llama_server, *moe, *override)
    assert generated == 128
    assert rate > 0.6
