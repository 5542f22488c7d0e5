"""What the fake server knows between requests, the timings of one request, and the answers made from them alone."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.fake_flags import Behaviour, Options
from tests.fakes.fake_model import Burst, Counters, Vocabulary

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
    last_tokens: list[int] = field(default_factory=list)
    started_s: float = field(default_factory=time.time)

    @property
    def model(self) -> str:
        """The path of the model that is served."""
        return self.behaviour.wrong_model or self.options.model

    @property
    def name(self) -> str:
        """The model's name in the API."""
        return self.behaviour.wrong_model or self.options.alias or Path(self.options.model).name

    def cached(self, tokens: list[int], wanted: bool) -> int:
        """How many tokens of a prompt the slot still holds; the last one is computed always. Takes note of them."""
        before, self.last_tokens = self.last_tokens, tokens
        same = next((i for i, (a, b) in enumerate(zip(before, tokens, strict=False)) if a != b), len(before))
        if self.behaviour.cached >= 0:
            same = self.behaviour.cached
        elif not wanted:
            same = 0
        return min(same, len(tokens) - 1)


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

    def advance(self, burst: Burst, k: int, planned_s: float) -> None:
        """Count a step; by plan it ends `planned_s` after the first token."""
        behaviour = self.server.behaviour
        self.predicted += len(burst.tokens)
        self.drafted += burst.drafted
        self.accepted += burst.accepted
        passed_s = planned_s if behaviour.exact_clock else time.monotonic() - self.first
        self.predicted_ms = max(0.001, 1e3 * passed_s * behaviour.clock_factor)
        if self.predicted == 1:
            self.predicted_ms = 0.001
            self.first = time.monotonic()
        self.server.counters.add(burst, k)

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


def partial(content: str, tokens: list[int], count: int, evaluated: int) -> dict[str, Any]:
    """What every event but the last has."""
    record: dict[str, Any] = {"index": 0, "content": content, "tokens": tokens, "stop": False, "id_slot": -1}
    return record | {"tokens_predicted": count, "tokens_evaluated": evaluated}


def progress(clock: Clock, processed: int, total: int) -> dict[str, Any]:
    """A progress event; today's servers put a token 0 into it that means nothing."""
    old = clock.server.options.dialect == "old"
    event = partial("", [] if old else [0], 0, total)
    if processed or not old:
        event["timings"] = clock.timings(0) | {"prompt_n": clock.prompt if processed else 0}
    times = {"total": total, "cache": clock.cached, "processed": processed, "time_ms": int(clock.prompt_ms)}
    return event | {"prompt_progress": times}


def final(clock: Clock, body: dict[str, Any], text: str, n_predict: int, prompt: str) -> dict[str, Any]:
    """The last event, or the whole answer."""
    server, options = clock.server, clock.server.options
    settings: dict[str, Any] = {**SAMPLING, "n_predict": n_predict, "stream": bool(body.get("stream"))}
    if options.dialect == "old":
        settings["speculative.n_max"] = body.get("speculative.n_max", options.k)
    else:
        settings["speculative.types"] = "none,draft-simple" if options.speculates else "none"
    record = {
        **partial(text, [], clock.predicted, clock.cached + clock.prompt),
        "id_slot": 0,
        "stop": True,
        "model": server.name,
        "generation_settings": settings,
        "prompt": prompt,
        "has_new_line": False,
        "truncated": False,
        "stop_type": "limit" if clock.predicted >= n_predict else "eos",
        "stopping_word": "",
        "tokens_cached": clock.cached + clock.prompt + clock.predicted - 1,
    }
    return record if server.behaviour.no_timings else record | {"timings": clock.timings(clock.predicted)}


def probabilities(
    server: Server, prompt: str, place: int, burst: Burst, wanted: int, cached: bool = False
) -> list[dict[str, Any]]:
    """`completion_probabilities` of a step's tokens, the first at `place` (0-based) of the answer; natural logarithms.

    Tokens of a step that drafted carry none: 0.0 and an empty list in a whole answer; streamed events leave the key
    out.
    """
    found = []
    for number, (token, word) in enumerate(burst.tokens, place):
        entry: dict[str, Any] = {"id": token, "token": word, "bytes": list(word.encode())}
        if burst.drafted:
            found.append(entry | {"logprob": 0.0, "top_logprobs": []})
            continue
        first, margin = -0.3, server.words.margin(prompt, number, cached)
        top = [entry | {"logprob": first}]
        for rank in range(1, wanted):
            other, text = server.words.word(prompt if rank == 1 else f"{prompt}/rank {rank}", number, other=True)
            second = {"id": other, "token": text, "bytes": list(text.encode())}
            top.append(second | {"logprob": first - margin - (rank - 1) * 0.5})
        found.append(entry | {"logprob": first, "top_logprobs": top[:wanted]})
    return found
