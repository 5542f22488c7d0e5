"""The llama-server engine: command lines of both dialects, programs that are none, and the client at a fake server."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from specdash.core.engine import Endpoint, EngineInfo, Health, Request, ServerSpec
from specdash.core.plan import KScope, LoadKey
from specdash.core.prompts import Message, Prompt
from specdash.core.transport import HttpError, Progress, RequestTimeout, StreamCut, TransportError
from specdash.engines.llama_cpp.flags import CURRENT, OLD, Flags, read_flags, resolve_program
from specdash.engines.llama_cpp.server import KIND, LlamaClient, LlamaServer, open_program
from specdash.engines.program_help import run_briefly
from specdash.errors import EngineError, Exit

FILLER = " one two three four five six seven eight nine ten"
WIRE = {CURRENT: "current", OLD: "old"}
DRAFT_FLAGS = re.compile(r"^(-md|--model-draft|--draft.*|--spec.*)$")
Connect = Callable[..., Awaitable[LlamaClient]]


def engine(dialect: str, command: tuple[str, ...] = ("llama-server",)) -> LlamaServer:
    info = EngineInfo(KIND, command[0], "b1", dialect, None)
    return LlamaServer(command, info, Flags(frozenset(), frozenset(), dialect), FILLER)


def spec(
    k: int | None = None, experts: int | None = None, args: tuple[str, ...] = (), model: Path = Path("/T.gguf")
) -> ServerSpec:
    """A load without a draft, or with one where `k` is given."""
    return ServerSpec(
        key=LoadKey.of("T", k, draft="D" if k else None, moe_experts=experts),
        target=model,
        draft=model if k else None,
        architecture="qwen3moe",
        templated=False,
        args=args,
        env={},
        wrap=("numactl", "--interleave=all"),
        size_bytes=1,
        load_timeout_s=10.0,
        fingerprint="",
    )


def value(argv: tuple[str, ...], flag: str) -> str | None:
    """The word after a flag; None where the flag is not there, an error where it is there twice."""
    assert argv.count(flag) <= 1
    return argv[argv.index(flag) + 1] if flag in argv else None


# --- command lines


@pytest.mark.parametrize("dialect", [CURRENT, OLD])
@pytest.mark.parametrize("experts", [None, 4])
def test_a_baseline_carries_no_draft_flag_at_all(dialect: str, experts: int | None) -> None:
    argv = engine(dialect).command(spec(experts=experts), Endpoint(8080, "nonce"))
    assert not [word for word in argv if DRAFT_FLAGS.match(word)]
    assert (value(argv, "-m"), value(argv, "--port"), value(argv, "--alias")) == ("/T.gguf", "8080", "nonce")


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (
            CURRENT,
            {
                "--spec-type": "draft-simple",
                "--spec-draft-n-max": "8",
                "--spec-draft-n-min": "0",
                "--spec-draft-p-min": "0",
                "--draft-max": None,
                "--draft-min": None,
                "--draft-p-min": None,
            },
        ),
        (
            OLD,
            {
                "--draft-max": "8",
                "--draft-min": "0",
                "--draft-p-min": "0",
                "--spec-type": None,
                "--spec-draft-n-max": None,
                "--spec-draft-n-min": None,
                "--spec-draft-p-min": None,
            },
        ),
    ],
)
def test_a_draft_in_both_dialects(dialect: str, expected: dict[str, str | None]) -> None:
    argv = engine(dialect).command(spec(8), Endpoint(8080, "nonce"))
    assert {flag: value(argv, flag) for flag in expected} == expected
    assert value(argv, "-md") == "/T.gguf"


@pytest.mark.parametrize("dialect", [CURRENT, OLD])
def test_experts_are_named_with_the_architecture(dialect: str) -> None:
    for k in (None, 8):
        argv = engine(dialect).command(spec(k, experts=4), Endpoint(8080, "nonce"))
        assert value(argv, "--override-kv") == "qwen3moe.expert_used_count=int:4"
        assert "--override-kv" not in engine(dialect).command(spec(k), Endpoint(8080, "nonce"))


def test_the_users_own_arguments_come_last_and_so_win() -> None:
    argv = engine(CURRENT).command(spec(args=("-np", "2", "-c", "4096")), Endpoint(8080, "nonce"))
    assert argv[-4:] == ("-np", "2", "-c", "4096")
    assert argv[: argv.index("-m")] == ("llama-server",)


def test_the_server_listens_on_loopback_and_counts() -> None:
    argv = engine(CURRENT, ("python", "embedded.py")).command(spec(), Endpoint(0, "nonce"))
    assert argv[:2] == ("python", "embedded.py")
    assert value(argv, "--host") == "127.0.0.1"
    assert "--metrics" in argv
    assert "numactl" not in argv


# --- programs


def script(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def refusal(program: str) -> EngineError:
    with pytest.raises(EngineError) as caught:
        open_program(program, None, FILLER)
    assert program.rpartition("/")[2] in caught.value.what
    assert caught.value.todo
    assert caught.value.exit_code is Exit.NOTHING_MEASURED
    return caught.value


def test_a_program_is_found_on_path_by_path_or_built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = script(tmp_path / "my-server", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert resolve_program("my-server") == ((program,), program)
    assert resolve_program(program) == ((program,), program)
    command, shown = resolve_program("embedded")
    assert (command[0], Path(command[-1]).name, shown) == (sys.executable, "embedded.py", "embedded")
    command, shown = resolve_program(f"embedded:{sys.executable}")
    assert (command[0], shown) == (sys.executable, f"embedded:{sys.executable}")


def test_programs_that_are_not_there(tmp_path: Path) -> None:
    assert "not on PATH" in refusal("no-such-llama-server").what
    assert "not found" in refusal(str(tmp_path / "nothing")).what
    assert "no Python" in refusal("embedded:/nowhere/python").what


def test_a_folder_is_no_program_but_may_hold_one(tmp_path: Path) -> None:
    error = refusal(str(tmp_path))
    assert "is a folder" in error.what
    assert str(tmp_path / "llama-server") in error.todo


def test_a_program_that_may_not_run_or_cannot(tmp_path: Path) -> None:
    path = script(tmp_path / "server", "#!/bin/sh\n", 0o644)
    error = refusal(path)
    assert "not executable" in error.what
    assert error.todo == f"chmod +x {path}"
    assert "cannot be run" in refusal(script(tmp_path / "other", "no program at all\n")).what


def test_other_programs_are_refused(tmp_path: Path) -> None:
    assert "does not look like llama-server" in refusal("/bin/echo").what
    html = script(tmp_path / "html", "#!/bin/sh\necho '<!DOCTYPE html><html><body>404</body></html>'\n")
    assert "<!DOCTYPE html>" in refusal(html).what
    assert "it says: 'nothing'" in refusal(script(tmp_path / "gone", "#!/bin/sh\nexit 3\n")).what
    assert "broken glass" in refusal(script(tmp_path / "dies", "#!/bin/sh\necho broken glass >&2\nexit 139\n")).what


def test_a_missing_interpreter_is_not_a_missing_program(tmp_path: Path) -> None:
    error = refusal(script(tmp_path / "server", "#!/nowhere/python\n"))
    assert "was not found" not in error.what


@pytest.mark.parametrize("text", ["exec sleep 600", "sleep 600"], ids=["itself", "in a child"])
def test_a_program_that_hangs_is_ended(text: str, tmp_path: Path) -> None:
    program = script(tmp_path / "server", f"#!/bin/sh\n{text}\n")
    with pytest.raises(EngineError, match="--help did not end") as caught:
        read_flags([program], program, limit_s=0.3)
    assert program in caught.value.what
    # Nothing of it may be left, which the fixture of all tests checks.


def test_a_program_gets_no_terminal_to_wait_for(tmp_path: Path) -> None:
    program = script(tmp_path / "server", '#!/bin/sh\nread answer\necho "got $answer"\n')
    assert run_briefly([program], program, 10.0) == "got \n"


@pytest.mark.parametrize(("dialect", "name"), WIRE.items())
def test_find_reads_dialect_and_version(
    dialect: str, name: str, fake_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_DIALECT", name)
    found = open_program(str(fake_server), KScope.CAPPED, FILLER)
    remembers = frozenset({"ngram-mod"})
    assert found.info == EngineInfo(KIND, str(fake_server), "0 (fake)", dialect, KScope.CAPPED, keeps_history=remembers)
    assert "-md" in found.flags
    cause = found.diagnose("cudaMalloc failed: out of memory")
    assert cause is not None
    assert "cudaMalloc" not in cause.todo


@pytest.mark.real
def test_find_reads_the_real_program(llama_server: Path) -> None:
    found = open_program(str(llama_server), None, FILLER)
    assert found.info.dialect == CURRENT
    assert found.info.version != "unknown"
    assert "--draft-max" in found.flags.removed


# --- the client


@pytest.fixture
async def connect(fake_server: Path, tmp_path: Path, launch: Callable[..., Any]) -> AsyncIterator[Connect]:
    """A client of a fake server, started by the engine's own command line, with this behaviour."""
    model = tmp_path / "model.gguf"
    model.touch()
    clients: list[LlamaClient] = []

    async def start(
        behaviour: str = "", dialect: str = CURRENT, k: int | None = 4, templated: bool = False
    ) -> LlamaClient:
        argv = engine(dialect, (str(fake_server),)).command(spec(k, model=model), Endpoint(0, "nonce"))
        running = launch(*argv, FAKE_SERVER=f"speed=100000,{behaviour}", FAKE_DIALECT=WIRE[dialect])
        port = int(running.url().rpartition(":")[2])
        clients.append(LlamaClient(Endpoint(port, "nonce"), templated, FILLER))
        return clients[-1]

    yield start
    for client in clients:
        await client.close()


def ask(**changes: Any) -> Request:
    return replace(Request("one two", max_tokens=40, temperature=0.0, seed=1, k=4), **changes)


@asynccontextmanager
async def nowhere() -> AsyncIterator[LlamaClient]:
    """A client of a port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = LlamaClient(Endpoint(taken.getsockname()[1], "nonce"), False, FILLER)
        yield client
        await client.close()


async def test_health_before_during_and_after_the_load(
    fake_server: Path, tmp_path: Path, launch: Callable[..., Any]
) -> None:
    async with nowhere() as client:
        assert await client.health() is Health.DOWN
    model = tmp_path / "model.gguf"
    model.touch()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = engine(CURRENT, (str(fake_server),)).command(spec(model=model), Endpoint(port, "nonce"))
    running = launch(*argv, FAKE_SERVER="load_s=0.5")
    client = LlamaClient(Endpoint(port, "nonce"), False, FILLER)
    running.wait_for(r"(loading model)")
    assert await client.health() is Health.LOADING
    running.url()
    assert await client.health() is Health.OK
    await client.close()


async def test_the_alias_proves_whose_server_it_is(connect: Connect) -> None:
    assert await (await connect()).model_alias() == "nonce"
    assert await (await connect("wrong_model=/other.gguf")).model_alias() == "/other.gguf"


async def test_one_token_proves_that_it_generates(connect: Connect) -> None:
    await (await connect()).complete_one(10.0)
    with pytest.raises(HttpError, match="as ordered"):
        await (await connect("http500=1")).complete_one(10.0)
    async with nowhere() as client:
        with pytest.raises(TransportError):
            await client.complete_one(10.0)


@pytest.mark.parametrize("dialect", [CURRENT, OLD])
async def test_generate(connect: Connect, dialect: str) -> None:
    client = await connect(dialect=dialect)
    progress = Progress()
    found = await client.generate(ask(), limit_s=30.0, progress=progress)
    assert (found.generated_tokens, found.finish_reason, found.problems) == (40, "limit", ())
    assert (found.model, found.cached_tokens, found.prompt_tokens) == ("nonce", 0, 3)
    assert found.draft_n
    assert found.prompt_ms is not None
    assert found.predicted_ms is not None
    assert len(found.text.split()) == 40
    assert progress.events >= len(found.chunks)
    again = await client.generate(ask(), limit_s=30.0)
    assert (again.text_hash, again.cached_tokens) == (found.text_hash, 0)


async def test_a_baseline_drafts_nothing(connect: Connect) -> None:
    found = await (await connect(k=None)).generate(ask(k=None), limit_s=30.0)
    assert (found.generated_tokens, found.draft_n, found.problems) == (40, None, ())


async def test_a_cached_prompt_is_told(connect: Connect) -> None:
    client = await connect()
    await client.generate(ask(cache_prompt=True), limit_s=30.0)
    assert (await client.generate(ask(cache_prompt=True), limit_s=30.0)).cached_tokens == 2


async def test_generations_that_go_wrong(connect: Connect) -> None:
    with pytest.raises(StreamCut):
        await (await connect("cut=5")).generate(ask(), limit_s=30.0)
    assert (await (await connect("fin=5")).generate(ask(), limit_s=30.0)).problems
    with pytest.raises(RequestTimeout):
        await (await connect("hang_after=5")).generate(ask(), limit_s=0.3)
    with pytest.raises(HttpError):
        await (await connect("http_status=500")).generate(ask(), limit_s=30.0)


TEXT = Prompt("t", "coding", text="write a loop")
TALK = Prompt("m", "conversation", messages=(Message("system", "be brief"), Message("user", "hello")))


async def test_render_without_a_template_is_the_text_itself(connect: Connect) -> None:
    client = await connect()
    assert await client.render(TEXT, 0) == "write a loop"
    assert await client.render(TALK, 0) == TALK.as_text()


async def test_render_with_a_template_asks_the_server(connect: Connect) -> None:
    client = await connect(templated=True)
    assert await client.render(TEXT, 0) == "write a loop "
    assert await client.render(TALK, 0) == "be brief hello "


@pytest.mark.parametrize("depth", [1, 10, 25])
@pytest.mark.parametrize("templated", [False, True])
async def test_depth_fills_the_context_with_so_many_tokens(connect: Connect, depth: int, templated: bool) -> None:
    client = await connect(templated=templated)
    plain, deep = await client.render(TEXT, 0), await client.render(TEXT, depth)
    # A token of the fake's is a word with the space before it.
    assert deep == " " + " ".join((FILLER.split() * 3)[:depth]) + "\n\n" + plain
    before, after = [(await client.generate(ask(prompt=text), limit_s=30.0)).prompt_tokens for text in (plain, deep)]
    assert before is not None
    assert after == before + depth


async def test_depth_goes_into_the_first_message_of_a_conversation(connect: Connect) -> None:
    deep = await (await connect(templated=True)).render(TALK, 3)
    assert deep == " one two three\n\nbe brief hello "


@pytest.mark.parametrize(
    ("behaviour", "dialect", "k_startup", "scope"),
    [
        ("k_scope=request", CURRENT, 4, KScope.REQUEST),
        ("k_scope=request", OLD, 4, KScope.REQUEST),
        ("k_scope=capped", CURRENT, 4, KScope.CAPPED),
        ("k_scope=capped", OLD, 8, KScope.CAPPED),
        ("k_scope=startup", CURRENT, 4, KScope.STARTUP),
        ("k_scope=startup", OLD, 4, KScope.STARTUP),
        ("k_scope=request", CURRENT, 1, KScope.REQUEST),
        ("k_scope=startup", CURRENT, 1, KScope.STARTUP),
        ("k_scope=request,acceptance=0", CURRENT, 4, KScope.REQUEST),
        ("k_scope=startup,acceptance=1", CURRENT, 4, KScope.STARTUP),
        ("k_scope=capped,replay=1,acceptance=0.5", OLD, 4, KScope.CAPPED),
        ("no_draft=1", CURRENT, 4, None),
        ("no_timings=1", CURRENT, 4, None),
    ],
)
async def test_probe_k(connect: Connect, behaviour: str, dialect: str, k_startup: int, scope: KScope | None) -> None:
    found = await (await connect(behaviour, dialect, k=k_startup)).probe_k(k_startup, limit_s=30)
    assert found.scope is scope
    asked, seen = found.evidence[0]
    assert (asked, seen) == (k_startup, k_startup if scope else None)
    if scope is None:
        assert len(found.evidence) == 1


async def test_evidence_of_a_server_that_talks_and_of_one_that_does_not(connect: Connect) -> None:
    assert "is_processing" in (await (await connect()).evidence())["/slots"]
    async with nowhere() as client:
        assert "no answer" in (await client.evidence())["/slots"]


@pytest.mark.parametrize("name", ["HF_TOKEN", "api_key", "AWS_SECRET", "DbPassword"])
def test_a_command_to_paste_tells_no_secret(name: str) -> None:
    words = engine(CURRENT).command_to_paste(replace(spec(8), env={name: "hunter2", "OMP_NUM_THREADS": "4"}))
    assert words[:3] == ("env", f'{name}="${name}"', "OMP_NUM_THREADS=4")
    assert "hunter2" not in " ".join(words)
