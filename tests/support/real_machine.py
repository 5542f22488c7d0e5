"""A machine with real llama.cpp servers and small models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf

from specdash.core import events as ev
from specdash.core.state import LoadState
from tests.support.machine import Machine, Run

ONE_THREAD = ["-c", "4096", "-t", "1", "-tb", "1"]  # so that servers of several tests can share few cores
PROMPTS = (
    {
        "category": "coding",
        "prompt": "def total(items): return the sum of all prices in the list, then explain it.",
    },
    {"category": "coding", "prompt": "Write a function that reads a file, line by line, and counts the words in it."},
    {"category": "coding", "prompt": "class Queue: with push and pop, and a test which shows the order of its items."},
)
TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] the answer is here:{% endif %}"
)


class Real(Machine):
    """A machine whose profiles name real models."""

    limit_s = 90.0

    def prompts(self, prompts: Iterable[Mapping[str, object]], name: str = "prompts") -> Path:
        """A file of prompts."""
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
        return path

    def profile(
        self,
        program: object,
        targets: Mapping[str, Path],
        drafts: Mapping[str, Path] | None = None,
        *,
        configs: Mapping[str, Sequence[str]] | None = None,
        name: str = "it",
        **tables: dict[str, Any],
    ) -> Path:
        """A profile of short prompts, two samples a step and 48 tokens a sample, unless `tables` says otherwise."""
        settings: dict[str, Any] = {
            "name": name,
            "hardware": "bench",
            "engine": {"program": str(program), "args": ONE_THREAD},
            "targets": [{"label": label, "path": str(path)} for label, path in targets.items()],
            "sweep": {"k": [4]} if drafts else {"methods": []},
            "measure": {"prompts": str(self.prompts(PROMPTS)), "max_tokens": 48, "iterations": 2},
            "limits": {"inhibit_sleep": False},
            "results": {"dir": str(self.results)},
        }
        if drafts:
            settings["drafts"] = [{"label": label, "path": str(path)} for label, path in drafts.items()]
        if configs:
            settings["configs"] = [{"label": label, "args": list(args)} for label, args in configs.items()]
        for key, table in tables.items():
            settings[key] |= table
        return self.write_profile(name, settings)


def of_draft(run: Run, draft: str | None) -> list[LoadState]:
    """The loads with this draft (None: the baselines), in order."""
    return [load for load in run.view.loads.values() if load.key.draft == draft]


def values_of(argv: Sequence[str], flag: str) -> list[str]:
    """The values of every occurrence of a flag."""
    return [argv[at + 1] for at, arg in enumerate(argv) if arg == flag]


def scopes(run: Run) -> list[str | None]:
    """What the probes found, load by load."""
    return [fact.k_scope for fact in run.facts(ev.Probed)]


def add_template(source: Path, path: Path) -> Path:
    """A copy of a model with `TEMPLATE` as its chat template."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind, *inner = field.types
        writer.add_key_value(field.name, field.contents(), kind, inner[-1] if inner else None)
    writer.add_chat_template(TEMPLATE)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def change_vocabulary(source: Path, path: Path) -> Path:
    """A copy of a model in which two words have changed places: its vocabulary has the same size, and is another."""
    content = source.read_bytes()
    first, second = "▁the".encode(), "▁and".encode()
    lengths = [len(word).to_bytes(8, "little") for word in (first, second)]
    assert lengths[0] == lengths[1]
    marker = b"\0swap\0"
    a, b = lengths[0] + first, lengths[1] + second
    assert content.count(a) == content.count(b) == 1
    path.write_bytes(content.replace(a, marker).replace(b, a).replace(marker, b))
    return path
