"""The bridge: what it runs and what not, and that no program can break it or outlive it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.real_programs import Running

BRIDGE = (sys.executable, "-P", "-m", "specdash.programs.cli_bridge")
ECHO = "import sys; sys.stdout.write(open(sys.argv[1], newline='').read())"
ARGUMENTS = "import sys; print(*sys.argv[2:])"
WAITING = "import os, signal, sys; print(os.getpid(), flush=True); signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITING}"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WAITING!r}])"

Event = dict[str, Any]


class Bridge:
    """A bridge that was started, and what can be asked of it."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.port = int(running.url().rpartition(":")[2])

    def post(self, body: object, **headers: str) -> http.client.HTTPResponse:
        """POST /run; the answer, unread."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", "/run", data, {"Content-Type": "application/json"} | headers)
        return connection.getresponse()

    def run(self, prompt: str = "", **body: object) -> list[Event]:
        """The events of a whole run."""
        answer = self.post({"prompt": prompt, "limit_s": 60} | body)
        assert answer.status == 200, answer.read()
        return list(events(answer))

    def get(self, path: str) -> Any:
        """GET; the JSON that answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())


def events(answer: http.client.HTTPResponse) -> Iterator[Event]:
    """The events of a stream as they come."""
    for line in answer:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


def out(found: list[Event]) -> str:
    return "".join(event.get("out", "") for event in found)


@pytest.fixture
def bridge(launch: Callable[..., Running]) -> Iterator[Callable[..., Bridge]]:
    """Starts bridges to Python programs, given as code with the words of their template."""
    started: list[Bridge] = []

    def start(code: str, *words: str, **env: str) -> Bridge:
        own = (*BRIDGE, "--port", "0", "--alias", "me", "--need", __file__)
        started.append(Bridge(launch(*own, "--", sys.executable, "-c", code, *words, **env)))
        return started[-1]

    yield start
    for each in started:
        each.running.process.terminate()
        assert each.running.process.wait(60) == 0


def gone(pid: int) -> None:
    """Wait until a process is no more, or only a zombie of somebody's."""
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(20)


def test_it_is_a_server_with_a_name(bridge: Callable[..., Bridge]) -> None:
    found = bridge(ECHO, "{prompt}")
    assert found.get("/health") == {"status": "ok"}
    assert found.get("/v1/models")["data"][0]["id"] == "me"
    assert found.get("/state") == {"waiting": 0, "running": None}
    assert "no /nowhere" in found.get("/nowhere")["error"]["message"]


PROMPTS = ("Once upon", "-m evil\n--help", 'a\n"b"\\n\t\n\n', "", "Grüße 🌍 \x00\x07", "word " * 200_000)


def test_a_prompt_reaches_the_program_as_it_is(bridge: Callable[..., Bridge]) -> None:
    one = bridge(ECHO, "{prompt}")
    for prompt in PROMPTS:
        found = one.run(prompt)
        assert out(found) == prompt + "\n", "programs drop one line end"
        assert found[-1]["exit"] == 0
        assert found[-1]["model"] == "me"
        times = [event["t_ms"] for event in found]
        assert times == sorted(times)
        assert all(time > 0 for time in times)


def test_only_the_words_of_the_template_are_filled_in(bridge: Callable[..., Bridge]) -> None:
    found = bridge(ARGUMENTS, "{prompt}", "-k", "{k}", "{n}", "{temp}", "{seed}", "x{k}", "{images}")
    numbers = {"k": 4, "n": 10, "temp": 0.5, "seed": -1, "images": ["/a b.png", "/c.png"]}
    assert out(found.run("p", **numbers, argv=["rm"], other=1)) == "-k 4 10 0.5 -1 x{k} /a b.png,/c.png\n"


REFUSED: tuple[tuple[Any, str], ...] = (
    ({"k": "4; rm -rf"}, "k must be a number"),
    ({"k": True}, "k must be a number"),
    ({"k": 1.5}, "k must be a number"),
    (b'{"k": NaN, "prompt": "", "limit_s": 5}', "k must be a number"),
    ({"k": 4}, "needs {images}"),
    ({"images": ["/a.png"]}, "needs {k}"),
    ({"k": 4, "images": ["a.png"]}, "absolute paths"),
    ({"k": 4, "images": ["/a,b.png"]}, "comma"),
    ({"k": 4, "images": "/a.png"}, "absolute paths"),
    ({"k": 4, "images": ["/a.png"], "limit_s": None}, "limit_s must be a number"),
    ({"k": 4, "images": ["/a.png"], "prompt": ["p"]}, "its prompt a text"),
    (b"{", "no JSON"),
    (b"[" * 100_000, "no JSON"),
    (b"[]", "an object"),
)


def test_what_cannot_be_run_is_refused(bridge: Callable[..., Bridge]) -> None:
    found = bridge(ARGUMENTS, "{prompt}", "{k}", "{images}")
    for body, said in REFUSED:
        answer = found.post(body if isinstance(body, bytes) else {"prompt": "", "limit_s": 5} | body)
        assert answer.status == 400, body
        assert said in json.loads(answer.read())["error"]["message"]
        assert found.get("/state")["running"] is None
    assert bridge(ECHO, "{prompt}").post({"limit_s": 5, "images": ["/a.png"]}).status == 400


def test_pages_of_a_browser_are_refused(bridge: Callable[..., Bridge]) -> None:
    found = bridge(ECHO, "{prompt}")
    assert found.post({"prompt": "", "limit_s": 5}, **{"Content-Type": "text/plain"}).status == 415
    assert found.post({"prompt": "", "limit_s": 5}, Host="evil.example").status == 400
    assert out(found.run("still here")) == "still here\n"


def test_bytes_without_end_or_meaning_are_bounded(bridge: Callable[..., Bridge], tmp_path: Path) -> None:
    flood = "import os\nfor n in (1, 2):\n for _ in range(50 << 8): os.write(n, b'\\xff\\x00xy' * 1024)"
    flood += "\nos.write(2, b'end')"
    log = tmp_path / "log"
    own = (*BRIDGE, "--port", "0", "--alias", "me", "--", sys.executable, "-c", flood)
    with log.open("wb") as file, subprocess.Popen(own, stderr=file) as process:
        while b"listening" not in log.read_bytes() and process.poll() is None:
            threading.Event().wait(0.02)
        port = int(log.read_text().strip().rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/run", b'{"limit_s": 60}', {"Content-Type": "application/json"})
        found = list(events(connection.getresponse()))
        process.terminate()
    assert found[-1]["exit"] == 0
    assert found[-1]["dropped"] + 4 * 1024 * 1024 == 50 << 20
    assert len(out(found)) == 4 * 1024 * 1024, "every byte of it is one character, if of no meaning"
    assert found[-1]["stderr"].endswith("end")
    assert "bytes left out" in found[-1]["stderr"]
    assert len(found[-1]["stderr"]) < 300_000
    assert log.stat().st_size < 400_000
    assert log.read_bytes().endswith(b"end")


def test_a_client_that_hangs_up_ends_the_whole_run(bridge: Callable[..., Bridge]) -> None:
    found = bridge(PARENT)
    answer = found.post({"limit_s": 60})
    grandchild = int(next(events(answer))["out"])
    assert found.get("/state")["running"]["argv"][0] == sys.executable
    answer.close()
    gone(grandchild)
    assert next(events(found.post({"limit_s": 60})))["out"], "the next one runs"


def test_a_request_waits_for_the_run_before(bridge: Callable[..., Bridge]) -> None:
    found = bridge(WAITING)
    first = found.post({"limit_s": 60})
    pid = int(next(events(first))["out"])
    later: list[Event] = []
    thread = threading.Thread(target=lambda: later.extend(found.run(limit_s=0.2)))
    thread.start()
    while found.get("/state")["waiting"] == 0:
        threading.Event().wait(0.02)
    os.kill(pid, signal.SIGKILL)
    assert list(events(first))[-1]["signal"] == signal.SIGKILL
    thread.join(20)
    assert later[-1]["limit"] is True, "it ran after the other, with a limit of its own"


@pytest.mark.parametrize("code", [WAITING, STUBBORN], ids=["obeys TERM", "ignores TERM"])
def test_a_limit_ends_a_run(bridge: Callable[..., Bridge], code: str) -> None:
    found = bridge(code).run(limit_s=3)  # for what the program says at its start, too
    assert found[-1]["limit"] is True
    assert found[-1]["exit"] is None
    gone(int(found[0]["out"]))


def test_term_ends_the_bridge_and_what_it_runs(bridge: Callable[..., Bridge]) -> None:
    found = bridge(STUBBORN)
    answer = found.post({"limit_s": 60})
    pid = int(next(events(answer))["out"])
    found.running.process.terminate()
    assert found.running.process.wait(20) == 0
    gone(pid)


def test_what_a_program_leaves_behind_is_ended_with_it(bridge: Callable[..., Bridge]) -> None:
    child = f"p = subprocess.Popen([sys.executable, '-c', {WAITING!r}]); print('child', p.pid)"
    found = bridge(f"import subprocess, sys; {child}").run()
    assert found[-1]["exit"] == 0
    gone(int(out(found).split("child ")[1].split()[0]))


def start(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*BRIDGE, *map(str, args)], capture_output=True, text=True, timeout=60, check=False)


def test_what_is_missing_is_said_at_the_start(tmp_path: Path) -> None:
    mute = tmp_path / "mute"
    mute.write_text("#!/bin/sh\nexit 3\n")
    own = ("--port", 0, "--alias", "me")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cases = (
            ((*own, "--need", "/no/model.gguf", "--", sys.executable), "cannot open /no/model.gguf: No such file"),
            ((*own, "--", "/no/program"), "/no/program cannot be run: No such file"),
            ((*own, "--", mute), "cannot be run: Permission denied"),
            ((*own,), "usage:"),
            (("--port", "x", "--alias", "me", "--", sys.executable), "usage:"),
            (("--port", port, "--alias", "me", "--", sys.executable), "address already in use"),
        )
        for args, said in cases:
            done = start(*args)
            assert done.returncode == 1
            assert said in done.stderr, args
            assert "Traceback" not in done.stderr
    mute.chmod(0o755)
    assert "says nothing (exit code 3)" in start(*own, "--", mute).stderr
