"""A small HTTP server that runs one command-line program for each request: the "server" of the engine llama-cli.

Run as `python -m specdash.programs.cli_bridge --port N --alias NAME [--need FILE]… -- PROGRAM ARG…`; standard library
only. The command after `--` is a template: requests fill in the words `{k}`, `{n}`, `{temp}`, `{seed}`, `{prompt}` and
`{images}` and nothing else, so that whoever reaches the port of this machine can ask for a generation, as from any
server, and can run nothing.

It loads nothing at its start: it checks that the files can be read and that the program answers --help, then listens
on 127.0.0.1. Exit code 1, with the reason on stderr, where that fails; 0 after TERM or INT.

GET /health, GET /v1/models (the alias) and GET /state (what is running). POST /run with a JSON object: `limit_s`,
`prompt`, `images`, and the numbers `k`, `n`, `temp`, `seed`, as far as the template has them. One program runs at a
time, in a process group of its own; further requests wait. The answer is an event stream:

    {"out": text, "t_ms": …}    for each read of the program's stdout; t_ms is the time since its start
    {"exit": code|null, "signal": number|null, "limit": true where limit_s had passed, "stderr": text, "t_ms": …,
     "dropped": bytes of stdout that were too many to pass on, "model": alias}    the last event

A client that hangs up ends its program. Both outputs are always read, so a program never waits for us, and what it
writes is bounded wherever we keep it: in the stream, in the last event, and in the log (our stderr), which gets the
beginning and the end of it. The prompt is an unlinked file that the program opens as /dev/fd/N: it has no limit of
length, is in no list of processes, and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from specdash.core.numbers import finite
from specdash.programs.cli_bridge_run import Log, Run

HELP_LIMIT_S = 60.0  # builds with a GPU look for it first
REQUEST_BYTES = 64 * 1024 * 1024
HEAD_BYTES = 64 * 1024
NUMBERS: Mapping[str, type] = {"k": int, "n": int, "seed": int, "temp": float}
PHRASES = {200: "OK", 400: "Bad Request", 404: "Not Found", 413: "Content Too Large", 415: "Unsupported Media Type"}


class BridgeError(Exception):
    """A request, or a start, that cannot be served; the message is what its sender reads."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Bridge:
    """The requests of one load: one run at a time, the others in the order in which they came."""

    def __init__(self, alias: str, template: Sequence[str]) -> None:
        self.alias = alias
        self._template = tuple(template)
        self._log = Log()
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[BridgeConnection] = deque()
        self._run: Run | None = None
        self._stopping = False
        self.stopped: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_signal_handler(signal.SIGCHLD, self._look)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop)

    def get(self, path: str) -> dict[str, Any] | None:
        """What GET answers; None for a path that there is not."""
        answers: dict[str, Callable[[], dict[str, Any]]] = {
            "/health": lambda: {"status": "ok"},
            "/v1/models": lambda: {"object": "list", "data": [{"id": self.alias, "object": "model"}]},
            "/state": lambda: {"waiting": len(self._waiting), "running": self._run and self._run.state()},
        }
        return answers[path]() if path in answers else None

    def argv(self, body: Mapping[str, Any]) -> list[str]:
        """The command of a request, its prompt still to be put in; RefusedError for a value that is none."""
        words = {f"{{{name}}}": _number(name, body[name], kind) for name, kind in NUMBERS.items() if name in body}
        images = body.get("images") or []
        if not isinstance(images, list) or not all(isinstance(path, str) and os.path.isabs(path) for path in images):
            raise BridgeError("images must be a list of absolute paths")
        if any("," in path for path in images):
            raise BridgeError("an image has a comma in its path, where the program begins another path")
        if images and "{images}" not in self._template:
            raise BridgeError("this program takes no images; a target needs its mmproj for them")
        if images:
            words["{images}"] = ",".join(images)
        wanted = {"{images}", *(f"{{{name}}}" for name in NUMBERS)}
        if missing := sorted(wanted.intersection(self._template) - words.keys()):
            raise BridgeError(f"this program needs {', '.join(missing)} with each request")
        return [words.get(word, word) for word in self._template]

    def submit(self, connection: BridgeConnection) -> None:
        """Puts a run in the queue, and starts it when nothing runs."""
        self._waiting.append(connection)
        self._next()

    def gone(self, connection: BridgeConnection) -> None:
        """A client has hung up: its run ends, or never begins."""
        if connection in self._waiting:
            self._waiting.remove(connection)
        elif connection.run is not None and not connection.run.finished:
            connection.run.end()

    def _next(self) -> None:
        """Starts what waits, when nothing runs."""
        while self._waiting and self._run is None and not self._stopping:
            connection = self._waiting.popleft()
            run = Run(connection.argv, self.alias, self._log, connection.send)
            try:
                run.start(connection.prompt, connection.limit_s)
            except OSError as error:
                connection.answer(400, {"error": {"message": f"{run.argv[0]} cannot be run: {error.strerror}"}})
                continue
            self._run = connection.run = run

    def _look(self) -> None:
        """A child has ended."""
        if self._run is not None:
            self._run.look()

    def ended(self, connection: BridgeConnection) -> None:
        """A run has sent its last event."""
        self._run = None
        if self._stopping:
            self.stopped.set_result(None)
        self._next()

    def _stop(self) -> None:
        """Ends what runs, then everything; at once when it is asked for again."""
        if self._run is not None and not self._stopping:
            self._run.end()
        elif not self.stopped.done():
            self.stopped.set_result(None)
        self._stopping = True


class BridgeConnection(asyncio.Protocol):
    """One HTTP/1.1 request and its answer; the connection ends with it."""

    def __init__(self, bridge: Bridge) -> None:
        self.run: Run | None = None
        self.argv: list[str] = []
        self.prompt = ""
        self.limit_s = 0.0
        self._bridge = bridge
        self._received = bytearray()
        self._is_read = False
        self._streams = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, or was answered."""
        self._bridge.gone(self)

    def data_received(self, data: bytes) -> None:
        """Answers once the request is whole."""
        if self._is_read:
            return
        self._received += data
        try:
            self._read()
        except BridgeError as error:
            self.answer(error.status, {"error": {"message": str(error)}})

    def _read(self) -> None:
        head, end, body = bytes(self._received).partition(b"\r\n\r\n")
        if len(head) > HEAD_BYTES:
            raise BridgeError("the head of the request is too large", 413)
        if not end:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path = [*first.split(" "), "", ""][:2]
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = fields.get("content-length", "0")
        if not length.isdecimal() or int(length) > REQUEST_BYTES:
            raise BridgeError("the request is too large", 413)
        if len(body) < int(length):
            return
        self._is_read = True
        self._received.clear()
        # A page in somebody's browser can reach this port too, but neither under this name nor with this type.
        if not fields.get("host", "").startswith("127.0.0.1"):
            raise BridgeError("this server is 127.0.0.1")
        if method == "GET":
            found = self._bridge.get(path)
            self.answer(404 if found is None else 200, found or {"error": {"message": f"there is no {path}"}})
        elif (method, path) == ("POST", "/run"):
            if fields.get("content-type") != "application/json":
                raise BridgeError("the body must be application/json", 415)
            self._submit(body)
        else:
            raise BridgeError(f"there is no {method} {path}", 404)

    def _submit(self, body: bytes) -> None:
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BridgeError(f"the body is no JSON: {error}") from error
        if not isinstance(asked, dict) or not isinstance(asked.get("prompt", ""), str):
            raise BridgeError("the body must be an object, and its prompt a text")
        self.argv = self._bridge.argv(asked)
        self.prompt = asked.get("prompt", "")
        self.limit_s = float(_number("limit_s", asked.get("limit_s"), float))
        self._bridge.submit(self)

    def answer(self, status: int, body: dict[str, Any]) -> None:
        """The whole answer at once."""
        self._is_read = True
        data = json.dumps(body).encode()
        self._head(status, "application/json", f"Content-Length: {len(data)}\r\n")
        self._transport.write(data)
        self._transport.close()

    def send(self, event: dict[str, Any]) -> None:
        """One event of a run; the one with `exit` is its last."""
        if not self._transport.is_closing():
            if not self._streams:
                self._head(200, "text/event-stream", "Cache-Control: no-store\r\n")
            self._streams = True
            self._transport.write(b"data: %b\n\n" % json.dumps(event, ensure_ascii=False).encode("utf-8", "replace"))
        if "exit" in event:
            self._transport.close()
            self._bridge.ended(self)

    def _head(self, status: int, kind: str, more: str) -> None:
        head = f"HTTP/1.1 {status} {PHRASES[status]}\r\nContent-Type: {kind}\r\n{more}Connection: close\r\n\r\n"
        self._transport.write(head.encode("latin-1"))


def _number(name: str, value: Any, kind: type) -> str:
    """A number of a request, as a word of a command line."""
    if finite(value) is None or (kind is int and not isinstance(value, int)):
        raise BridgeError(f"{name} must be a number")
    return f"{value:g}" if kind is float else str(value)


def check_files(needed: Sequence[str], program: str) -> None:
    """Raises RefusedError where a file cannot be read, or the program does not answer --help."""
    for path in needed:
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise BridgeError(f"cannot open {path}: {error.strerror}") from error
    try:
        answer = subprocess.run(
            (program, "--help"), stdin=subprocess.DEVNULL, capture_output=True, timeout=HELP_LIMIT_S, check=False
        )
    except OSError as error:
        raise BridgeError(f"{program} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise BridgeError(f"{program} --help did not end within {HELP_LIMIT_S:.0f} s") from error
    if not answer.stdout + answer.stderr:
        raise BridgeError(f"{program} --help says nothing (exit code {answer.returncode})")


async def serve(port: int, alias: str, template: Sequence[str]) -> None:
    """Serves until TERM or INT comes."""
    bridge = Bridge(alias, template)
    server = await asyncio.get_running_loop().create_server(lambda: BridgeConnection(bridge), "127.0.0.1", port)
    address = "http://{}:{}".format(*server.sockets[0].getsockname())
    Log().say(f"listening on {address}")
    await bridge.stopped
    server.close()


def main(args: list[str]) -> int:
    """Parses the command line and serves; returns the exit code."""
    try:
        own, template = args[: args.index("--")], args[args.index("--") + 1 :]
        options = list(zip(own[::2], own[1::2], strict=True))
        port, alias = int(dict(options)["--port"]), dict(options)["--alias"]
        program = template[0]
    except (ValueError, KeyError, IndexError):
        Log().say("error: usage: cli_bridge --port N --alias NAME [--need FILE]... -- PROGRAM ARG...")
        return 1
    try:
        check_files([value for name, value in options if name == "--need"], program)
        asyncio.run(serve(port, alias, template))
    except (BridgeError, OSError) as error:
        Log().say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
