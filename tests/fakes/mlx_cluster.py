"""The server of the MLX cluster scripts as its documentation describes it: adaptive K, counters for life, refusals.

Run as `python tests/fakes/mlx_cluster.py FLAGS`. Speed, acceptance and deaths come from FAKE_SERVER (fake_flags.py),
what only this server does from FAKE_CLUSTER: JSON, or `key=value,key=value`, with the fields of Cluster. With
`--ranks 2` a second process plays the other node: it ends when this one ends well, and is left behind by KILL.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, fields, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # it is run as a program, from any folder

from tests.fakes.fake_flags import Behaviour, read_behaviour
from tests.fakes.fake_model import Burst, Vocabulary, steps
from tests.fakes.fake_signals import wait_for_signals
from tests.fakes.fake_time import Pace

MODEL = "kimi-k2.5"
UNWELL = frozenset({"overloaded", "shutting_down", "distributed_fatal", "inference_stalled"})  # answered with 503
START_K = 3  # adaptive K begins here, whatever was asked for
THRESHOLD = 0.3  # dynamic speculation is off below this acceptance
COUNTERS = ("total_steps", "total_fallback_steps", "total_proposed", "total_accepted", "total_bonus_tokens")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What this server does; every default is a healthy server."""

    busy: int = 0  # so many completions are refused
    busy_after: int = 0  # behind so many that are not
    busy_status: int = 503  # 429 = too many requests, 503 = memory pressure
    retry_after: str = "0.1"
    status: str = "ok"  # what /health says
    status_after: int = 0  # only from this completion on, which then fails too where the status is fatal
    html: bool = False  # a page of a proxy in place of every answer to a completion
    half: bool = False  # the stream ends in the middle of an event
    leak: int = 0  # the counters grow by so many steps at each look at them
    drop: str = ""  # field of the metrics that is missing
    rename: str = ""  # field of the metrics that has another name


@dataclass(slots=True)
class State:
    """What all requests share."""

    args: argparse.Namespace
    behaviour: Behaviour
    cluster: Cluster
    words: Vocabulary
    k_now: int = 0
    ema: float = 1.0
    requests: int = 0
    counters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))
    ready: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def speculates(self) -> bool:
        """Whether it was started to."""
        return str(self.args.spec_decode) != "none"

    @property
    def status(self) -> str:
        """What /health says now."""
        if not self.ready.is_set():
            return "degraded"
        return self.cluster.status if self.requests >= self.cluster.status_after else "ok"

    def draft_length(self) -> int:
        """The K of the next request."""
        off = self.args.spec_decode_dynamic and self.ema < THRESHOLD
        return self.k_now if self.speculates and not off else 0

    def count(self, burst: Burst) -> None:
        """One step after the prompt."""
        if not self.speculates:
            return
        if not burst.drafted:
            self.counters["total_fallback_steps"] += 1
            return
        self.counters["total_steps"] += 1
        self.counters["total_proposed"] += burst.drafted
        self.counters["total_accepted"] += burst.accepted
        self.counters["total_bonus_tokens"] += 1
        self.ema = 0.9 * self.ema + 0.1 * burst.accepted / burst.drafted

    def adapt(self) -> None:
        """Moves K by one, as adaptive K does after a request."""
        if self.args.adaptive_k and self.speculates:
            wanted = self.k_now + (1 if self.ema > 0.6 else -1)
            self.k_now = max(1, min(self.args.num_speculative_tokens, wanted))


def spec_metrics(state: State) -> dict[str, Any]:
    """GET /v1/spec_decode/metrics; `avg_tokens_per_step` counts the bonus token twice, as the real one does."""
    if not state.speculates:
        return {"spec_decode_enabled": False}
    counters, leak = state.counters, state.cluster.leak
    for name, share in (("total_steps", 1), ("total_proposed", 3), ("total_accepted", 2), ("total_bonus_tokens", 1)):
        counters[name] += leak * share
    total, proposed, accepted = counters["total_steps"], counters["total_proposed"], counters["total_accepted"]
    made = accepted + counters["total_bonus_tokens"]
    answer: dict[str, Any] = {
        "spec_decode_enabled": True,
        "spec_decode_mode": state.args.spec_decode,
        "acceptance_rate_ema": state.ema,
        "acceptance_rate_overall": accepted / proposed if proposed else 0.0,
        "avg_tokens_per_step": 1 + made / total if total else 0.0,
        **counters,
        "current_k": state.args.num_speculative_tokens,
        "adaptive_k_current": state.k_now,
    }
    if state.cluster.rename:
        answer[f"{state.cluster.rename}_count"] = answer.pop(state.cluster.rename)
    answer.pop(state.cluster.drop, None)
    return answer


def health(state: State) -> dict[str, Any]:
    """GET /health."""
    stats = {"total_blocks": 2048, "used_blocks": 12, "cached_blocks": 8, "hit_rate": 0.0}
    return {"status": state.status, "ready": state.ready.is_set(), "utilization": 0.1, "cache_stats": stats}


class Handler(BaseHTTPRequestHandler):
    """The server's endpoints."""

    protocol_version = "HTTP/1.1"
    state: State

    def log_message(self, *_: Any) -> None:
        """Its log is its own."""

    def do_GET(self) -> None:
        state = self.state
        well = state.ready.is_set() and state.status not in UNWELL
        if self.path == "/health":
            self.answer(200 if well else 503, health(state))
        elif self.path in ("/livez", "/readyz"):
            self.answer(200 if well or self.path == "/livez" else 503, {"status": state.status})
        elif self.path == "/metrics":
            self.answer(200, f"# TYPE mlx_requests_total counter\nmlx_requests_total {state.requests}\n")
        elif self.path == "/v1/models":
            entry = {"id": state.args.served_model_name, "object": "model", "owned_by": "mlx-lm-server"}
            self.answer(200, {"object": "list", "data": [entry]})
        elif self.path == "/v1/spec_decode/metrics":
            with state.lock:  # never between a request's last bytes and what it changed
                metrics = spec_metrics(state)
            self.answer(200, metrics)
        else:
            self.answer(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        state = self.state
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        chat = self.path == "/v1/chat/completions"
        if not chat and self.path != "/v1/completions":
            return self.answer(404, {"detail": "Not Found"})
        if not state.ready.is_set():
            return self.answer(503, {"error": {"message": "model is loading"}})
        state.requests += 1
        if state.status in UNWELL - {"overloaded"}:
            return self.answer(503, {"error": {"message": f"server is {state.status}"}})
        if 0 < state.requests - state.cluster.busy_after <= state.cluster.busy:
            headers = {"Retry-After": state.cluster.retry_after} if state.cluster.retry_after else {}
            return self.answer(state.cluster.busy_status, {"error": {"message": "memory pressure"}}, headers)
        if state.cluster.html:
            return self.answer(502, "<html><body><h1>502 Bad Gateway</h1></body></html>")
        prompt = "\n".join(message["content"] for message in body["messages"]) if chat else body["prompt"]
        with state.lock:
            self.complete(body, prompt, chat=chat)
            state.adapt()
        return None

    def answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        """A whole answer: text as it is, anything else as JSON."""
        data = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        kind = (
            "application/json" if not isinstance(content, str) else "text/html" if "<html" in content else "text/plain"
        )
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def complete(self, body: dict[str, Any], prompt: str, *, chat: bool) -> None:
        """One completion, in the time that this model takes, streamed or whole."""
        state, behaviour = self.state, self.state.behaviour
        wanted, k = int(body.get("max_tokens", 16)), state.draft_length()
        prompt_tokens = len(state.words.encode(prompt)) + 1
        pace = Pace(1 / (behaviour.speed * (0.9 if state.args.kv_bits else 1.0)), 0.0, None)  # type: ignore[arg-type]  # never asked without noise
        time.sleep(prompt_tokens / behaviour.prompt_speed)
        if body.get("stream"):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
        texts: list[str] = []
        due_s = time.monotonic()
        for number, burst in enumerate(steps(behaviour, state.words, prompt, wanted, k, False, False)):
            due_s += pace.step_s(burst.cost)
            time.sleep(max(0.0, due_s - time.monotonic()))
            if number:
                state.count(burst)
            for _, word in burst.tokens:
                texts.append(word)
                if body.get("stream") and not self.event(piece(state, body, word, None, chat=chat)):
                    return
            if behaviour.hang_after and len(texts) >= behaviour.hang_after:
                threading.Event().wait()
            if behaviour.die_after_tokens and len(texts) >= behaviour.die_after_tokens:
                os._exit(behaviour.die_code)
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": len(texts),
            "total_tokens": prompt_tokens + len(texts),
        }
        self.end(body, "".join(texts), usage, chat=chat)

    def end(self, body: dict[str, Any], text: str, usage: dict[str, int], *, chat: bool) -> None:
        """The last events of a stream, or the whole answer."""
        state = self.state
        if not body.get("stream"):
            said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            choice = {"index": 0, "finish_reason": "length", **said}
            self.answer(200, {"model": state.args.served_model_name, "choices": [choice], "usage": usage})
            return
        self.event(piece(state, body, "", "length", chat=chat))
        if (body.get("stream_options") or {}).get("include_usage"):
            self.event({"model": state.args.served_model_name, "choices": [], "usage": usage})
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def event(self, record: dict[str, Any]) -> bool:
        """Sends one event; False when the stream ends in the middle of it, by order."""
        data = f"data: {json.dumps(record)}\n\n".encode()
        if self.state.cluster.half:
            self.chunk(data[: len(data) // 2])
            self.chunk(b"")
            return False
        self.chunk(data)
        return True

    def chunk(self, data: bytes) -> None:
        """One chunk of the transfer; an empty one ends it."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def piece(state: State, body: dict[str, Any], text: str, finish_reason: str | None, *, chat: bool) -> dict[str, Any]:
    """An event of a stream."""
    said: dict[str, Any] = {"delta": {"content": text} if text else {}} if chat else {"text": text}
    choice = {"index": 0, "finish_reason": finish_reason, **said}
    return {"id": "c1", "model": body.get("model") or state.args.served_model_name, "choices": [choice]}


def read_cluster(text: str) -> Cluster:
    """FAKE_CLUSTER; an unknown key is an error, or a test would pass for nothing."""
    given = (
        json.loads(text) if text.startswith("{") else dict(each.partition("=")[::2] for each in text.split(",") if each)
    )
    kinds = {each.name: str(each.type) for each in fields(Cluster)}
    if unknown := set(given) - set(kinds):
        raise SystemExit(f"FAKE_CLUSTER: unknown keys {sorted(unknown)}; known: {', '.join(kinds)}")
    makers = {"int": int, "bool": lambda value: str(value).lower() in ("1", "true"), "str": str}
    return replace(Cluster(), **{key: makers[kinds[key]](value) for key, value in given.items()})  # type: ignore[operator]


def parser() -> argparse.ArgumentParser:
    """Its flags."""
    flags = argparse.ArgumentParser(prog="mlx_lm_server")
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--port", type=int, default=8080)
    flags.add_argument("--model", default=MODEL)
    flags.add_argument("--served-model-name", default=MODEL)
    flags.add_argument("--kv-bits", type=int, default=0)
    for name in ("--kv-group-size", "--block-size", "--num-blocks", "--ngram-max", "--ranks"):
        flags.add_argument(name, type=int, default=1)
    flags.add_argument("--no-ssd", action="store_true")
    flags.add_argument("--spec-decode", default="none", choices=["none", "ngram", "draft", "mtp"])
    flags.add_argument("--num-speculative-tokens", type=int, default=5)
    flags.add_argument("--no-adaptive-k", dest="adaptive_k", action="store_false")
    flags.add_argument("--no-spec-decode-dynamic", dest="spec_decode_dynamic", action="store_false")
    return flags


def main() -> None:
    """Serve until a signal comes."""
    args = parser().parse_args()
    behaviour = read_behaviour(os.environ.get("FAKE_SERVER", ""))
    state = State(args, behaviour, read_cluster(os.environ.get("FAKE_CLUSTER", "")), Vocabulary(behaviour))
    state.k_now = min(START_K, args.num_speculative_tokens) if args.adaptive_k else args.num_speculative_tokens
    others = [subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) for _ in range(args.ranks - 1)]

    def end(number: int, _: object) -> None:
        if not behaviour.ignore_term:
            for other in others:
                other.kill()
            os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    server = ThreadingHTTPServer((args.host, args.port), type("Bound", (Handler,), {"state": state}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"loading {args.model}, {args.ranks} ranks", flush=True)
    for _ in range(behaviour.stderr_mb * 1024):
        sys.stderr.write("x" * 1023 + "\n")
    time.sleep(behaviour.load_s)
    if behaviour.die_at_load >= 0:
        print(behaviour.death_text, flush=True)
        end(0, None)
        os._exit(behaviour.die_at_load)
    state.ready.set()
    print("ready", flush=True)
    wait_for_signals()


if __name__ == "__main__":
    main()
