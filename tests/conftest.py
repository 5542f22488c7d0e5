"""Fixtures for all tests: real servers where they are installed, the fake one, and the check that nothing is left."""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.support.fake_program import write_fake_server
from tests.support.paths import ROOT
from tests.support.real_programs import Launch, Running, absent

CACHE = Path.home() / ".cache" / "specdash-tests"
NONCE = "SPECDASH_TEST_NONCE"

# Tests start specdash hundreds of times: each start would compile all of it again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Signals that this process was started to ignore, as by nohup, would be ignored by all that tests start too.
for number, default in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, default)
# Whatever a test starts is noted in a folder of its own: no other specdash of this user may find it, and end it.
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="sd-")  # a socket's path must be short
atexit.register(shutil.rmtree, os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)


@pytest.fixture(scope="session")
def llama_server() -> Path:
    """The real llama-server of today's dialect."""
    folder = Path(os.environ.get("LLAMA_CPP_BIN") or CACHE / "llama.cpp" / "bin")
    if not (folder / "llama-server").is_file():
        absent(f"no llama-server in {folder}: run tests/tools/install-llama-cpp {CACHE / 'llama.cpp'}")
    return folder / "llama-server"


@pytest.fixture(scope="session")
def old_xllamacpp_python() -> Path:
    """A python whose xllamacpp honours K per request and has the older flags."""
    python = Path(os.environ.get("XLLAMACPP_OLD_PYTHON") or CACHE / "xllamacpp-0.2.14" / "bin" / "python")
    if not python.is_file():
        absent(f"no {python}: run tests/tools/install-xllamacpp-old {CACHE / 'xllamacpp-0.2.14'}")
    return python


@pytest.fixture(scope="session")
def mlx_python() -> Path:
    """A python that has mlx and mlx_lm, an environment of its own."""
    python = Path(os.environ.get("MLX_PYTHON") or CACHE / "mlx" / "bin" / "python")
    if not python.is_file():
        absent(f"no {python}: run tests/tools/install-mlx {CACHE / 'mlx'}")
    return python


@pytest.fixture(scope="session")
def embedded_available() -> None:
    """The xllamacpp wheel of the extra `embedded`."""
    if importlib.util.find_spec("xllamacpp") is None:
        absent("no xllamacpp: pip install -e '.[embedded]'")


@pytest.fixture(scope="session")
def small_models() -> Path:
    """A folder with a real small language model: smol-f32, smol-q4_1, smol-q2_k, and the last one split into three."""
    folder = Path(os.environ.get("SMALL_MODELS") or CACHE / "models")
    if not (folder / "smol-f32.gguf").is_file():
        absent(f"no smol-f32.gguf in {folder}: run tests/tools/install-models {CACHE / 'models'}")
    return folder


@pytest.fixture(scope="session")
def fake_server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that is the fake llama-server; FAKE_DIALECT and FAKE_SERVER tell it what to do."""
    return write_fake_server(tmp_path_factory.mktemp("fake"))


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with target.gguf and draft.gguf, which real servers load in milliseconds."""
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([sys.executable, "-m", "tests.tools.tiny_models", folder], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="session")
def tiny_mlx_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the MLX model folders target and draft; their heads are wide enough for a quantised KV cache."""
    from specdash.engines.demo import TINY
    from tests.support.demo_models import write_mlx_pair

    folder, shape = tmp_path_factory.mktemp("mlx"), replace(TINY, head=64)
    for path, name in zip(write_mlx_pair(folder, shape=shape, epsilon=0.2), ("target", "draft"), strict=True):
        path.rename(folder / name)
    return folder


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Start servers, `launch(*argv, **env)`, that are killed at the end of the test."""
    started: list[Running] = []

    def start(*argv: object, **env: str) -> Running:
        process = subprocess.Popen(
            [str(arg) for arg in argv],
            env=os.environ | env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        started.append(Running(process))
        return started[-1]

    yield start
    for running in started:
        running.process.kill()
        running.process.communicate()


@pytest.fixture(autouse=True)
def nothing_left_running(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves a process behind, however deep: they all inherit its nonce."""
    nonce = uuid.uuid4().hex
    monkeypatch.setenv(NONCE, nonce)
    yield
    left = carriers(nonce)
    _, left = psutil.wait_procs(left, timeout=10)
    names = [f"{process.pid} {describe(process)}" for process in left]
    for process in left:
        process.kill()
    assert not left, f"still running: {names}"


def carriers(nonce: str) -> list[psutil.Process]:
    """The processes that were started by the test with this nonce."""
    found: list[psutil.Process] = []
    for pid in psutil.pids():
        with suppress(OSError, psutil.Error):
            if pid != os.getpid() and nonce in nonce_of(pid):
                found.append(psutil.Process(pid))
    return found


def nonce_of(pid: int) -> str:
    """The nonce of a process, on Linux with all else in its environment: this is asked of each after every test."""
    if sys.platform == "linux":
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    return psutil.Process(pid).environ().get(NONCE, "")


def describe(process: psutil.Process) -> str:
    """The command line of a process, or its name."""
    try:
        return " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return "?"
