"""A small HTTP server that runs one command-line program for each request: the "server" of the engine llama-cli.

Run as `PYTHON -I cli_bridge.py --port N --alias NAME [--need FILE]… -- PROGRAM ARG…`; standard library only. The
command after `--` is a template: requests fill in the words `{k}`, `{n}`, `{temp}`, `{seed}`, `{prompt}` and
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
import codecs
import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

HELP_LIMIT_S = 60.0  # builds with a GPU look for it first
TERM_S = 1.0  # from TERM to KILL, for a run that nobody waits for
DRAIN_S = 2.0  # for output that is still in the pipes when the program has ended
READ_BYTES = 256 * 1024
REQUEST_BYTES = 64 * 1024 * 1024
HEAD_BYTES = 64 * 1024
OUT_BYTES = 4 * 1024 * 1024
ERR_HEAD_BYTES = 64 * 1024
ERR_TAIL_BYTES = 192 * 1024
LOG_BYTES = 16 * 1024 * 1024  # of all runs together; then each has only its end in the log
LOG_RUN_BYTES = 256 * 1024
LOG_TAIL_BYTES = 16 * 1024

NUMBERS: Mapping[str, type] = {"k": int, "n": int, "seed": int, "temp": float}
PHRASES = {200: "OK", 400: "Bad Request", 404: "Not Found", 413: "Content Too Large", 415: "Unsupported Media Type"}


class RefusedError(Exception):
    """A request, or a start, that cannot be served; the message is what its sender reads."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Tail:
    """The first bytes and the last bytes of a stream of any length."""

    def __init__(self, head_bytes: int, tail_bytes: int) -> None:
        self.total = 0
        self._room = head_bytes
        self._most = tail_bytes
        self._head: list[bytes] = []
        self._tail: deque[bytes] = deque()
        self._held = 0

    def add(self, data: bytes) -> bytes:
        """Keeps `data`; returns the part of it that belongs to the head."""
        self.total += len(data)
        first, rest = data[: self._room], data[self._room :]
        self._room -= len(first)
        if first:
            self._head.append(first)
        if rest:
            self._tail.append(rest)
            self._held += len(rest)
            while self._held - len(self._tail[0]) >= self._most:
                self._held -= len(self._tail.popleft())
        return first

    def rest(self) -> bytes:
        """What came after the head, with a line that says how much of it is missing."""
        tail = b"".join(self._tail)[-self._most :]
        lost = self.total - sum(map(len, self._head)) - len(tail)
        return b"\n[%d bytes left out]\n%b" % (lost, tail) if lost else tail

    def text(self) -> str:
        """Everything that is kept, malformed UTF-8 replaced."""
        return (b"".join(self._head) + self.rest()).decode("utf-8", "replace")


class Log:
    """Our stderr, which is the log of the load: lines of our own, and a bounded part of each run's stderr."""

    def __init__(self) -> None:
        self._left = LOG_BYTES

    def say(self, text: str) -> None:
        """Writes a line of our own."""
        self.write(f"cli_bridge: {text}\n".encode())

    def part(self) -> Tail:
        """What the log keeps of a run that begins."""
        return Tail(min(LOG_RUN_BYTES, self._left), LOG_TAIL_BYTES)

    def write(self, data: bytes) -> None:
        """Writes what it can without waiting: neither a full disk nor a full pipe may end or delay a measurement."""
        self._left = max(0, self._left - len(data))
        with contextlib.suppress(OSError):
            while data and select.select((), (2,), (), 0)[1]:
                data = data[os.write(2, data[: select.PIPE_BUF]) :]


class Run:
    """One run of the program, from its start to its last event. `send` takes events, `done` is called at the end."""

    def __init__(self, argv: Sequence[str], alias: str, log: Log, send: Callable[[Any], None]) -> None:
        self.argv = tuple(argv)
        self._alias = alias
        self._log = log
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._out_bytes = 0
        self._err = Tail(ERR_HEAD_BYTES, ERR_TAIL_BYTES)
        self._logged = log.part()
        self._open: set[IO[bytes]] = set()
        self._timers: list[asyncio.TimerHandle] = []
        self._limit_passed = False
        self._ended = False
        self.finished = False

    def start(self, prompt: str, limit_s: float) -> None:
        """Starts the program; OSError where it cannot be started."""
        with tempfile.TemporaryFile() as file:
            # Programs drop one line end at the end of a prompt file.
            file.write(prompt.encode("utf-8", "replace") + b"\n")
            file.seek(0)
            argv = [f"/dev/fd/{file.fileno()}" if word == "{prompt}" else word for word in self.argv]
            self._log.say(f"runs {' '.join(self.argv)}")
            self._started_s = time.monotonic()
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=(file.fileno(),),
            )
        for pipe, reader in ((self._process.stdout, self._read_out), (self._process.stderr, self._read_err)):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self._open.add(pipe)
            self._loop.add_reader(pipe.fileno(), self._read, pipe, reader)
        self._timers.append(self._loop.call_later(limit_s, self._out_of_time))

    def look(self) -> None:
        """Called when a child has ended; leaves nothing of this run's process group when it was this one."""
        if self._ended or self._process.poll() is None:
            return
        self._ended = True
        self._signal(signal.SIGKILL)
        self._timers.append(self._loop.call_later(DRAIN_S, self._close_pipes))
        self._finish()

    def end(self) -> None:
        """Ends the program: TERM, and KILL where it does not obey."""
        if not self._ended:
            self._signal(signal.SIGTERM)
            self._timers.append(self._loop.call_later(TERM_S, self._signal, signal.SIGKILL))

    def state(self) -> dict[str, Any]:
        """What it is doing, for somebody who waits for it."""
        seconds = round(time.monotonic() - self._started_s, 1)
        last = self._err.text()[-1000:]
        return {"argv": self.argv, "seconds": seconds, "out_bytes": self._out_bytes, "stderr": last}

    def _out_of_time(self) -> None:
        self._limit_passed = True
        self.end()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _read(self, pipe: IO[bytes], reader: Callable[[bytes, float], None]) -> None:
        try:
            data = os.read(pipe.fileno(), READ_BYTES)
        except BlockingIOError:
            return
        reader(data, self._ms())
        if not data:
            self._close(pipe)
            self._finish()

    def _read_out(self, data: bytes, t_ms: float) -> None:
        room = max(0, OUT_BYTES - self._out_bytes)
        self._out_bytes += len(data)
        if room and data:
            self._send({"out": self._decoder.decode(data[:room]), "t_ms": t_ms})

    def _read_err(self, data: bytes, t_ms: float) -> None:
        self._err.add(data)
        if passed_on := self._logged.add(data):
            self._log.write(passed_on)

    def _close(self, pipe: IO[bytes]) -> None:
        self._open.discard(pipe)
        self._loop.remove_reader(pipe.fileno())
        pipe.close()

    def _close_pipes(self) -> None:
        """Stops waiting for the ends of pipes that somebody else keeps open."""
        for pipe in tuple(self._open):
            self._close(pipe)
        self._finish()

    def _finish(self) -> None:
        if not self._ended or self._open or self.finished:
            return
        self.finished = True
        for timer in self._timers:
            timer.cancel()
        self._log.write(self._logged.rest())
        code = self._process.returncode
        self._send(
            {
                "exit": code if code >= 0 else None,
                "signal": -code if code < 0 else None,
                "limit": self._limit_passed,
                "stderr": self._err.text(),
                "t_ms": self._ms(),
                "dropped": max(0, self._out_bytes - OUT_BYTES),
                "model": self._alias,
            }
        )

    def _ms(self) -> float:
        return round((time.monotonic() - self._started_s) * 1000, 3)


class Bridge:
    """The requests of one load: one run at a time, the others in the order in which they came."""

    def __init__(self, alias: str, template: Sequence[str]) -> None:
        self.alias = alias
        self._template = tuple(template)
        self._log = Log()
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Connection] = deque()
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
            raise RefusedError("images must be a list of absolute paths")
        if any("," in path for path in images):
            raise RefusedError("an image has a comma in its path, where the program begins another path")
        if images and "{images}" not in self._template:
            raise RefusedError("this program takes no images; a target needs its mmproj for them")
        if images:
            words["{images}"] = ",".join(images)
        wanted = {"{images}", *(f"{{{name}}}" for name in NUMBERS)}
        if missing := sorted(wanted.intersection(self._template) - words.keys()):
            raise RefusedError(f"this program needs {', '.join(missing)} with each request")
        return [words.get(word, word) for word in self._template]

    def submit(self, connection: Connection) -> None:
        """Puts a run in the queue, and starts it when nothing runs."""
        self._waiting.append(connection)
        self._next()

    def gone(self, connection: Connection) -> None:
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

    def ended(self, connection: Connection) -> None:
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


class Connection(asyncio.Protocol):
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
        except RefusedError as error:
            self.answer(error.status, {"error": {"message": str(error)}})

    def _read(self) -> None:
        head, end, body = bytes(self._received).partition(b"\r\n\r\n")
        if len(head) > HEAD_BYTES:
            raise RefusedError("the head of the request is too large", 413)
        if not end:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path = [*first.split(" "), "", ""][:2]
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = fields.get("content-length", "0")
        if not length.isdecimal() or int(length) > REQUEST_BYTES:
            raise RefusedError("the request is too large", 413)
        if len(body) < int(length):
            return
        self._is_read = True
        self._received.clear()
        # A page in somebody's browser can reach this port too, but neither under this name nor with this type.
        if not fields.get("host", "").startswith("127.0.0.1"):
            raise RefusedError("this server is 127.0.0.1")
        if method == "GET":
            found = self._bridge.get(path)
            self.answer(404 if found is None else 200, found or {"error": {"message": f"there is no {path}"}})
        elif (method, path) == ("POST", "/run"):
            if fields.get("content-type") != "application/json":
                raise RefusedError("the body must be application/json", 415)
            self._submit(body)
        else:
            raise RefusedError(f"there is no {method} {path}", 404)

    def _submit(self, body: bytes) -> None:
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RefusedError(f"the body is no JSON: {error}") from error
        if not isinstance(asked, dict) or not isinstance(asked.get("prompt", ""), str):
            raise RefusedError("the body must be an object, and its prompt a text")
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
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or (kind is int and not isinstance(value, int)):
        raise RefusedError(f"{name} must be a number")
    return f"{value:g}" if kind is float else str(value)


def check(needed: Sequence[str], program: str) -> None:
    """Raises RefusedError where a file cannot be read, or the program does not answer --help."""
    for path in needed:
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise RefusedError(f"cannot open {path}: {error.strerror}") from error
    try:
        answer = subprocess.run(
            (program, "--help"), stdin=subprocess.DEVNULL, capture_output=True, timeout=HELP_LIMIT_S, check=False
        )
    except OSError as error:
        raise RefusedError(f"{program} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise RefusedError(f"{program} --help did not end within {HELP_LIMIT_S:.0f} s") from error
    if not answer.stdout + answer.stderr:
        raise RefusedError(f"{program} --help says nothing (exit code {answer.returncode})")


async def serve(port: int, alias: str, template: Sequence[str]) -> None:
    """Serves until TERM or INT comes."""
    bridge = Bridge(alias, template)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(bridge), "127.0.0.1", port)
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
        Log().say("error: usage: cli_bridge.py --port N --alias NAME [--need FILE]... -- PROGRAM ARG...")
        return 1
    try:
        check([value for name, value in options if name == "--need"], program)
        asyncio.run(serve(port, alias, template))
    except (RefusedError, OSError) as error:
        Log().say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
