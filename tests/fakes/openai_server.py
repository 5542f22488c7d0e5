"""A server with an OpenAI-style API that plays vLLM, SGLang, LM Studio, Ollama or any other, and misbehaves when told.

Run as `python tests/fakes/openai_server.py --flavour vllm --port 0`. It replays tests/data/openai, whatever it is
asked, one event at a time. FAKE_OPENAI is JSON with the names of `Behaviour`; `log` is a file that gets a line of JSON
for every request, which is what tests look into.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass, field, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data" / "openai"
STREAMS = {
    "vllm": "vllm-0.32.0.chat.default.sse",
    "sglang": "sglang.by-hand.chat.sse",
    "lmstudio": "lmstudio.by-hand.chat.sse",
    "ollama": "ollama.by-hand.chat.sse",
    "plain": "plain.by-hand.chat.sse",
}
MODELS = {
    "vllm": "vllm-0.32.0.models.json",
    "sglang": "sglang.by-hand.models.json",
    "lmstudio": "lmstudio.by-hand.models.json",
    "ollama": "ollama.by-hand.models.json",
}
DRAFTED = {"drafts": 6, "draft_tokens": 24, "accepted_tokens": 18}  # as in vllm-0.32.0.metrics.after.txt
POSITIONS = (6, 6, 3, 3)


@dataclass
class Behaviour:
    """What is wrong with it; nothing by default."""

    log: str = ""
    loading: int = 0  # so many looks at its health say 503
    busy: int = 0  # so many completions are refused with `status`
    status: int = 429
    retry_after: str = ""
    html: bool = False  # a page with 200 in place of an answer
    half: bool = False  # the stream ends, properly, in the middle of an event
    reset: bool = False  # the connection breaks in the middle of an event
    no_usage: bool = False
    no_done: bool = False
    renamed: bool = False  # statistics under other names
    stream: str = ""  # another file to replay
    no_health: bool = False
    no_models: bool = False
    empty_models: bool = False  # 200 without a body in place of the list
    site: bool = False  # no such server at all: a page with 200, whatever it is asked
    no_chat: bool = False  # the model has no chat template
    no_metrics: bool = False
    no_tokenize: bool = False
    others: int = 0  # tokens that somebody else has it draft between two looks at its metrics
    late: int = 0  # so many looks at the metrics show the counts of before
    key: str = ""  # the bearer token that it wants, and repeats when it gets another
    rename_model_after: int = 0  # answers; the next are by another model
    die_after: int = 0  # answers
    silent: bool = False  # nothing is answered, ever
    models: list[str] = field(default_factory=list)
    # an answer that is made in place of a recorded one, where `tokens` is 0 or more
    tokens: int = -1
    per_event: int = 1  # tokens
    counts: bool = False  # usage in every event
    thoughts: bool = False  # all text is thoughts
    hidden: bool = False  # thoughts that are counted and not sent
    finish: str = "length"
    pause_s: float = 0.0  # before each event, for each of its tokens


class Handler(BaseHTTPRequestHandler):
    """The endpoints of all of them."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "uvicorn", ""
    flavour = "plain"
    behaviour = Behaviour()
    looks, answers, refused, stale = 0, 0, 0, 0
    shown = 0  # answers that the metrics count

    def log_message(self, *_: Any) -> None:
        """Its log is its own."""

    def note(self, body: Any = None) -> None:
        """A line for the test."""
        if self.behaviour.log:
            headers = {name.lower(): value for name, value in self.headers.items()}
            line = {"method": self.command, "path": self.path, "headers": headers, "body": body, "t": time.monotonic()}
            with Path(self.behaviour.log).open("a") as file:
                file.write(json.dumps(line) + "\n")

    def do_GET(self) -> None:
        self.note()
        cls, how, path = type(self), self.behaviour, self.path
        if how.silent:
            time.sleep(600)
        if not self.allowed():
            return None
        if how.site:
            return self.answer(200, b"<!DOCTYPE html><html></html>", "text/html")
        cls.looks += path in ("/health", "/v1/models")
        if path == "/health" and how.no_health:
            return self.unknown()
        if path in ("/health", "/v1/models") and cls.looks <= how.loading:
            return self.refuse(503, "Loading model")
        if path == "/health" and self.flavour not in ("lmstudio", "ollama"):
            return self.answer(200, b"")
        if path == "/v1/models" and how.no_models:
            return self.unknown()
        if path == "/v1/models":
            return self.answer(200, b"" if how.empty_models else self.models())
        found = self.own(path)
        return self.answer(200, found) if found is not None else self.unknown()

    def own(self, path: str) -> bytes | None:
        """What only some of them have."""
        if path == "/metrics" and self.flavour in ("vllm", "sglang") and not self.behaviour.no_metrics:
            return self.metrics().encode()
        if path == "/version" and self.flavour == "vllm":
            return b'{"version":"0.32.0"}'
        if path == "/server_info" and self.flavour == "sglang":
            return (DATA / "sglang.by-hand.server_info.json").read_bytes()
        if path == "/api/v0/models" and self.flavour == "lmstudio":
            return (DATA / MODELS["lmstudio"]).read_bytes()
        if path == "/api/version" and self.flavour == "ollama":
            return b'{"version":"0.12.6"}'
        return None

    def models(self) -> bytes:
        """GET /v1/models."""
        if self.behaviour.models or self.flavour not in MODELS:
            names = self.behaviour.models or ["m"]
            return json.dumps({"object": "list", "data": [{"id": name, "object": "model"} for name in names]}).encode()
        return (DATA / MODELS[self.flavour]).read_bytes()

    def metrics(self) -> str:
        """vLLM's counters of drafting, for the answers so far; SGLang's gauges."""
        cls, how = type(self), self.behaviour
        if self.flavour == "sglang":
            return (DATA / "sglang.by-hand.metrics.txt").read_text()
        if cls.shown < cls.answers:
            cls.stale += 1
            if cls.stale > how.late:
                cls.shown, cls.stale = cls.answers, 0
        cls.looks += 1
        more = how.others * cls.looks
        lines = [
            f'vllm:spec_decode_num_{name}_total{{engine="0"}} {float(count * cls.shown + more)}'
            for name, count in DRAFTED.items()
        ]
        name = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
        for position, count in enumerate(POSITIONS):
            lines.append(f'{name}{{engine="0",position="{position}"}} {float(count * cls.shown)}')
        text = "\n".join(["# TYPE vllm:spec_decode_num_drafts_total counter", *lines, ""])
        return text.replace("spec_decode", "speculation") if how.renamed else text

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.note(body)
        cls, how, path = type(self), self.behaviour, self.path
        if how.silent:
            time.sleep(600)
        if not self.allowed():
            return None
        if path == "/tokenize" and self.flavour in ("vllm", "sglang") and not how.no_tokenize:
            return self.answer(200, json.dumps({"tokens": list(range(len(body["prompt"].split())))}).encode())
        prefixes = ("/v1", "/api/v0") if self.flavour == "lmstudio" else ("/v1",)
        if path not in {prefix + end for prefix in prefixes for end in ("/chat/completions", "/completions")}:
            return self.unknown()
        if how.no_chat and "chat" in path:
            return self.refuse(400, "this model has no chat template")
        if cls.refused < how.busy:
            cls.refused += 1
            return self.refuse(how.status, "too many requests")
        if how.html or how.site:
            return self.answer(200, b"<html><body>Welcome</body></html>", "text/html")
        cls.answers += 1
        if how.die_after and cls.answers > how.die_after:
            os._exit(1)
        if "model" not in body:
            return self.refuse(400, "model: field required")
        if not body.get("stream"):
            cls.answers -= 1
            return self.answer(200, json.dumps({"choices": [{"index": 0}], "model": body["model"]}).encode())
        return self.stream()

    def made(self) -> list[bytes]:
        """An answer of so many tokens, in events of several."""
        how = self.behaviour
        field = "reasoning_content" if how.thoughts else "content"
        records: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": {"role": "assistant"}}]}]
        for begin in range(0, 0 if how.hidden else how.tokens, how.per_event):
            size = min(how.per_event, how.tokens - begin)
            records.append({"choices": [{"index": 0, "delta": {field: " word" * size}}]})
            if how.counts:
                records[-1]["usage"] = {"prompt_tokens": 9, "completion_tokens": begin + size}
        usage: dict[str, Any] = {"prompt_tokens": 9, "completion_tokens": how.tokens}
        if how.hidden:
            usage["completion_tokens_details"] = {"reasoning_tokens": how.tokens}
        records.append({"choices": [{"index": 0, "delta": {}, "finish_reason": how.finish}]})
        records.append({"choices": [], "usage": usage})
        return [*(b"data: %s\n\n" % json.dumps(each).encode() for each in records), b"data: [DONE]\n\n"]

    def stream(self) -> None:
        """The recorded answer, or the made one, one event at a time."""
        how = self.behaviour
        data = (DATA / (how.stream or STREAMS[self.flavour])).read_bytes()
        events = [event + b"\n\n" for event in data.split(b"\n\n") if event.strip()]
        if how.tokens >= 0:
            events = self.made()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, event in enumerate(events):
            if (how.half or how.reset) and number == len(events) // 2:
                self.chunk(event[: len(event) // 2])
                if how.reset:
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    os.close(self.connection.detach())
                    return
                break
            time.sleep(how.pause_s * event.count(b" word"))
            if not (how.no_done and b"[DONE]" in event):
                self.chunk(self.changed(event))
        self.chunk(b"")

    def changed(self, event: bytes) -> bytes:
        """An event as this server sends it."""
        how = self.behaviour
        if b"[DONE]" in event:
            return event
        record = json.loads(event.removeprefix(b"data: "))
        if how.no_usage:
            record.pop("usage", None)
        if how.rename_model_after and type(self).answers > how.rename_model_after:
            record["model"] = "another"
        text = json.dumps(record)
        if how.renamed:
            text = text.replace("draft", "proposal").replace("spec_", "specu_")
        return f"data: {text}\n\n".encode()

    def chunk(self, data: bytes) -> None:
        """One chunk of the transfer; an empty one ends it."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def allowed(self) -> bool:
        """Whether the request has the key; the refusal repeats what it had."""
        given = self.headers.get("Authorization", "")
        if not self.behaviour.key or given == f"Bearer {self.behaviour.key}":
            return True
        self.refuse(401, f"Incorrect API key provided: {given}")
        return False

    def refuse(self, status: int, message: str) -> None:
        """An error record."""
        self.answer(status, json.dumps({"error": {"message": message, "code": status}}).encode())

    def unknown(self) -> None:
        """A path that is not there; LM Studio says so with 200."""
        if self.flavour == "lmstudio":
            said = {"error": f"Unexpected endpoint or method. ({self.command} {self.path})"}
            return self.answer(200, json.dumps(said).encode())
        return self.answer(404, b'{"detail":"Not Found"}')

    def answer(self, status: int, data: bytes, kind: str = "application/json") -> None:
        """A whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if status in (429, 503) and self.behaviour.retry_after:
            self.send_header("Retry-After", self.behaviour.retry_after)
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--flavour", choices=sorted(STREAMS), default="plain")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    known = {each.name for each in fields(Behaviour)}
    wanted = json.loads(os.environ.get("FAKE_OPENAI", "{}"))
    assert set(wanted) <= known, set(wanted) - known
    bound = type("Bound", (Handler,), {"flavour": options.flavour, "behaviour": Behaviour(**wanted)})
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server = ThreadingHTTPServer(("127.0.0.1", options.port), bound)
    sys.stderr.write(f"listening on http://127.0.0.1:{server.server_address[1]}\n")
    sys.stderr.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
