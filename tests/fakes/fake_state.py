"""What the fake server knows between requests, the timings of one request, and the answers made from them alone."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_flags import Behaviour, Options
from fake_model import Counters, Vocabulary

SAMPLING = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}


@dataclass(slots=True)
class Server:
    """What all requests share. One slot: completions wait for each other."""

    behaviour: Behaviour
    options: Options
    words: Vocabulary
    ready: threading.Event = field(default_factory=threading.Event)
    slot: threading.Lock = field(default_factory=threading.Lock)
    counters: Counters = field(default_factory=Counters)
    requests: int = 0
    last_prompt: str = ""

    @property
    def model(self) -> str:
        """The path of the model that is served."""
        return self.behaviour.wrong_model or self.options.model

    @property
    def name(self) -> str:
        """The model's name in the API."""
        return self.behaviour.wrong_model or self.options.alias or Path(self.options.model).name


@dataclass(slots=True)
class Clock:
    """Cumulative timings of one request, in the words of its dialect."""

    server: Server
    cached: int
    prompt: int
    started: float
    first: float = 0.0
    predicted: int = 0
    drafted: int = 0
    accepted: int = 0
    predicted_ms: float = 0.0
    prompt_ms: float = 0.0

    def timings(self, count: int) -> dict[str, float | int]:
        """The `timings` of a chunk that ends with token number `count`."""
        old = self.server.options.dialect == "old"
        intervals = count if old else count - 1
        record: dict[str, float | int] = {
            "cache_n": self.cached,
            "prompt_n": self.prompt,
            "prompt_ms": self.prompt_ms,
            "prompt_per_token_ms": self.prompt_ms / self.prompt if self.prompt else 0.0,
            "prompt_per_second": 1e3 * self.prompt / self.prompt_ms if self.prompt_ms else 0.0,
            "predicted_n": count,
            "predicted_ms": self.predicted_ms,
            "predicted_per_token_ms": self.predicted_ms / intervals if intervals > 0 else 0.0,
            "predicted_per_second": 1e3 * intervals / self.predicted_ms if self.predicted_ms and intervals > 0 else 0.0,
        }
        if self.drafted:
            record |= {"draft_n": self.drafted, "draft_n_accepted": self.accepted}
        return record


def props(server: Server) -> dict[str, Any]:
    """GET /props."""
    return {
        "default_generation_settings": {"params": SAMPLING, "n_ctx": server.options.n_ctx},
        "total_slots": 1,
        "model_alias": server.name,
        "model_path": server.model,
        "endpoint_metrics": server.options.metrics,
        "chat_template": "{% for m in messages %}{{ m['content'] }} {% endfor %}",
        "build_info": "b0-fake" if server.options.dialect == "old" else "b11669-fake",
        "is_sleeping": False,
    }


def models(server: Server) -> dict[str, Any]:
    """GET /v1/models."""
    entry = {"id": server.name, "aliases": [server.name], "object": "model", "owned_by": "llamacpp"}
    return {"object": "list", "data": [entry], "models": [{"name": server.name, "model": server.name}]}


def slots(server: Server) -> list[dict[str, Any]]:
    """GET /slots."""
    busy = server.slot.locked()
    return [{"id": 0, "n_ctx": server.options.n_ctx, "speculative": server.options.speculates, "is_processing": busy}]


def metrics(counters: Counters, dialect: str) -> str:
    """GET /metrics; builds of early 2026 count nothing about speculation."""
    values: list[tuple[str, float]] = [
        ("prompt_tokens_total", counters.prompt),
        ("tokens_predicted_total", counters.predicted),
        ("tokens_predicted_seconds_total", counters.predicted_s),
        ("n_decode_total", counters.decodes),
    ]
    if dialect != "old":
        values += [
            ("spec_decode_num_draft_tokens_total", counters.drafted),
            ("spec_decode_num_accepted_tokens_total", counters.accepted),
            ("spec_decode_num_drafts_total", counters.drafts),
        ]
    lines = []
    for name, value in values:
        lines += [f"# HELP llamacpp:{name} .", f"# TYPE llamacpp:{name} counter", f"llamacpp:{name} {value:g}"]
    if dialect != "old" and counters.accepted_at:
        name = "llamacpp:spec_decode_num_accepted_tokens_per_pos_total"
        lines += [f"# HELP {name} Accepted tokens per draft position", f"# TYPE {name} counter"]
        lines += [f'{name}{{position="{i}"}} {count}' for i, count in enumerate(counters.accepted_at)]
    return "\n".join([*lines, ""])
