from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from specdash.core.model import ModelFacts, VocabFacts, k_max, k_range, vocabulary_conflict


def block(texts: list[bytes]) -> bytes:
    return b"".join(len(text).to_bytes(8, "little") + text for text in texts)


TEXTS = [f"token {number}".encode() for number in range(300)]
VOCAB = VocabFacts("gpt2", "qwen2", 300, 3, 4, True, True, block(TEXTS))
MODEL = ModelFacts(
    path=Path("a.gguf"),
    parts=(Path("a.gguf"),),
    size_bytes=1000,
    architecture="qwen2",
    name=None,
    parameters=500_000_000,
    quantisation="Q8_0",
    layers=24,
    embedding_width=896,
    context_length=32768,
    expert_count=None,
    expert_used_count=None,
    has_chat_template=True,
    vocab=VOCAB,
)


def with_texts(texts: list[bytes]) -> ModelFacts:
    return replace(MODEL, vocab=replace(VOCAB, texts=block(texts), size=len(texts)))


def changed(at: int, text: bytes) -> ModelFacts:
    return with_texts([*TEXTS[:at], text, *TEXTS[at + 1 :]])


@pytest.mark.parametrize(
    "draft",
    [
        MODEL,
        changed(0, b"<other>"),
        changed(4, b""),
        with_texts(TEXTS[:-128]),
        with_texts([*TEXTS, *[b"extra"] * 128]),
        replace(MODEL, vocab=replace(VOCAB, pre="llama-bpe")),
        replace(MODEL, vocab=replace(VOCAB, tokenizer="gemma4")),
    ],
)
def test_vocabularies_that_llama_cpp_accepts(draft: ModelFacts) -> None:
    assert vocabulary_conflict(MODEL, draft) is None
    assert vocabulary_conflict(draft, MODEL) is None


def test_ids_of_special_tokens_count_only_where_they_are_added() -> None:
    silent = replace(MODEL, vocab=replace(VOCAB, add_bos=False, add_eos=False))
    other = replace(silent, vocab=replace(silent.vocab, bos_id=9, eos_id=None))
    assert vocabulary_conflict(silent, other) is None


@pytest.mark.parametrize(
    ("draft", "words"),
    [
        (replace(MODEL, vocab=replace(VOCAB, tokenizer="llama")), ["BPE", "SPM"]),
        (replace(MODEL, vocab=replace(VOCAB, tokenizer="\x1b[31m")), ["\\x1b"]),
        (replace(MODEL, vocab=replace(VOCAB, add_bos=False)), ["target adds BOS", "draft does not"]),
        (replace(MODEL, vocab=replace(VOCAB, add_eos=False)), ["target adds EOS", "draft does not"]),
        (replace(MODEL, vocab=replace(VOCAB, bos_id=9)), ["BOS", "token 3 in the target", "token 9 in the draft"]),
        (replace(MODEL, vocab=replace(VOCAB, eos_id=None)), ["EOS", "token 4 in the target", "none in the draft"]),
        (with_texts(TEXTS[:-129]), ["128", "300 in the target", "171 in the draft"]),
        (changed(5, b"five"), ["token 5 is 'token 5' in the target", "'five' in the draft"]),
        (changed(299, b"\x1b]0;x\x07\xff"), ["token 299", r"'\x1b]0;x\x07\\xff'"]),
        (changed(7, b"long " * 100), ["token 7", "…"]),
        (changed(8, "‮abc\u2028".encode()), [r"\u202e", r"\u2028"]),
    ],
)
def test_a_conflict_names_what_differs_and_is_safe_to_print(draft: ModelFacts, words: list[str]) -> None:
    conflict = vocabulary_conflict(MODEL, draft)
    assert conflict is not None
    assert [word for word in words if word not in conflict] == []
    assert conflict.isprintable()
    assert len(conflict) < 200


def test_a_text_that_begins_another_is_a_difference() -> None:
    shorter = changed(6, b"token")
    assert vocabulary_conflict(MODEL, shorter) == "token 6 is 'token 6' in the target and 'token' in the draft"


def test_a_vocabulary_without_texts_fits_any_of_its_size() -> None:
    bare = replace(MODEL, vocab=replace(VOCAB, texts=b""))
    assert vocabulary_conflict(bare, MODEL) is None


def test_tokens_come_apart_as_they_were_put_together() -> None:
    assert list(VOCAB.tokens()) == TEXTS
    assert list(VOCAB.tokens(298)) == TEXTS[298:]
    assert list(VOCAB.tokens(301)) == []


@pytest.mark.parametrize(
    ("parameters", "experts", "wanted"),
    [
        (None, None, "dense-small"),
        (31_999_999_999, None, "dense-small"),
        (32_763_876_352, None, "dense-mid"),  # Qwen2.5 32B
        (68_976_648_192, None, "dense-large"),  # Llama 2 70B
        (480_000_000_000, 160, "moe"),
    ],
)
def test_classes(parameters: int | None, experts: int | None, wanted: str) -> None:
    facts = replace(MODEL, parameters=parameters, expert_count=experts)
    assert facts.model_class == wanted


@pytest.mark.parametrize("model_class", ["moe", "dense-small", "dense-mid", "dense-large"])
def test_ranges_begin_at_two_and_stay_below_the_most(model_class: str) -> None:
    ks = k_range(model_class)
    assert ks[0] == 2
    assert list(ks) == sorted(set(ks))
    assert ks[-1] <= k_max(model_class)


def test_a_class_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="huge"):
        k_range("huge")
    with pytest.raises(ValueError, match="huge"):
        k_max("huge")
