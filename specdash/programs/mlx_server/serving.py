"""The HTTP side: requests come in on threads of their own, generations run one by one on the main thread."""

from __future__ import annotations

import argparse
import json
import os
import queue
import select
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn

from .generation import ClientGoneError, Models
from .inputs import Ask, BadRequestError, MlxServerError, ask_of, options_of, tokens_in, versions

LOOK_S = 0.2  # between looks whether a waiting client is still there
BODY_BYTES = 64 * 1024 * 1024
FAILURES = (OSError, ValueError, TypeError, LookupError, AttributeError, ImportError, RuntimeError)
KINDS = {400: "invalid_request_error", 404: "not_found_error", 503: "unavailable_error"}


@dataclass(slots=True)
class Job:
    """A generation on its way: its events come by `steps`, an exception or None being the last; `gone` ends it."""

    ask: Ask
    steps: queue.SimpleQueue[list[dict[str, Any]] | Exception | None] = field(default_factory=queue.SimpleQueue)
    gone: threading.Event = field(default_factory=threading.Event)


class MlxHttpServer(ThreadingHTTPServer):
    """Listens, and hands generations to the main thread; `models` is None while they load."""

    daemon_threads = True

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__((options.host, options.port), Handler)
        self.options = options
        self.models: Models | None = None
        self.jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self.busy = False

    def work(self, models: Models) -> NoReturn:
        """Serves the generations, one after another, for good."""
        self.models = models
        while True:
            job = self.jobs.get()
            self.busy = True
            try:
                for events in models.events(job.ask, job.gone.is_set):
                    job.steps.put(events)
                job.steps.put(None)
            except Exception as error:  # noqa: BLE001 - whatever mlx raises belongs to this one request
                job.steps.put(error)
            self.busy = False


class Handler(BaseHTTPRequestHandler):
    """One request of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the pieces of an answer wait for each other
    server: MlxHttpServer

    def log_message(self, *_: Any) -> None:
        """Requests are not logged."""

    def do_GET(self) -> None:
        """Health, the model's name, what goes on."""
        self._answer({"/health": self._health, "/v1/models": self._model, "/slots": self._slots}, lambda: None)

    def do_POST(self) -> None:
        """Generations, and questions about text."""
        routes = {
            "/completion": self._complete,
            "/tokenize": self._tokenize,
            "/detokenize": self._detokenize,
            "/apply-template": self._template,
        }
        self._answer(routes, self._body)

    def _answer(self, routes: Mapping[str, Callable[[Models, Any], Any]], read: Callable[[], Any]) -> None:
        """Runs the route of this path and sends what it returns, if anything; what it raises is an error's body."""
        self.close_connection = True
        route, models = routes.get(self.path.partition("?")[0]), self.server.models
        try:
            body = read()
            if models is None:
                self._fail(503, "Loading model")
            elif route is None:
                self._fail(404, "File Not Found")
            elif (answer := route(models, body)) is not None:
                self._send(200, answer)
        except BadRequestError as error:
            self._fail(400, str(error))
        except (ConnectionError, ClientGoneError):
            pass
        except FAILURES as error:
            self._fail(500, error_line(error))

    def _body(self) -> Any:
        """The JSON object that came with a request."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > BODY_BYTES:
            raise BadRequestError("Content-Length is missing or too large")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise BadRequestError(f"the body is no JSON: {error}") from error
        if not isinstance(body, dict):
            raise BadRequestError("the body is no JSON object")
        return body

    def _health(self, _models: Models, _body: Any) -> Any:
        return {"status": "ok"}

    def _model(self, _models: Models, _body: Any) -> Any:
        return {"object": "list", "data": [{"id": self.server.options.alias, "object": "model", "owned_by": "mlx"}]}

    def _slots(self, _models: Models, _body: Any) -> Any:
        return [{"id": 0, "is_processing": self.server.busy, "waiting": self.server.jobs.qsize()}]

    def _tokenize(self, models: Models, body: Any) -> Any:
        return {"tokens": models.encode(str(body.get("content", "")), whole=body.get("add_special") is True)}

    def _detokenize(self, models: Models, body: Any) -> Any:
        return {"content": models.decode(tokens_in(body.get("tokens")))}

    def _template(self, models: Models, body: Any) -> Any:
        messages = body.get("messages")
        if not isinstance(messages, list):
            raise BadRequestError("messages must be a list")
        return {"prompt": models.render(messages)}

    def _complete(self, models: Models, body: Any) -> Any:
        """Queues a generation, and sends its events or, without `stream`, returns them as one answer."""
        job = Job(ask_of(body, self.server.options, drafts=models.drafts))
        self.server.jobs.put(job)
        try:
            first = self._next(job)
            if not job.ask.stream:
                return self._whole(job, first)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Connection", "close")
            self.end_headers()
            self._stream(job, first)
        finally:
            job.gone.set()
        return None

    def _next(self, job: Job) -> list[dict[str, Any]] | None:
        """The events of a job's next step, None behind the last; raises what ended it, or ClientGoneError."""
        while True:
            try:
                step = job.steps.get(timeout=LOOK_S)
            except queue.Empty:
                if select.select([self.connection], [], [], 0)[0] and not self.connection.recv(1, socket.MSG_PEEK):
                    raise ClientGoneError from None
                continue
            if isinstance(step, Exception):
                raise step
            return step

    def _whole(self, job: Job, step: list[dict[str, Any]] | None) -> dict[str, Any]:
        """All events as one."""
        events: list[dict[str, Any]] = []
        while step is not None:
            events += step
            step = self._next(job)
        tokens = [token for event in events for token in event["tokens"]]
        return events[-1] | {"content": "".join(event["content"] for event in events), "tokens": tokens}

    def _stream(self, job: Job, step: list[dict[str, Any]] | None) -> None:
        """Sends the events of each step in one piece; a failure in their midst is an event too."""
        while step is not None:
            data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in step)
            if data:  # an empty chunk would end the answer
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            try:
                step = self._next(job)
            except FAILURES as error:
                step = [_error(500, error_line(error))]
                job.steps.put(None)
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, status: int, answer: Any) -> None:
        """A whole JSON answer."""
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def _fail(self, status: int, message: str) -> None:
        """An error as the answer."""
        self._send(status, _error(status, message))


def _error(status: int, message: str) -> dict[str, Any]:
    """An error, as llama-server words it."""
    return {"error": {"code": status, "message": message, "type": KINDS.get(status, "server_error")}}


def error_line(error: BaseException) -> str:
    """What an exception says, in one line."""
    return " ".join(str(error).split())[:500] or type(error).__name__


def serve(options: argparse.Namespace) -> NoReturn:
    """Listens, loads the models and serves; RefusedError where that cannot be done."""
    try:
        server = MlxHttpServer(options)
    except (OSError, OverflowError) as error:
        raise MlxServerError(f"error: couldn't bind to {options.host}:{options.port}: {error}") from error
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _say(f"main: server is listening on http://{options.host}:{server.server_address[1]}")
    try:
        models = Models(options)
    except FAILURES as error:
        raise MlxServerError(f"error: failed to load model {options.model}: {error_line(error)}") from error
    _say("main: model loaded")
    server.work(models)


def _say(text: str) -> None:
    """Writes a line to stderr; a full disk behind it ends no server."""
    with suppress(OSError):
        os.write(2, f"{text}\n".encode(errors="backslashreplace"))


def main(args: Sequence[str] | None = None) -> int:
    """Runs the server; returns the exit code where it does not serve."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        options = options_of(args)
        found = versions()
        if options.version:
            _say(f"version: {found}")
            return 0
        serve(options)
    except MlxServerError as refusal:
        _say(str(refusal))
        return 1
