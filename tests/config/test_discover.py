from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import pytest

from specdash.config.discover import FoundModel, default_folders, expand, families, find_models, read_any
from tests.support.mlx_folders import mlx_model

SPLIT = Path(__file__).parents[1] / "data" / "split"


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def model(path: Path, *, weights: int = 8, words: tuple[str, ...] = ("a", "b", "c", "d", "e", "f", "g")) -> Path:
    """A smallest GGUF file with a vocabulary and one tensor."""
    tokens = struct.pack("<IIQ", 9, 8, len(words)) + b"".join(map(text, words))
    entries = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("tokenizer.ggml.model") + struct.pack("<I", 8) + text("llama"),
        text("tokenizer.ggml.tokens") + tokens,
    ]
    info = text("w") + struct.pack("<IQIQ", 1, weights, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(entries)) + b"".join(entries) + info
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + bytes(-len(head) % 32) + bytes(4 * weights))
    return path


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


# Folders that MLX loads


def test_mlx_folders_stand_beside_files(tmp_path: Path) -> None:
    model(tmp_path / "b.gguf")
    for name in ("a-4bit", "org/c-4bit"):
        mlx_model(tmp_path / name)
    assert expand("", tmp_path) == [tmp_path / "a-4bit", tmp_path / "b.gguf", tmp_path / "org/c-4bit"]
    assert expand("a-4bit", tmp_path) == [tmp_path / "a-4bit"]
    assert expand("**/*-4bit", tmp_path) == [tmp_path / "a-4bit", tmp_path / "org/c-4bit"]
    assert expand("org", tmp_path) == [tmp_path / "org/c-4bit"]
    assert expand("a-4bit/*", tmp_path) == []


def test_mlx_models_of_the_caches_are_found_once_and_named(tmp_path: Path) -> None:
    repository = tmp_path / "models--org--Small-4bit"
    mlx_model(repository / "snapshots" / "0123")
    (repository / "blobs").mkdir()
    (repository / "snapshots/0123/model.safetensors").rename(repository / "blobs/abc")
    for revision in ("0123", "4567"):
        mlx_model(repository / "snapshots" / revision)
        (repository / "snapshots" / revision / "model.safetensors").unlink()
        (repository / "snapshots" / revision / "model.safetensors").symlink_to("../../blobs/abc")
    embedding = mlx_model(tmp_path / "models--org--Embedder" / "snapshots" / "0123", architectures=["BertModel"])
    mlx_model(tmp_path / "org" / "Large-8bit", tensors={"w": ("BF16", (99, 8))})
    (tmp_path / "org" / "Broken").mkdir()
    (tmp_path / "org" / "Broken" / "config.json").write_text("{")
    (tmp_path / "org" / "Broken" / "model.safetensors").touch()
    found = find_models([tmp_path])
    assert [(one.label, one.facts is None) for one in found] == [
        ("Small-4bit", False),
        ("Broken", True),
        ("Large-8bit", False),
    ]
    assert embedding not in [one.path for one in found]
    (family,) = families(found)
    assert family.drafts[tmp_path / "org/Large-8bit"] == (repository / "snapshots/0123",)


def test_files_and_folders_never_draft_for_each_other(tmp_path: Path) -> None:
    words = ("a", "b", "c", "d", "e", "f", "g")
    model(tmp_path / "a.gguf", words=words)
    mlx_model(tmp_path / "b-4bit", words=words)
    grouped = families(find_models([tmp_path]))
    assert [len(family.models) for family in grouped] == [1, 1]
    assert read_any(tmp_path / "a.gguf").format == "gguf"
    assert read_any(tmp_path / "b-4bit").format == "mlx"


# Patterns and folders


def test_a_folder_is_all_its_models_in_natural_order(tmp_path: Path) -> None:
    touch(tmp_path, "m-32B.gguf", "m-9B.gguf", "sub/M-14B.GGUF", "mmproj-m.gguf", "m-mmproj-f16.gguf", "README.md")
    touch(tmp_path, *(f"big-{number:05}-of-00003.gguf" for number in (1, 2, 3)))
    found = [str(path.relative_to(tmp_path)) for path in expand("", tmp_path)]
    assert found == ["big-00001-of-00003.gguf", "m-9B.gguf", "m-32B.gguf", "sub/M-14B.GGUF"]
    assert expand(str(tmp_path), Path("/elsewhere")) == expand("", tmp_path)


def test_a_split_model_is_one_model_under_the_name_of_its_owner(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        shutil.copy(SPLIT / f"tiny-0000{number}-of-00003.gguf", tmp_path)
    (found,) = find_models([tmp_path])
    assert (found.path, found.label) == (tmp_path / "tiny-00001-of-00003.gguf", "tiny")
    assert found.facts is not None
    assert len(found.facts.parts) == 3
    (found,) = find_models([tmp_path / "tiny-00001-of-00003.gguf"])
    assert (found.label, found.facts is None) == ("tiny", False)


@pytest.mark.parametrize("pattern", ["", "*.gguf"], ids=["folder", "pattern"])
def test_a_split_model_without_its_first_part_is_told_and_not_left_out(pattern: str, tmp_path: Path) -> None:
    for number in (2, 3):
        shutil.copy(SPLIT / f"tiny-0000{number}-of-00003.gguf", tmp_path)
    assert expand(pattern, tmp_path) == [tmp_path / "tiny-00002-of-00003.gguf"]
    (found,) = find_models([tmp_path])
    assert found.facts is None
    assert "missing: tiny-00001-of-00003.gguf" in found.problem


def test_a_pattern_is_relative_to_the_profile(tmp_path: Path) -> None:
    touch(tmp_path, "a/x-Q4.gguf", "a/x-Q8.gguf", "a/y-Q4.gguf", "a/mmproj-x-Q4.gguf", "a/x-Q4.txt", "a/b/x-Q4.gguf")
    (tmp_path / "a/x-folder.gguf").mkdir()
    assert expand("a/x-*", tmp_path) == [tmp_path / "a/x-Q4.gguf", tmp_path / "a/x-Q8.gguf"]
    assert expand("**/x-Q4.gguf", tmp_path) == [tmp_path / "a/b/x-Q4.gguf", tmp_path / "a/x-Q4.gguf"]
    assert expand("a/[xy]-Q?.gguf", tmp_path) == expand(str(tmp_path / "a" / "[xy]-Q?.gguf"), Path("/elsewhere"))
    assert expand("a/z*", tmp_path) == []


def test_a_plain_path_stands_for_itself(tmp_path: Path) -> None:
    touch(tmp_path, "[odd] name.gguf", "mmproj.gguf")
    assert expand("missing.gguf", tmp_path) == [tmp_path / "missing.gguf"]
    assert expand("[odd] name.gguf", tmp_path) == [tmp_path / "[odd] name.gguf"]
    assert expand("mmproj.gguf", tmp_path) == [tmp_path / "mmproj.gguf"]


def test_a_profile_in_a_folder_with_signs_of_a_pattern(tmp_path: Path) -> None:
    base = tmp_path / "[runs]*"
    touch(base, "x.gguf")
    assert expand("*.gguf", base) == [base / "x.gguf"]
    assert expand(f"{base}/*.gguf", base) == [base / "x.gguf"]


def test_home_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "m/a.gguf")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MODELS", str(tmp_path / "m"))
    wanted = [tmp_path / "m/a.gguf"]
    assert expand("~/m/*.gguf", Path("/elsewhere")) == wanted
    assert expand("$MODELS", Path("/elsewhere")) == wanted
    assert expand("${MODELS}/a.gguf", Path("/elsewhere")) == wanted
    assert expand("$NO_SUCH_NAME/a.gguf", tmp_path) == [tmp_path / "$NO_SUCH_NAME/a.gguf"]


# Caches


def test_what_cannot_be_read_is_listed_with_the_reason(tmp_path: Path) -> None:
    model(tmp_path / "good.gguf")
    (tmp_path / "page.gguf").write_text("<html>")
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "dangling.gguf").symlink_to(tmp_path / "gone")
    (tmp_path / "bad\x1b[31m.gguf").write_bytes(b"")
    found = {one.label: one for one in find_models([tmp_path, tmp_path / "no-such-folder"])}
    assert found["good"].facts is not None
    problems = {label: one.problem for label, one in found.items() if one.facts is None}
    assert "web page" in problems["page"]
    assert "FIFO" in problems["pipe"]
    assert "does not exist" in problems["dangling"]
    assert "is empty" in problems["bad\\x1b[31m"]
    assert "no such folder" in problems["no-such-folder"]
    assert all(problem.isprintable() for problem in problems.values())


def test_each_file_is_found_once(tmp_path: Path) -> None:
    blob = model(tmp_path / "hub/models--a--b/blobs/0123")
    for revision in ("r1", "r2"):
        link = tmp_path / "hub/models--a--b/snapshots" / revision / "b-Q8_0.gguf"
        link.parent.mkdir(parents=True)
        link.symlink_to(blob)
    (one,) = find_models([tmp_path / "hub"])
    assert one.label == "b-Q8_0"
    assert one.path.name == "b-Q8_0.gguf"


def test_token_texts_are_kept_once(tmp_path: Path) -> None:
    model(tmp_path / "a.gguf")
    model(tmp_path / "b.gguf", weights=4)
    first, second = (one.facts for one in find_models([tmp_path]))
    assert first is not None
    assert second is not None
    assert first.vocab.texts is second.vocab.texts


def ollama(folder: Path, name: str, digest: str, *, kind: str = "application/vnd.ollama.image.model") -> None:
    manifest = folder / "manifests" / name
    manifest.parent.mkdir(parents=True, exist_ok=True)
    layers = [{"mediaType": kind, "digest": f"sha256:{digest}"}, {"mediaType": "other", "digest": "sha256:" + "f" * 64}]
    manifest.write_text(json.dumps({"layers": layers}))


def test_ollama_models_have_their_names(tmp_path: Path) -> None:
    one, two, three = "1" * 64, "2" * 64, "3" * 64
    model(tmp_path / f"blobs/sha256-{one}")
    model(tmp_path / f"blobs/sha256-{two}")
    ollama(tmp_path, "registry.ollama.ai/library/qwen2.5/0.5b", one)
    ollama(tmp_path, "hf.co/someone/model-GGUF/Q4_K_M", two)
    ollama(tmp_path, "registry.ollama.ai/library/gone/7b", three)
    ollama(tmp_path, "registry.ollama.ai/library/escape/x", "../../etc/passwd")
    ollama(tmp_path, "stray", one)
    for name, content in (("broken", "{"), ("list", "[]"), ("deep", "[" * 100_000), ("odd", '{"layers": [1]}')):
        (tmp_path / f"manifests/{name}").write_text(content)
    found = {model.label: model for model in find_models([tmp_path])}
    assert set(found) == {"qwen2.5:0.5b", "someone/model-GGUF:Q4_K_M", "gone:7b"}
    assert found["qwen2.5:0.5b"].source == "Ollama"
    assert found["qwen2.5:0.5b"].facts is not None
    assert "does not exist" in found["gone:7b"].problem


def test_the_caches_of_other_tools_are_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "llama"))
    for number, (folder, source) in enumerate(default_folders()):
        if source != "Ollama" and folder.is_relative_to(tmp_path):
            model(folder / f"{source}-{number}.gguf")
    sources = {one.source for one in find_models() if one.path.is_relative_to(tmp_path)}
    assert sources == {"Hugging Face", "LM Studio", "llama.cpp"}
    monkeypatch.setenv("HF_HOME", "/data/hf")
    assert default_folders()[0] == (Path("/data/hf/hub"), "Hugging Face")
    monkeypatch.setenv("HF_HUB_CACHE", "/data/hub")
    assert default_folders()[0] == (Path("/data/hub"), "Hugging Face")


# Families


def test_families_and_their_drafts(tmp_path: Path) -> None:
    other = ("a", "b", "c", "d", "e", "other")
    model(tmp_path / "big.gguf", weights=100)
    model(tmp_path / "mid.gguf", weights=50)
    model(tmp_path / "mid-copy.gguf", weights=50)
    model(tmp_path / "small.gguf", weights=10)
    model(tmp_path / "stranger.gguf", weights=20, words=other)
    (tmp_path / "broken.gguf").write_bytes(b"")
    first, second = families(find_models([tmp_path]))
    assert [one.label for one in first.models] == ["big", "mid-copy", "mid", "small"]
    drafts = {path.stem: [draft.stem for draft in fit] for path, fit in first.drafts.items()}
    assert drafts == {
        "big": ["small", "mid", "mid-copy"],
        "mid": ["small"],
        "mid-copy": ["small"],
        "small": [],
    }
    assert first.name == "llama, 7 tokens"
    assert [one.label for one in second.models] == ["stranger"]


def test_no_models_no_families() -> None:
    assert families([FoundModel(Path("x"), "x", "y", None, "broken")]) == []
