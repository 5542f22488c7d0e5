from __future__ import annotations

import os
import random
import resource
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from specdash.config import gguf_header
from specdash.config.gguf import read_model
from specdash.engines.demo import TINY, write_moe, write_pair
from specdash.errors import EngineError
from tests.support.demo_models import TINY_MOE

U32, F32, BOOL, STRING, ARRAY, U64 = 4, 6, 7, 8, 9, 10


def text(value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def entry(key: str, kind: int, payload: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + payload


def string(key: str, value: str) -> bytes:
    return entry(key, STRING, text(value))


def u32(key: str, value: int) -> bytes:
    return entry(key, U32, struct.pack("<I", value))


def array(key: str, kind: int, count: int, payload: bytes) -> bytes:
    return entry(key, ARRAY, struct.pack("<IQ", kind, count) + payload)


def tensor(name: str, shape: list[int], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


ARCH = string("general.architecture", "llama")
TOKENS = [b"<unk>", b"<s>", b"</s>", b"a", b"b", b"c", b"d"]


def tokens(texts: list[bytes]) -> bytes:
    return array("tokenizer.ggml.tokens", STRING, len(texts), b"".join(map(text, texts)))


def build(
    entries: list[bytes],
    tensors: list[bytes] | None = None,
    *,
    data: int = 0,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    magic: bytes = b"GGUF",
) -> bytes:
    infos = tensors or []
    claimed = counts or (len(infos), len(entries))
    head = magic + struct.pack("<IQQ", version, *claimed) + b"".join(entries) + b"".join(infos)
    return head + bytes(-len(head) % 32) + bytes(data)


GOOD = build(
    [ARCH, u32("llama.block_count", 2), string("tokenizer.ggml.model", "llama"), tokens(TOKENS)],
    [tensor("a", [8, 4]), tensor("b", [32, 2], kind=8, offset=128)],
    data=128 + 68,
)


def written(folder: Path, content: bytes, name: str = "model.gguf") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_a_small_file(tmp_path: Path) -> None:
    facts = read_model(written(tmp_path, GOOD))
    assert facts.architecture == "llama"
    assert facts.parameters == 32 + 64
    assert facts.quantisation == "Q8_0"
    assert facts.layers == 2
    assert facts.expert_count is None
    assert facts.name is None
    assert not facts.has_chat_template
    assert not facts.synthetic
    assert facts.model_class == "dense-small"
    assert facts.size_bytes == len(GOOD)
    assert list(facts.vocab.tokens()) == TOKENS
    assert (facts.vocab.bos_id, facts.vocab.eos_id, facts.vocab.add_bos, facts.vocab.add_eos) == (1, 2, True, False)


HUGE = 2**60
MALFORMED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "html": (b"\n<!DOCTYPE html><html><body>Sign in", "web page"),
    "xml": (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "web page"),
    "text": (b"This is a model, believe me.\n", "text file"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS"),
    "zeros": (bytes(4096), "zero bytes"),
    "noise": (bytes(range(256)) * 4, "is not a GGUF file"),
    "safetensors": (struct.pack("<Q", 60) + b'{"a":{"dtype":"F32"}}', "safetensors"),
    "zip": (b"PK\x03\x04" + bytes(40), "zip or PyTorch"),
    "ggml": (b"lmgg" + bytes(40), "older than GGUF"),
    "ggjt": (b"tjgg" + bytes(40), "older than GGUF"),
    "magic only": (b"GGUF", "inside its header"),
    "version only": (b"GGUF\x03\0\0\0", "inside its header"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 1) + bytes(64), "big-endian"),
    "reversed magic": (b"FUGG" + bytes(64), "big-endian"),
    "version 1": (build([ARCH], version=1), "version 1"),
    "version 4": (build([ARCH], version=4), "version 4"),
    "2^60 tensors": (build([ARCH], counts=(HUGE, 1)), "claims 1,152,921,504,606,846,976 tensors"),
    "2^60 entries": (build([ARCH], counts=(0, HUGE)), "metadata entries"),
    "2^64-1 tensors": (build([ARCH], counts=(2**64 - 1, 1)), "tensors"),
    "more entries than bytes": (build([ARCH], counts=(0, 100)), "metadata entries"),
    "entry missing": (build([ARCH], counts=(0, 2), data=64), "empty"),
    "array twice": (build([ARCH, tokens(TOKENS), tokens(TOKENS)]), "twice"),
    "key of 2^60": (build([struct.pack("<Q", HUGE) + bytes(64)]), "inside its header"),
    "long key": (build([text(b"k" * 70_000) + struct.pack("<IB", BOOL, 1)]), "70,000"),
    "unknown type": (build([ARCH, entry("x", 13, bytes(8))]), "unknown type 13"),
    "string of 2^60": (build([ARCH, entry("x", STRING, struct.pack("<Q", HUGE))]), "inside its header"),
    "string of 2^64-1": (build([ARCH, entry("x", STRING, struct.pack("<Q", 2**64 - 1))]), "inside its header"),
    "array of 2^60": (build([ARCH, array("x", U64, HUGE, b"")]), "inside its header"),
    "strings 2^60": (build([ARCH, array("x", STRING, HUGE, b"")]), "claims"),
    "string in array too long": (build([ARCH, array("x", STRING, 1, struct.pack("<Q", HUGE))]), "inside its header"),
    "nested array": (build([ARCH, array("x", ARRAY, 1, struct.pack("<IQ", ARRAY, 1) * 2000)]), "array of arrays"),
    "array of unknown": (build([ARCH, array("x", 99, 1, bytes(8))]), "unknown type 99"),
    "tokens are numbers": (build([ARCH, array("tokenizer.ggml.tokens", U32, 2, bytes(8))]), "tokens are no texts"),
    "key twice": (build([ARCH, u32("x", 1), u32("x", 2)]), "twice"),
    "no architecture": (build([u32("x", 1)]), "no architecture"),
    "projector": (build([string("general.architecture", "clip")]), "projector"),
    "tensor past the end": (build([ARCH], [tensor("w", [1024])], data=4000), "96 bytes are missing"),
    "tensor far away": (build([ARCH], [tensor("w", [4], offset=HUGE)], data=64), "truncated"),
    "tensor of 2^64": (build([ARCH], [tensor("w", [2**63, 2**63])], data=64), "truncated"),
    "dimensions": (build([ARCH], [tensor("w", [1] * 5)], data=64), "5 dimensions"),
    "2^31 dimensions": (build([ARCH], [text("w") + struct.pack("<I", 2**31) + bytes(64)]), "dimensions"),
    "broken blocks": (build([ARCH], [tensor("w", [33], kind=8)], data=64), "blocks of 32"),
    "tensor name of 2^60": (build([ARCH], [struct.pack("<Q", HUGE) + bytes(64)]), "inside its header"),
    "alignment 2^30": (build([ARCH, u32("general.alignment", 2**30)], [tensor("w", [1])], data=64), "aligns"),
    "alignment 0": (build([ARCH, u32("general.alignment", 0)], [tensor("w", [1])], data=64), "aligns"),
    "alignment 48": (build([ARCH, u32("general.alignment", 48)], [tensor("w", [1])], data=64), "aligns"),
    "alignment a text": (build([ARCH, string("general.alignment", "x")], [tensor("w", [1])], data=64), "aligns"),
    "escape in a key": (build([ARCH, entry("\x1b]52;c;x\x07", 77, b"")]), "\\x1b]52"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_are_refused_with_a_reason(tmp_path: Path, case: str) -> None:
    content, reason = MALFORMED[case]
    tracemalloc.start()
    try:
        with pytest.raises(EngineError) as raised:
            read_model(written(tmp_path, content))
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reason in raised.value.what
    assert str(tmp_path / "model.gguf") in raised.value.what
    assert raised.value.what.isprintable()
    assert peak < 10 * 2**20


@pytest.mark.parametrize("kept", range(0, len(GOOD), 7))
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, kept: int) -> None:
    with pytest.raises(EngineError):
        read_model(written(tmp_path, GOOD[:kept]))


def test_a_truncated_file_says_by_how_much(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as raised:
        read_model(written(tmp_path, GOOD[:-50]))
    size = len(GOOD)
    assert f"should end at byte {size:,}, the file ends at {size - 50:,}; 50 bytes are missing" in raised.value.what


def test_mutated_files_end_in_facts_or_in_an_error(tmp_path: Path) -> None:
    source = random.Random(7)
    path = tmp_path / "model.gguf"
    refused: list[EngineError] = []
    for _ in range(1500):
        content = bytearray(GOOD)
        for _ in range(source.randint(1, 4)):
            at = source.randrange(4, len(content) - 200)
            content[at] = source.choice((0, 1, 0x7F, 0xFF, source.randrange(256)))
        path.write_bytes(content)
        try:
            facts = read_model(path)
        except EngineError as error:
            refused.append(error)
        else:
            assert facts.vocab.size >= 0
            assert len(list(facts.vocab.tokens())) in (0, facts.vocab.size)
    assert len(refused) > 100
    assert all(error.what.isprintable() for error in refused)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"nothing\.gguf does not exist"):
        read_model(tmp_path / "nothing.gguf")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="is a folder"):
        read_model(tmp_path)


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.gguf")
    with pytest.raises(EngineError, match="FIFO"):
        read_model(tmp_path / "model.gguf")


def test_a_device_does_not_block() -> None:
    with pytest.raises(EngineError, match="device"):
        read_model(Path("/dev/zero"))


def test_a_name_with_a_nul(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be read"):
        read_model(tmp_path / "a\0b.gguf")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    path.chmod(0)
    with pytest.raises(EngineError, match="cannot be read"):
        read_model(path)


def test_files_are_closed_whatever_happens(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        for _ in range(100):
            with pytest.raises(EngineError):
                read_model(written(tmp_path, GOOD[:100]))
            read_model(written(tmp_path, GOOD))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_tensor_type_newer_than_this_reader_is_no_error(tmp_path: Path) -> None:
    facts = read_model(written(tmp_path, build([ARCH], [tensor("w", [64], kind=999)], data=8)))
    assert facts.parameters == 64
    assert facts.quantisation is None


# Split models, in parts that llama-gguf-split wrote

SPLIT = Path(__file__).parents[1] / "data" / "split"


def part(number: int, of: int = 3) -> str:
    return f"tiny-{number:05}-of-{of:05}.gguf"


def split(folder: Path) -> Path:
    """A copy of the recorded parts; the path of the first."""
    for number in (1, 2, 3):
        shutil.copy(SPLIT / part(number), folder)
    return folder / part(1)


def test_a_split_model_is_the_model_that_it_was_made_of(tmp_path: Path) -> None:
    whole, facts = read_model(SPLIT / "tiny.gguf"), read_model(split(tmp_path))
    assert facts.path == tmp_path / part(1)
    assert facts.parts == tuple(tmp_path / part(number) for number in (1, 2, 3))
    assert facts.size_bytes == sum(path.stat().st_size for path in facts.parts)
    alike = {"path": None, "parts": (), "size_bytes": 0}
    assert replace(facts, **alike) == replace(whole, **alike)  # type: ignore[arg-type]
    assert whole.parameters == 1472
    assert whole.bytes_per_token == 2 * (1472 - 7 * 32)  # the output is in another part than the table


@pytest.mark.real
def test_a_real_model_of_several_parts_is_the_model_that_it_was_made_of(small_models: Path) -> None:
    whole = read_model(small_models / "smol-q2_k.gguf")
    facts = read_model(small_models / "smol-q2_k-00001-of-00003.gguf")
    assert (facts.parameters, facts.quantisation, facts.vocab) == (whole.parameters, "Q2_K", whole.vocab)
    assert (facts.bytes_per_token, facts.layers) == (whole.bytes_per_token, 30)
    assert facts.size_bytes == sum(path.stat().st_size for path in small_models.glob("smol-q2_k-0*.gguf"))


def test_layers_that_draft_ahead_are_known_in_every_part(tmp_path: Path) -> None:
    """What they are stands in the first part alone."""
    one = string("general.architecture", "llama") + u32("llama.block_count", 2)
    numbers = [entry("split.count", 2, struct.pack("<H", 2)), entry("split.tensors.count", 5, struct.pack("<i", 2))]
    first = [one[: len(ARCH)], one[len(ARCH) :], u32("llama.nextn_predict_layers", 1), *numbers]
    first.append(entry("split.no", 2, struct.pack("<H", 0)))
    later = [*numbers, entry("split.no", 2, struct.pack("<H", 1))]
    path = written(tmp_path, build(first, [tensor("blk.0.w", [8])], data=32), "m-00001-of-00002.gguf")
    written(tmp_path, build(later, [tensor("blk.1.w", [8])], data=32), "m-00002-of-00002.gguf")
    assert read_model(path).bytes_per_token == 32


@pytest.mark.parametrize("missing", [(2,), (2, 3), (1,)], ids=str)
def test_missing_parts_are_named(missing: tuple[int, ...], tmp_path: Path) -> None:
    split(tmp_path)
    for number in missing:
        (tmp_path / part(number)).unlink()
    with pytest.raises(EngineError) as raised:
        read_model(tmp_path / part(1 if 1 not in missing else 2))
    assert raised.value.what.endswith(f"missing: {', '.join(map(part, missing))}")


def test_a_cut_part_is_found(tmp_path: Path) -> None:
    first = split(tmp_path)
    os.truncate(tmp_path / part(3), 1000)
    with pytest.raises(EngineError, match=r"tiny-00003-of-00003\.gguf is truncated"):
        read_model(first)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda folder: (folder / part(1)).rename(folder / "model.gguf"),
            r"part 1 of a model in 3 parts, and not named",
        ),
        (
            lambda folder: (folder / part(2)).rename(folder / "model.gguf"),
            r"this one must be NAME-00002-of-00003\.gguf",
        ),
        (lambda folder: (folder / part(1)).rename(folder / part(1, 2)), r"this one must be NAME-00001-of-00003\.gguf"),
        (lambda folder: folder / part(2), r"is part 2 of 3\n.*tiny-00001-of-00003\.gguf"),
        (lambda folder: swapped(folder), "is not part 2"),
        (lambda folder: patched(folder, 2, "split.count", "<H", 4), "tiny-00002-of-00003.gguf is a part of another"),
        (
            lambda folder: patched(folder, 3, "split.tensors.count", "<i", 7),
            "tiny-00003-of-00003.gguf is a part of ano",
        ),
        (lambda folder: patched(folder, 2, "split.no", "<H", 0), "names no architecture"),
    ],
)
def test_parts_that_do_not_fit(tmp_path: Path, change: Callable[[Path], Path], reason: str) -> None:
    split(tmp_path)
    with pytest.raises(EngineError, match=reason):
        read_model(change(tmp_path))


def test_parts_with_other_tensors_than_they_say(tmp_path: Path) -> None:
    first = split(tmp_path)
    for number in (1, 2, 3):
        patched(tmp_path, number, "split.tensors.count", "<i", 99)
    with pytest.raises(EngineError, match="have 6 tensors, 99 belong"):
        read_model(first)


def swapped(folder: Path) -> Path:
    two, three = folder / part(2), folder / part(3)
    content = two.read_bytes()
    two.write_bytes(three.read_bytes())
    three.write_bytes(content)
    return folder / part(1)


def patched(folder: Path, number: int, key: str, form: str, value: int) -> Path:
    """Overwrites a number in the header of a part; the path of the first part."""
    content = bytearray((folder / part(number)).read_bytes())
    at = content.index(text(key)) + len(text(key)) + 4
    content[at : at + struct.calcsize(form)] = struct.pack(form, value)
    (folder / part(number)).write_bytes(content)
    return folder / part(1)


# Against the package gguf


def vocabulary_file(path: Path, texts: list[bytes], **more: Any) -> Path:
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("Made up")
    writer.add_block_count(24)
    writer.add_embedding_length(896)
    writer.add_context_length(32768)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(texts)
    writer.add_token_types([1] * len(texts))
    writer.add_token_merges([f"a{number} b{number}" for number in range(len(texts))])
    writer.add_eos_token_id(6)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{{ messages }}")
    for name, tensor_data in more.items():
        writer.add_tensor(name, tensor_data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_large_vocabulary_is_read_as_written(tmp_path: Path) -> None:
    texts = [f"tök{number}".encode() for number in range(152_064)]
    facts = read_model(vocabulary_file(tmp_path / "v.gguf", texts))
    assert list(facts.vocab.tokens()) == texts
    assert facts.vocab.size == len(texts)
    assert facts.parameters is None
    assert (facts.layers, facts.embedding_width, facts.context_length) == (24, 896, 32768)
    assert facts.quantisation == "Q4_K_M"
    assert facts.name == "Made up"
    assert facts.has_chat_template


def test_the_reader_agrees_with_the_package_gguf(tmp_path: Path) -> None:
    texts = [f"t{number}".encode() for number in range(100)]
    weights = {"a.weight": np.zeros((3, 32), np.float32), "b.weight": np.zeros((2, 64), np.float16)}
    path = vocabulary_file(tmp_path / "v.gguf", texts, **weights)
    facts, oracle = read_model(path), gguf.GGUFReader(path)
    assert facts.parameters == sum(int(found.n_elements) for found in oracle.tensors)
    assert facts.architecture == oracle.fields["general.architecture"].contents()
    assert facts.vocab.eos_id == oracle.fields["tokenizer.ggml.eos_token_id"].contents()
    assert [found.decode() for found in facts.vocab.tokens()] == oracle.fields["tokenizer.ggml.tokens"].contents()
    assert facts.vocab.bos_id == 11
    assert not facts.vocab.add_bos


def test_the_tables_agree_with_the_package_gguf() -> None:
    sizes = {int(kind): (kind.name, *gguf.GGML_QUANT_SIZES[kind]) for kind in gguf.GGMLQuantizationType}
    assert sizes.items() <= gguf_header.TENSOR_TYPES.items()
    labels = {int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in gguf.LlamaFileType}
    del labels[int(gguf.LlamaFileType.GUESSED)]
    assert labels.items() <= gguf_header.FILE_TYPES.items()


@pytest.mark.parametrize(
    ("entries", "wanted"),
    [
        (["llama"], (1, 2, True, False)),
        (["gpt2", "qwen2"], (11, 11, False, False)),
        (["gpt2", "llama-bpe"], (11, 11, True, False)),
        (["gpt2", "tekken"], (11, 11, True, False)),
        (["gpt2", "glm4"], (None, 11, False, False)),
        (["bert"], (None, None, False, False)),  # its default BOS, 101, is outside this vocabulary
        (["t5"], (None, 1, False, True)),
        (["rwkv"], (None, None, False, False)),
        (["gemma4"], (None, None, False, False)),
    ],
)
def test_defaults_are_those_of_llama_cpp(
    tmp_path: Path, entries: list[str], wanted: tuple[int | None, int | None, bool, bool]
) -> None:
    keys = [string("tokenizer.ggml.model", entries[0]), *(string("tokenizer.ggml.pre", pre) for pre in entries[1:])]
    content = build([ARCH, *keys, tokens([bytes([97 + number]) for number in range(20)])])
    vocab = read_model(written(tmp_path, content)).vocab
    assert (vocab.bos_id, vocab.eos_id, vocab.add_bos, vocab.add_eos) == wanted


def test_ids_outside_the_vocabulary_count_as_not_given(tmp_path: Path) -> None:
    keys = [string("tokenizer.ggml.model", "llama"), u32("tokenizer.ggml.bos_token_id", 7), tokens(TOKENS)]
    assert read_model(written(tmp_path, build([ARCH, *keys]))).vocab.bos_id == 1


def test_gemma_4_adds_a_bos_token_whatever_it_says(tmp_path: Path) -> None:
    keys = [
        string("tokenizer.ggml.model", "gemma4"),
        u32("tokenizer.ggml.bos_token_id", 2),
        entry("tokenizer.ggml.add_bos_token", BOOL, b"\0"),
        tokens(TOKENS),
    ]
    assert read_model(written(tmp_path, build([ARCH, *keys]))).vocab.add_bos


def read_per_token(path: Path, used: int = 0, count: int = 1) -> int:
    """What one token reads of a model, by the package gguf's own reading of the file."""
    sizes = {found.name: int(found.n_bytes) for found in gguf.GGUFReader(path).tensors}
    experts = sum(size for name, size in sizes.items() if "_exps" in name)
    looked_up = sizes["token_embd.weight"] if "output.weight" in sizes else 0
    return sum(sizes.values()) - looked_up - experts + experts * used // count


def test_bytes_per_token_of_a_dense_model_leave_out_the_table_of_embeddings(tmp_path: Path) -> None:
    target, _draft = write_pair(tmp_path, shape=TINY)
    facts = read_model(target)
    assert facts.bytes_per_token == read_per_token(target)
    assert facts.bytes_per_token is not None
    assert 3072 * 64 * 4 < facts.size_bytes - facts.bytes_per_token < 3072 * 64 * 4 + 400_000  # the table, the header
    assert facts.expert_bytes is None


def test_bytes_per_token_of_a_mixture_count_the_experts_in_use(tmp_path: Path) -> None:
    target, _draft = write_moe(tmp_path, shape=TINY_MOE)
    facts, oracle = read_model(target), gguf.GGUFReader(target)
    assert facts.bytes_per_token == read_per_token(target, used=2, count=8)
    assert facts.expert_bytes == sum(int(found.n_bytes) for found in oracle.tensors if "_exps" in found.name)


@pytest.mark.parametrize(
    ("kind", "block_bytes"), [(gguf.GGMLQuantizationType.Q8_0, 34), (gguf.GGMLQuantizationType.Q4_0, 18)]
)
def test_a_tied_table_is_read_whole_in_the_type_it_has(
    tmp_path: Path, kind: gguf.GGMLQuantizationType, block_bytes: int
) -> None:
    path = tmp_path / "tied.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for name in ("token_embd.weight", "blk.0.attn_q.weight"):
        packed = gguf.quants.quantize(np.ones((64, 64), np.float32), kind)
        writer.add_tensor(name, packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert read_model(path).bytes_per_token == read_per_token(path) == 2 * 64 * 64 // 32 * block_bytes


def expert_model(*, used: int | None, ahead: int = 0, kind: int = 0) -> bytes:
    """A model of two layers with four experts each, of 64 bytes a matrix; its last `ahead` layers only draft."""
    entries = [
        ARCH,
        u32("llama.block_count", 2),
        u32("llama.expert_count", 4),
        u32("llama.nextn_predict_layers", ahead),
    ]
    names = ["token_embd", "output", "blk.0.ffn_up_exps", "blk.1.ffn_up_exps", "blk.1.ffn_up_shexp"]
    infos = [tensor(f"{name}.weight", [16], kind, 64 * number) for number, name in enumerate(names)]
    entries += [] if used is None else [u32("llama.expert_used_count", used)]
    return build(entries, infos, data=64 * len(names))


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (expert_model(used=1), (64 + 2 * 16 + 64, 128)),
        (expert_model(used=4), (64 + 2 * 64 + 64, 128)),
        (expert_model(used=1, ahead=1), (64 + 16, 64)),
        (expert_model(used=None), (None, 128)),
        (expert_model(used=5), (None, 128)),
        (expert_model(used=1, kind=77), (None, None)),
        (build([ARCH]), (None, None)),
    ],
)
def test_bytes_per_token_are_unknown_rather_than_wrong(
    tmp_path: Path, content: bytes, wanted: tuple[int | None, int | None]
) -> None:
    facts = read_model(written(tmp_path, content))
    assert (facts.bytes_per_token, facts.expert_bytes) == wanted
