"""Which folders are models as MLX loads them, and what their owners call them; nothing here opens a model.

Reading one is `specdash.config.mlx_model`.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from specdash.config.problems import escaped

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
WEIGHTS = "model*.safetensors"

_WRITERS = re.compile(r"(ForCausalLM|ForConditionalGeneration|LMHeadModel)$")
_CONFIG_BYTES = 2**20


def is_mlx_folder(path: Path) -> bool:
    """Whether a folder is itself a model, or what is left of one: it has weights, or a configuration and no GGUF file.

    A folder that only contains models is none.
    """
    try:
        names = os.listdir(path)
    except OSError:
        return False
    if INDEX in names or any(name.startswith("model") and name.endswith(".safetensors") for name in names):
        return True
    return CONFIG in names and not any(name.lower().endswith(".gguf") for name in names)


def writes_text(path: Path) -> bool:
    """Whether a folder with weights holds a model that generates text; others lie in the same caches.

    True where its configuration cannot be read or does not say: reading the model tells why.
    """
    if not any(path.glob(WEIGHTS)) or not os.path.exists(path / CONFIG):
        return False
    try:
        with (path / CONFIG).open("rb") as file:
            config = json.loads(file.read(_CONFIG_BYTES))
    except (OSError, ValueError, RecursionError):
        return True
    architectures = config.get("architectures") if isinstance(config, dict) else None
    named = [name for name in architectures if isinstance(name, str)] if isinstance(architectures, list) else []
    return not named or any(_WRITERS.search(name) for name in named)


def folder_name(path: Path) -> str:
    """The name that an owner knows a model folder by: of a snapshot in the Hugging Face cache its repository's."""
    repository = path.parent.parent.name
    if path.parent.name == "snapshots" and repository.startswith("models--"):
        return escaped(repository.split("--")[-1]) or "model"
    return escaped(path.name) or "model"
