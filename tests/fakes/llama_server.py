"""A llama-server that misbehaves on command: a real process with its flags, its endpoints and its log.

Run as `python tests/fakes/llama_server.py FLAGS`; see fake_flags.py for FAKE_DIALECT and FAKE_SERVER. What it streams
has the shape of the recordings in tests/data/recordings, where the dialects differ too: builds of early 2026 count all
tokens of a step in each of its chunks and divide by n, today's count one by one and divide by n - 1.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parents[2]))  # it is run as a program, from any folder

from tests.fakes.fake_flags import Behaviour, Options, behaviour_of, help_text, read_behaviour, read_options
from tests.fakes.fake_model import Burst, Vocabulary, effective_k, steps
from tests.fakes.fake_signals import wait_for_signals
from tests.fakes.fake_state import Clock, Server, final, metrics, models, partial, probabilities, progress, props, slots
from tests.fakes.fake_time import pace
from tests.support.fake_truth import rendered


def log(text: str) -> None:
    """A line of the server's log, with llama.cpp's prefix."""
    sys.stderr.write(f"0.00.{time.monotonic() % 1000:07.3f} I srv  {text}\n")
    sys.stderr.flush()


def die(behaviour: Behaviour) -> NoReturn:
    """The death that was asked for, in the middle of whatever goes on."""
    if behaviour.death_text:
        sys.stderr.write(behaviour.death_text + "\n")
        sys.stderr.flush()
    if behaviour.die_signal:
        os.kill(os.getpid(), behaviour.die_signal)
        threading.Event().wait()
    os._exit(behaviour.die_code)


class HangupError(Exception):
    """The connection is gone, by order."""


class Handler(BaseHTTPRequestHandler):
    """llama-server's endpoints."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "llama.cpp", ""
    shared: Server

    def log_message(self, *_: Any) -> None:
        """The fake's log is its own."""

    def do_GET(self) -> None:
        path = self.path.removeprefix("/v1").partition("?")[0]
        shared = self.shared
        if path == "/health" and (shared.ready.is_set() or shared.behaviour.early_200):
            self.answer(200, {"status": "ok"})
        elif not shared.ready.is_set():
            self.error(503, "Loading model", "unavailable_error")
        elif path == "/metrics" and shared.options.metrics and not shared.behaviour.no_metrics:
            self.answer(200, metrics(shared.counters, shared.options.dialect))
        elif path == "/metrics":
            self.error(
                501, "This server does not support metrics endpoint. Start it with `--metrics`", "not_supported_error"
            )
        elif path in {"/props", "/models", "/slots"} and not (path == "/props" and shared.behaviour.no_props):
            self.answer(200, {"/props": props, "/models": models, "/slots": slots}[path](shared))
        else:
            self.error(404, "File Not Found", "not_found_error")

    def do_POST(self) -> None:
        shared = self.shared
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not shared.ready.is_set():
            return self.error(503, "Loading model", "unavailable_error")
        try:
            body = json.loads(raw)
        except ValueError as error:
            return self.error(400, str(error), "invalid_request_error")
        if self.path == "/tokenize":
            begin = [1] if body.get("add_special") else []
            self.answer(200, {"tokens": [*begin, *shared.words.encode(body.get("content", ""))]})
        elif self.path == "/detokenize":
            self.answer(200, {"content": shared.words.decode(body.get("tokens", []))})
        elif self.path == "/apply-template":
            self.answer(200, {"prompt": rendered(*(message["content"] for message in body["messages"]))})
        elif self.path in {"/completion", "/completions"}:
            with shared.slot:
                self.complete(body)
        else:
            self.error(404, "File Not Found", "not_found_error")
        return None

    def answer(self, status: int, content: Any) -> None:
        """Send a whole answer: text as it is, anything else as JSON."""
        data = content.encode() if isinstance(content, str) else json.dumps(content, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header(
            "Content-Type", "text/plain" if isinstance(content, str) else "application/json; charset=utf-8"
        )
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def error(self, status: int, message: str, kind: str, **more: int) -> None:
        """Send llama-server's error record."""
        self.answer(status, {"error": {"code": status, "message": message, "type": kind, **more}})

    def complete(self, body: dict[str, Any]) -> None:
        """POST /completion."""
        shared, behaviour = self.shared, self.shared.behaviour
        shared.requests += 1
        if behaviour.die_after_requests and shared.requests > behaviour.die_after_requests:
            die(behaviour)
        if behaviour.http_status or shared.requests <= behaviour.http500:
            return self.error(behaviour.http_status or 500, "as ordered", "server_error")
        prompt = body.get("prompt", "")
        if isinstance(prompt, list):
            prompt = shared.words.decode(prompt)
        tokens = [1, *shared.words.encode(prompt)]
        count = len(tokens)
        if count >= shared.options.n_ctx:
            return self.error(
                400,
                f"request ({count} tokens) exceeds the available context size ({shared.options.n_ctx} tokens)",
                "exceed_context_size_error",
                n_prompt_tokens=count,
                n_ctx=shared.options.n_ctx,
            )
        try:
            self.generate(body, prompt, tokens)
        except (HangupError, ConnectionError):
            self.close_connection = True
        return None

    def generate(self, body: dict[str, Any], prompt: str, tokens: list[int]) -> None:
        """The answer, streamed or whole, in the time that this model takes."""
        shared, behaviour, count = self.shared, self.shared.behaviour, len(tokens)
        stream = bool(body.get("stream"))
        repeated, shared.last_prompt = prompt == shared.last_prompt, prompt
        cached = shared.cached(tokens, body.get("cache_prompt", True))
        clock = Clock(shared, cached, count - cached, time.monotonic())
        if stream:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
        if stream and body.get("return_progress"):
            self.event(progress(clock, 0, count))
        burn(behaviour.burn_cpu_s)
        prompt_s = clock.prompt / behaviour.prompt_speed + behaviour.burn_cpu_s
        clock.first = clock.started + prompt_s
        sleep_until(clock.first)
        passed_s = prompt_s if behaviour.exact_clock else time.monotonic() - clock.started
        clock.prompt_ms = 1e3 * passed_s * behaviour.clock_factor
        if stream and body.get("return_progress"):
            self.event(progress(clock, count, count))
        shared.counters.prompt += clock.prompt
        n_predict = body.get("n_predict", -1)
        n_predict = shared.options.n_ctx - count if n_predict < 0 else n_predict
        texts, chances = self.decode(clock, body, prompt, n_predict, repeated)
        shared.counters.predicted_s += clock.predicted_ms / 1e3
        last = final(clock, body, "" if stream else "".join(texts), n_predict, prompt)
        if stream:
            self.event(last)
            self.chunk(b"")
        else:
            self.answer(200, last | ({"completion_probabilities": chances} if chances else {}))

    def decode(
        self, clock: Clock, body: dict[str, Any], prompt: str, n_predict: int, repeated: bool
    ) -> tuple[list[str], list[dict[str, Any]]]:
        """The steps of the answer, each sent when its time has come; all texts and probabilities."""
        shared, behaviour = self.shared, self.shared.behaviour
        k = effective_k(behaviour, shared.options, body.get("speculative.n_max"), prompt)
        wavering, n_probs = shared.requests % 2 == 0, body.get("n_probs", 0)
        speed = pace(behaviour, shared.options, shared.requests, shared.started_s)
        texts: list[str] = []
        chances: list[dict[str, Any]] = []
        begun, planned_s = clock.first, 0.0
        replayed = behaviour.replay and repeated
        for burst in steps(behaviour, shared.words, prompt, n_predict, k, replayed, wavering):
            planned_s += speed.step_s(burst.cost)
            sleep_until(begun + planned_s)
            clock.advance(burst, k, planned_s)
            found = (
                probabilities(shared, prompt, clock.predicted - len(burst.tokens), burst, n_probs, clock.cached > 0)
                if n_probs
                else []
            )
            if body.get("stream"):
                self.emit(clock, burst, body, [] if burst.drafted else found)
            texts += [word for _, word in burst.tokens]
            chances += found
            if behaviour.die_after_tokens and shared.counters.predicted >= behaviour.die_after_tokens:
                die(behaviour)
        return texts, chances

    def emit(self, clock: Clock, burst: Burst, body: dict[str, Any], chances: list[dict[str, Any]]) -> None:
        """One event for each token of a step, and the accidents that are due between them."""
        behaviour = self.shared.behaviour
        for number, (token, word) in enumerate(burst.tokens, clock.predicted - len(burst.tokens) + 1):
            count = clock.predicted if self.shared.options.dialect == "old" else number
            event = partial(word, [token], count, clock.cached + clock.prompt)
            if body.get("timings_per_token") and not behaviour.no_timings:
                event["timings"] = clock.timings(count)
            if chances:
                event["completion_probabilities"] = chances
            self.event(event)
            if behaviour.hang_after and number >= behaviour.hang_after:
                threading.Event().wait()
            if behaviour.cut and number >= behaviour.cut:
                self.reset()
            if behaviour.fin and number >= behaviour.fin:
                self.chunk(b"")
                raise HangupError

    def event(self, record: dict[str, Any]) -> None:
        """Send one event; the characters are raw UTF-8, as llama-server sends them."""
        data = f"data: {json.dumps(record, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
        behaviour = self.shared.behaviour
        cut = next((i for i, byte in enumerate(data) if byte > 0xBF), 0)  # the first byte of a character of several
        if behaviour.drip:
            for byte in data:
                self.chunk(bytes([byte]))
                time.sleep(behaviour.drip)
        elif behaviour.split_utf8 and cut:
            self.chunk(data[: cut + 1])
            self.chunk(data[cut + 1 :])
        else:
            self.chunk(data)

    def chunk(self, data: bytes) -> None:
        """One chunk of the transfer; an empty one ends it."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def reset(self) -> NoReturn:
        """Drop the connection without a goodbye: the client sees RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
        raise HangupError


def sleep_until(due: float) -> None:
    """Wait for a moment of the monotonic clock."""
    time.sleep(max(0.0, due - time.monotonic()))


def burn(seconds: float) -> None:
    """Keep one core busy."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def watch_signals(behaviour: Behaviour) -> None:
    """End on TERM and INT like llama-server, or count them and go on."""

    def on_signal(number: int, _: object) -> None:
        if behaviour.signal_log:
            with Path(behaviour.signal_log).open("a") as file:
                file.write(signal.Signals(number).name + "\n")
        if not behaviour.ignore_term:
            os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)


def load(behaviour: Behaviour, options: Options) -> None:
    """Load the model: take the time, write the log, start the children, or fail."""
    for path in filter(None, (options.model, options.draft)):
        log(f"  load_model: loading model '{path}'")
        if not Path(path).is_file():
            log(f"gguf_init_from_file: failed to open GGUF file '{path}' (No such file or directory)")
            log("llama_server: exiting due to model loading error")
            os._exit(1)
    for wanted, session in ((behaviour.spawn_child, False), (behaviour.setsid_child, True)):
        if wanted:
            subprocess.Popen(["sleep", "600"], start_new_session=session)
    for _ in range(behaviour.stderr_mb * 1024):
        sys.stderr.write("x" * 1023 + "\n")
    if behaviour.long_line:
        sys.stderr.write("x" * behaviour.long_line + "\n")
    time.sleep(behaviour.load_s)
    if behaviour.die_at_load >= 0:
        sys.stderr.write(behaviour.death_text + "\n")
        sys.stderr.flush()
        os._exit(behaviour.die_at_load)


def main(args: list[str]) -> None:
    """Serve until a signal comes."""
    behaviour = read_behaviour(os.environ.get("FAKE_SERVER", ""))
    dialect = os.environ.get("FAKE_DIALECT", "current")
    if "--version" in args:
        sys.stderr.write("version: 0 (fake)\n")
        return
    if {"-h", "--help", "--usage"} & set(args):
        sys.stdout.write(help_text(dialect, behaviour.help_extra))
        return
    if behaviour.exit_at_once >= 0:
        raise SystemExit(behaviour.exit_at_once)
    options = read_options(args, dialect)
    behaviour = behaviour_of(behaviour, options.model, options.draft)
    watch_signals(behaviour)
    log("llama_server: initializing ...")
    shared = Server(behaviour, options, Vocabulary(behaviour))
    http = type("Http", (ThreadingHTTPServer,), {"allow_reuse_port": behaviour.reuseport, "request_queue_size": 64})
    try:
        server = http((options.host, options.port), type("Bound", (Handler,), {"shared": shared}))
    except OSError:
        log(f"start: couldn't bind HTTP server socket, hostname: {options.host}, port: {options.port}")
        log("llama_server: exiting due to HTTP server error")
        raise SystemExit(1) from None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    load(behaviour, options)
    shared.ready.set()
    log("llama_server: model loaded")
    log(f"llama_server: listening on http://{options.host}:{server.server_address[1]}")
    wait_for_signals()


if __name__ == "__main__":
    main(sys.argv[1:])
