"""The fewest tokens that a text can have, against what real tokenizers make of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdash.config.gguf import read_model
from specdash.config.prompts import load_builtin
from specdash.core.model import VocabFacts, packed_texts
from specdash.core.prompts import Pieces
from specdash.engines.llama_cpp.context import count_tokens


def vocab(tokenizer: str, *texts: str) -> VocabFacts:
    packed = packed_texts(text.encode() for text in texts)
    return VocabFacts(tokenizer, None, len(texts), None, None, False, False, packed)


@pytest.mark.parametrize(
    ("words", "text", "least"),
    [
        (("a", "b", "ab", "aba"), "abab", 2),
        (("a", "b", "ab", "aba"), "ababa", 2),
        (("a",), "xyz", 3),
        (("a", "Ġa"), " a a", 2),
        (("Ġ", "    "), "    ", 1),
        ((), "", 0),
    ],
)
def test_the_fewest_pieces_of_a_byte_level_vocabulary(words: tuple[str, ...], text: str, least: int) -> None:
    assert Pieces(vocab("gpt2", *words)).least(text) == least


def test_other_kinds_of_tokenizers() -> None:
    assert Pieces(vocab("llama", "▁the", "▁", "t")).least("a the t") == 4
    assert Pieces(vocab("t5", "▁the")).least("the  the") is None, "it may change a text before it cuts it"


@given(st.text(alphabet="ab c", max_size=12))
def test_no_way_to_cut_a_text_has_fewer_pieces(text: str) -> None:
    words = ("a", "ab", "ba", "bab", "c", "Ġ", "Ġa", "cĠ")

    def fewest(rest: str) -> int:
        cuts = [word for word in words if rest.startswith(word)]
        return min([1 + fewest(rest[len(word) :]) for word in cuts] + [1 + fewest(rest[1:])]) if rest else 0

    assert Pieces(vocab("gpt2", *words)).least(text) == fewest(text.replace(" ", "Ġ"))


@pytest.mark.real
def test_a_real_tokenizer_never_needs_fewer(llama_server: Path, small_models: Path) -> None:
    facts = read_model(small_models / "smol-q2_k-00001-of-00003.gguf")
    texts = [prompt.as_text() for prompt in load_builtin()[::3]]
    texts += ["  two   spaces\n\n\tand tabs \\n", "日本語 naïve 🎉", "1234567 == x_y"]
    counts = count_tokens(llama_server.parent, facts.path, facts.vocab, texts, {})
    assert counts is not None
    pieces = Pieces(facts.vocab)
    for text, count in zip(texts, counts, strict=True):
        least = pieces.least(text)
        assert least is not None
        assert 0.7 * count <= least <= count <= len(text.encode()), text
