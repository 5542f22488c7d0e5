"""Finds models: those that a pattern or folder of a profile names, and those that other tools have downloaded.

A model is a GGUF file (of a split one the first part) or a folder that MLX loads.
"""

from __future__ import annotations

import glob
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from specdash.config.gguf import read_model
from specdash.config.mlx_folder import CONFIG, WEIGHTS, folder_name, is_mlx_folder, writes_text
from specdash.config.problems import escaped
from specdash.core.model import ModelFacts, vocabulary_conflict
from specdash.errors import EngineError

_PART = re.compile(r"-(\d{5})(-of-\d{5}(?:\.gguf)?)$", re.IGNORECASE)
_MANIFEST_BYTES = 2**20
_OLLAMA_MODEL = "application/vnd.ollama.image.model"
_OLLAMA_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_NOT_MODELS = ("blobs", "refs", ".locks", ".no_exist")  # folders of the Hugging Face cache that hold no names


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model that was found: `facts`, or else `problem`, the reason why it cannot be used.

    `label` is the name that its owner knows ("llama3.2:3b" in Ollama), `source` where it was found.
    """

    path: Path
    label: str
    source: str
    facts: ModelFacts | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """Models that share a vocabulary, the largest first.

    `drafts` maps the path of each to those of the family that can draft for it: smaller ones, the smallest first.
    """

    name: str
    models: tuple[FoundModel, ...]
    drafts: Mapping[Path, tuple[Path, ...]]


def read_any(path: Path) -> ModelFacts:
    """The facts of a model: of a folder as MLX loads it, or of a GGUF file; EngineError."""
    if not os.path.isdir(path):
        return read_model(path)
    from specdash.config.mlx_model import read_mlx_folder  # whose JSON reader no dashboard has to load

    return read_mlx_folder(path)


def model_stem(path: Path) -> str:
    """The name of a model folder, or of a file without `.gguf` and without the number of a part of several."""
    name = path.name[: -len(".gguf")] if path.name.lower().endswith(".gguf") else folder_name(path)
    return escaped(_PART.sub("", name)) or "model"


def expand(pattern: str, base: Path) -> list[Path]:
    """The models that `pattern` names, in natural order ("9B" before "32B").

    A folder that is no model itself stands for all models in and below it, a pattern (`*`, `?`, `[…]`, `**`) for what
    matches it: each split model once, by its first part, and no projectors for images (mmproj). Any other path stands
    for itself, whether or not it exists. `~` and `$VAR` are expanded; relative patterns start at `base`.
    """
    path = base / os.path.expanduser(os.path.expandvars(pattern))
    if os.path.isdir(path):
        return [path] if is_mlx_folder(path) else sorted(_below(path), key=natural)
    root = base if path.is_relative_to(base) else Path(path.anchor)  # no pattern in what the user did not write
    rest = str(path.relative_to(root))
    if os.path.lexists(path) or not glob.has_magic(rest):
        return [path]
    matches = {root / one for one in glob.iglob(rest, root_dir=root, recursive=True)}
    folders = {one for one in matches if os.path.isdir(one)}
    found = {one for one in folders if is_mlx_folder(one)}
    by_folder: dict[Path, list[str]] = {}
    for one in matches - folders:
        by_folder.setdefault(one.parent, []).append(one.name)
    found |= {folder / name for folder, names in by_folder.items() for name in _models_of(names)}
    return sorted(found, key=natural)


def natural(path: Path) -> list[tuple[int, str, int]]:
    """A sort key that takes digits as numbers and ignores case."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(1, "", int(part)) if number % 2 else (0, part, 0) for number, part in enumerate(parts)]


def find_models(folders: Sequence[Path] | None = None) -> list[FoundModel]:
    """The models in these folders, or in the caches of Hugging Face, LM Studio, llama.cpp and Ollama.

    Each file once, however many names it has. What cannot be read is listed with the reason, not left out; so is a
    folder of the user's that is not there.
    """
    places = [(folder, _source(folder)) for folder in folders] if folders is not None else default_folders()
    found: list[FoundModel] = []
    seen: set[tuple[int, int]] = set()
    shared: dict[bytes, bytes] = {}
    for folder, source in places:
        if folders is not None and not os.path.exists(folder):
            found.append(FoundModel(folder, escaped(folder.name), source, None, "there is no such folder"))
        elif os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):
            found.append(FoundModel(folder, escaped(folder.name), source, None, "the folder cannot be read"))
        for path, label in _in(folder):
            try:
                status = min(path.glob(WEIGHTS), default=path).stat() if os.path.isdir(path) else path.stat()
            except OSError:
                pass  # reading it says why
            else:
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            found.append(_read(path, label, source, shared))
    return found


def default_folders() -> list[tuple[Path, str]]:
    """Where other tools keep their models on this machine, whether or not the folders exist, with the tools' names."""
    env = os.environ
    home = Path.home()
    cache = Path(env.get("XDG_CACHE_HOME") or home / ".cache")
    hub = env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE")
    llama = home / "Library/Caches/llama.cpp" if sys.platform == "darwin" else cache / "llama.cpp"
    ollama = [Path(env["OLLAMA_MODELS"])] if env.get("OLLAMA_MODELS") else []
    return [
        (Path(hub) if hub else Path(env.get("HF_HOME") or cache / "huggingface") / "hub", "Hugging Face"),
        (home / ".lmstudio/models", "LM Studio"),
        (home / ".cache/lm-studio/models", "LM Studio"),
        (Path(env.get("LLAMA_CACHE") or llama), "llama.cpp"),
        *(
            (folder, "Ollama")
            for folder in (*ollama, home / ".ollama/models", Path("/usr/share/ollama/.ollama/models"))
        ),
    ]


def families(models: Iterable[FoundModel]) -> list[Family]:
    """The readable models grouped by vocabulary, the largest family first, and which can draft for which."""
    groups: list[list[tuple[FoundModel, ModelFacts]]] = []
    readable = [(model, model.facts) for model in models if model.facts is not None]
    for model, facts in sorted(readable, key=lambda pair: (-_weight(pair[1]), natural(pair[0].path))):
        for group in groups:
            if vocabulary_conflict(group[0][1], facts) is None:
                group.append((model, facts))
                break
        else:
            groups.append([(model, facts)])
    return [_family(group) for group in sorted(groups, key=len, reverse=True)]


def _family(group: Sequence[tuple[FoundModel, ModelFacts]]) -> Family:
    """A group as a family; compatibility is tested pair by pair, since sizes within 128 are no equivalence."""
    largest = group[0][1]
    drafts = {
        target.path: tuple(
            draft.path
            for draft, draft_facts in reversed(group)
            if _weight(draft_facts) < _weight(facts) and vocabulary_conflict(facts, draft_facts) is None
        )
        for target, facts in group
    }
    kind = largest.vocab.pre if largest.vocab.pre not in (None, "default") else largest.vocab.tokenizer
    return Family(
        f"{escaped(kind or '')}, {largest.vocab.size:,} tokens", tuple(model for model, _facts in group), drafts
    )


def _weight(facts: ModelFacts) -> int:
    """How large a model is, in weights; a quantised copy of a model is as large as the model."""
    return facts.parameters or 0


def _read(path: Path, label: str, source: str, shared: dict[bytes, bytes]) -> FoundModel:
    """One found model; equal token texts are kept once for all of them."""
    try:
        facts = read_any(path)
    except EngineError as error:
        return FoundModel(
            path, escaped(label), source, None, f"{error.what}. {error.todo}" if error.todo else error.what
        )
    texts = shared.setdefault(facts.vocab.texts, facts.vocab.texts)
    return FoundModel(path, escaped(label), source, replace(facts, vocab=replace(facts.vocab, texts=texts)))


def _source(folder: Path) -> str:
    """The name of a place that the user gave."""
    return "Ollama" if _is_ollama(folder) else escaped(str(folder))


def _in(folder: Path) -> Iterator[tuple[Path, str]]:
    """The models of a place and their labels."""
    if _is_ollama(folder):
        yield from _ollama(folder)
    elif os.path.isdir(folder):
        for path in sorted(_below(folder), key=natural):
            yield path, model_stem(path)
    elif os.path.exists(folder):
        yield folder, model_stem(folder)


def _below(folder: Path) -> Iterator[Path]:
    """The models in and below a folder; links to folders are not followed, what cannot be listed is passed."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _NOT_MODELS]
        if CONFIG in names and writes_text(Path(parent)):
            yield Path(parent)
        for name in _models_of(names):
            yield Path(parent, name)


def _models_of(names: Iterable[str]) -> Iterator[str]:
    """The model files among the names of a folder: of a split model its first part, and no projectors for images.

    Of one whose first part is missing the lowest part that is there: reading it tells what is wrong.
    """
    parts: dict[str, str] = {}
    for name in sorted(names):
        lower = name.lower()
        if not lower.endswith(".gguf") or "mmproj" in lower:
            continue
        part = _PART.search(lower)
        if part is None:
            yield name
        else:
            parts.setdefault(lower[: part.start()] + part[2], name)
    yield from parts.values()


def _is_ollama(folder: Path) -> bool:
    """Whether a folder is a store of Ollama's."""
    return os.path.isdir(folder / "manifests") and os.path.isdir(folder / "blobs")


def _ollama(folder: Path) -> Iterator[tuple[Path, str]]:
    """The models of an Ollama store: its manifests name them, its blobs hold them."""
    manifests = folder / "manifests"
    for parent, _folders, names in os.walk(manifests):
        for name in sorted(names):
            manifest = Path(parent, name)
            parts = manifest.relative_to(manifests).parts
            if len(parts) < 3:
                continue  # no name of a model: that is HOST/OWNER/MODEL/TAG
            owner, model, tag = parts[-3:]
            label = f"{model}:{tag}" if owner == "library" else f"{owner}/{model}:{tag}"
            for digest in _model_layers(manifest):
                yield folder / "blobs" / f"sha256-{digest}", label


def _model_layers(manifest: Path) -> list[str]:
    """The digests of the model files that a manifest lists; none when it cannot be read."""
    try:
        with manifest.open("rb") as file:
            content = json.loads(file.read(_MANIFEST_BYTES))
        layers = [layer for layer in content["layers"] if layer["mediaType"] == _OLLAMA_MODEL]
        digests = [_OLLAMA_DIGEST.fullmatch(layer["digest"]) for layer in layers]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return [digest[1] for digest in digests if digest is not None]
