"""The mlx engine: command lines, what it says of programs and logs, and the stock server as it really behaves."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from specdash.core.engine import ALIAS as NAME_TOLD
from specdash.core.engine import REPORTABLE, Endpoint, Engine, FindContext, Health, KProbe, Request, ServerSpec
from specdash.core.events import K_PLACE
from specdash.core.generation import Generation
from specdash.core.measure import INFERRED, Verdict
from specdash.core.plan import KScope, LoadKey, Step
from specdash.core.profile import EngineConfig
from specdash.core.prompts import Message, Prompt
from specdash.core.transport import BadAnswer, HttpError, StreamCut, TransportError, Unreachable
from specdash.core.validity import RequestContext, reasons_against
from specdash.engines.demo import Shape
from specdash.engines.llama_cpp.server import LlamaClient
from specdash.engines.mlx import engine as mlx
from specdash.engines.mlx.client import StockClient
from specdash.engines.registry import find
from specdash.errors import EngineError
from tests.support.demo_models import write_mlx_pair
from tests.support.mlx_servers import ALIAS, LIMIT_S, OwnServer, StockServer

BASELINE_KEY = LoadKey.of("T")
DRAFT_KEY = LoadKey.of("T", 4, draft="D")
PROMPTS = ("explain the table of value", "the first number is large and the second is small")
TEMPLATE = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"
CLEAR = Shape(width=256, ffn=768, layers=4)  # large enough that its steps take longer than its tokens' events
real = pytest.mark.real


def spec(key: LoadKey = DRAFT_KEY, **more: Any) -> ServerSpec:
    made = ServerSpec(
        key=key,
        target=Path("/m/target"),
        draft=Path("/m/draft") if key.draft is not None else None,
        architecture="llama",
        templated=False,
        args=("--kv-bits", "8"),
        env={"HF_TOKEN": "hf_secret"},
        wrap=("nice",),
        size_bytes=1,
        load_timeout_s=LIMIT_S,
        fingerprint="",
    )
    return replace(made, **more)


def engine(dialect: str) -> Engine:
    """As it is found on a machine that has it."""
    command, _python = mlx.resolve_mlx_program(f"{dialect}:{sys.executable}")
    untold = mlx.NOT_REPORTED if dialect == mlx.STOCK else {}
    info = replace(_info(), dialect=dialect, program=dialect, not_reported=untold)
    return mlx.MlxEngine(command, info, "one two ")


def _info() -> Any:
    from specdash.core.engine import EngineInfo

    return EngineInfo("mlx", "", "1", "", None)


# --- commands


def test_the_stock_server_never_keeps_prompts_unless_the_user_says_so() -> None:
    stock = engine(mlx.STOCK)
    at = stock.endpoint(spec(), 8081, "nonce")
    assert at == Endpoint(8081, "")
    listen = ("--prompt-cache-size", "0", "--host", "127.0.0.1", "--port", "8081")
    program = (sys.executable, "-m", "mlx_lm", "server")
    assert stock.command(spec(BASELINE_KEY), at) == (*program, "--model", "/m/target", *listen, "--kv-bits", "8")
    draft = ("--draft-model", "/m/draft", "--num-draft-tokens", "4")
    assert stock.command(spec(), at) == (*program, "--model", "/m/target", *draft, *listen, "--kv-bits", "8")
    own = ("--prompt-cache-size", "10")
    assert stock.command(spec(args=own), at)[-2:] == own  # the later one counts
    assert stock.command_to_paste(spec()) == (
        *("env", 'HF_TOKEN="$HF_TOKEN"', "nice", "mlx_lm.server", "--model", "/m/target", "--draft-model", "/m/draft"),
        *("--num-draft-tokens", K_PLACE, "--prompt-cache-size", "0", "--kv-bits", "8"),
    )


def test_our_own_server_is_given_the_name_of_its_launch() -> None:
    own = engine(mlx.OWN)
    at = own.endpoint(spec(), 8081, "nonce")
    command = own.command(spec(), at)
    assert command[:2] == (sys.executable, "-I")
    assert command[3:] == (
        *("--model", "/m/target", "--draft-model", "/m/draft", "--num-draft-tokens", "4"),
        *("--host", "127.0.0.1", "--port", "8081", "--alias", "nonce", "--kv-bits", "8"),
    )
    assert own.command_to_paste(spec())[3] == "specdash-mlx"
    assert isinstance(own.client(spec(), at), LlamaClient)
    assert isinstance(engine(mlx.STOCK).client(spec(), at), StockClient)


def test_what_mlx_cannot_do_is_said_before_it_is_tried() -> None:
    for each in (engine(mlx.STOCK), engine(mlx.OWN)):
        assert each.unsupported_reason(BASELINE_KEY) is None
        assert each.unsupported_reason(DRAFT_KEY) is None
        assert "not with ngram-simple" in str(
            each.unsupported_reason(BASELINE_KEY.with_values(method="ngram-simple", k=4))
        )
        assert "how many experts" in str(each.unsupported_reason(BASELINE_KEY.with_values(moe_experts=4)))
        assert "text alone" in str(each.unsupported_reason(BASELINE_KEY, vision=True))


def test_its_tables_are_whole() -> None:
    assert set(mlx.NOT_REPORTED) <= set(REPORTABLE)
    assert NAME_TOLD in mlx.NOT_REPORTED
    assert {param.scope for param in mlx.PARAMS} == {"startup", "request", "reload"}
    assert all(set(param.flags) <= set(mlx.PROGRAMS) for param in mlx.PARAMS)


# --- programs


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("mlx_lm.server:/nowhere/python", "engine.program: there is no Python at /nowhere/python"),
        ("specdash-mlx:/nowhere/python", "engine.program: there is no Python at /nowhere/python"),
        ("no-such-program", "engine.program: no-such-program is not on PATH"),
        ("/nowhere/mlx_lm.server", "engine.program: /nowhere/mlx_lm.server was not found"),
        ("{tmp}/other", "{tmp}/other does not look like an MLX server: its --help lists no --num-draft-tokens"),
        ("{tmp}/mlx_lm.server", "{tmp}/mlx_lm.server does not look like an MLX server"),
        ("{tmp}/lacking", "engine.program: {tmp}/lacking lacks mlx-lm: ModuleNotFoundError: No module named 'mlx_lm'"),
        ("specdash-mlx:{tmp}/other", "specdash-mlx:{tmp}/other does not look like an MLX server"),
        ("mlx_lm.server:{tmp}/other", "mlx_lm.server:{tmp}/other does not look like an MLX server"),
    ],
)
def test_programs_that_are_no_mlx_server(program: str, said: str, tmp_path: Path) -> None:
    lacking = "import sys\nsys.exit(\"ModuleNotFoundError: No module named 'mlx_lm'\")\n"
    for name, text in (("other", "print('usage: other [-h]')\n"), ("lacking", lacking)):
        (tmp_path / name).write_text(f"#!{sys.executable}\n{text}")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "mlx_lm.server").write_text("#!/bin/sh\necho another tool\n")
    (tmp_path / "mlx_lm.server").chmod(0o755)
    with pytest.raises(EngineError) as caught:
        find(EngineConfig(kind="mlx", program=program.format(tmp=tmp_path)), FindContext())
    assert caught.value.what.startswith(said.format(tmp=tmp_path))
    assert caught.value.todo


@real
def test_both_programs_are_found(mlx_python: Path) -> None:
    for program, dialect in (
        (f"mlx_lm.server:{mlx_python}", mlx.STOCK),
        (f"specdash-mlx:{mlx_python}", mlx.OWN),
        (str(mlx_python.with_name("mlx_lm.server")), mlx.STOCK),
    ):
        info = find(EngineConfig(kind="mlx", program=program), FindContext()).info
        assert (info.kind, info.program, info.dialect) == ("mlx", program, dialect)
        assert info.version.startswith("mlx_lm 0.")
        assert bool(info.not_reported) == (dialect == mlx.STOCK)


@pytest.mark.parametrize(
    ("log", "line", "todo"),
    [
        ("error: --model: /m has no tokenizer (none of ...)\n", "error: --model: /m has no tokenizer", "whole"),
        ("error: --model: /m/x.gguf is no folder; name one", "error: --model: /m/x.gguf is no folder", "llama-server"),
        ("usage: ...\nserver.py: error: unrecognized arguments: --foo\n", "server.py: error: unrec", "its --help"),
        ("OSError: [Errno 98] Address already in use\n", "OSError: [Errno 98]", "engine.port = 0"),
        ("Traceback\nValueError: Model type foo not supported.\n", "ValueError: Model type foo", "newer"),
        ("x\n... - ERROR - mlx_lm.server generation thread died: [load_safetensors] bad\n", "... - ERROR", "whole"),
        ("ModuleNotFoundError: No module named 'mlx'\n", "ModuleNotFoundError", "specdash[mlx]"),
    ],
)
def test_known_causes_of_failure(log: str, line: str, todo: str) -> None:
    stock = engine(mlx.STOCK)
    found = stock.diagnose(log)
    assert found is not None
    assert found.line.startswith(line)
    assert todo in found.todo
    assert stock.diagnose("Starting httpd at 127.0.0.1 on port 8081...\n") is None


# --- the stock server's protocol, on answers that a test makes


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[StockClient]:
    """A client of a server that answers everything with these bytes, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = StockClient(Endpoint(server.sockets[0].getsockname()[1], ""), spec(), "one two ")
    async with server:
        yield client
    await client.close()


def http(status: str, kind: str, body: str) -> bytes:
    return f"HTTP/1.0 {status}\r\nContent-Type: {kind}\r\n\r\n{body}".encode()


TOKEN = 'data: {"model": "default_model", "choices": [{"index": 0, "finish_reason": null, "text": " a"}]}\n\n'


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (http("404 Not Found", "application/json", '{"error": "generation thread died"}'), HttpError),
        (http("429 Too Many Requests", "application/json", "{}"), HttpError),
        (http("502 Bad Gateway", "text/html", "<html>Bad Gateway</html>"), HttpError),
        (http("200 OK", "text/html", "<html>Welcome</html>"), BadAnswer),
        (b"not HTTP at all\r\n\r\n", BadAnswer),
        (b"", Unreachable),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 999\r\n\r\n" + TOKEN.encode(),
            StreamCut,
        ),
    ],
)
async def test_answers_that_are_none(answer: bytes, error: type[TransportError]) -> None:
    async with answering(answer) as client:
        with pytest.raises(error):
            await client.generate(Request("the", 16, 0.0, 1, 4), limit_s=LIMIT_S)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (TOKEN * 3, "the stream ended early"),
        (TOKEN * 3 + 'data: {"choices": [{"te', "the stream ended early"),
        (TOKEN * 3 + TOKEN.replace("null", '"length"') + "data: [DONE]\n\n", "the answer has no usage"),
        (TOKEN * 3 + "data: {]\n\n", "malformed"),
    ],
)
async def test_half_answers_have_problems(body: str, problem: str) -> None:
    async with answering(http("200 OK", "text/event-stream", body)) as client:
        found = await client.generate(Request("the", 16, 0.0, 1, 4), limit_s=LIMIT_S)
    assert any(problem in one for one in found.problems)
    assert (found.draft_n, found.draft_n_accepted) == (None, None)


async def test_health_says_only_whether_anything_answers() -> None:
    async with answering(http("503 Service Unavailable", "application/json", '{"status": "unavailable"}')) as client:
        assert await client.health() is Health.OK
        with pytest.raises(HttpError):
            await client.complete_one(LIMIT_S)
        assert await client.evidence() == {"/health": 'no answer: HTTP 503: {"status": "unavailable"}'}
    assert await client.health() is Health.DOWN
    assert await client.model_alias() is None


async def test_a_build_that_takes_any_k_ignores_it() -> None:
    async with answering(http("200 OK", "application/json", '{"choices": [{"text": "a"}]}')) as client:
        assert await client.probe_k(4, limit_s=LIMIT_S) == KProbe(KScope.STARTUP, ((-1, None),))


# --- the real one


@pytest.fixture(scope="module")
def clear_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_mlx_pair(tmp_path_factory.mktemp("clear"), shape=CLEAR)


def acceptance(found: Generation) -> float:
    assert found.draft_n is not None
    assert found.draft_n_accepted is not None
    return found.draft_n_accepted / found.draft_n


async def twice_alike(client: StockClient, asked: Request) -> Generation | None:
    """An answer whose inferred counts came out the same twice: a stall of this machine parts or joins bursts."""
    seen: list[Generation] = []
    for _ in range(5):
        found = await client.generate(asked, limit_s=LIMIT_S)
        assert found.problems == ()
        assert found.cached_tokens == 0
        assert found.acceptance_source in (INFERRED, None)
        if any(found.draft_n is not None and found.draft_n_accepted == one.draft_n_accepted for one in seen):
            return found
        seen.append(found)
    return None


@real
async def test_inferred_acceptance_is_that_of_our_own_server(mlx_python: Path, clear_pair: tuple[Path, Path]) -> None:
    target, draft = clear_pair
    wanted = [Request(prompt, 96, 0.0, 1, 4) for prompt in PROMPTS]
    with StockServer(mlx_python, target, "--draft-model", draft, "--prompt-cache-size", "0") as server:
        client = StockClient(Endpoint(server.port, ""), spec(), "")
        pairs = [(asked, found) for asked in wanted if (found := await twice_alike(client, asked)) is not None]
        await client.close()
    assert pairs, "no answer came in clear bursts twice"
    assert any(inferred.k_seen == 4 for _, inferred in pairs)
    with OwnServer(mlx_python, target, "--draft-model", draft) as server:
        own = LlamaClient(Endpoint(server.port, ALIAS), templated=False, filler="")
        for asked, inferred in pairs:
            told = await own.generate(asked, limit_s=LIMIT_S)
            assert inferred.text == told.text
            # The stock server drafts from the first token on and ours from the second, so their steps are not the same
            # ones: the counts of one answer may differ by what one step drafts. By mlx_lm's own marks, answers to 8
            # prompts had up to 1 accepted and 4 drafted tokens more or fewer, which made up to 0.037 of acceptance.
            assert told.draft_n
            assert acceptance(inferred) == pytest.approx(acceptance(told), abs=0.03 + 4 / told.draft_n)
            assert inferred.k_seen in (4, None)
            assert 1 <= inferred.untimed_tokens <= 5
        await own.close()


@real
async def test_prompts_that_the_stock_server_keeps_are_caught(
    mlx_python: Path, mlx_pair: tuple[Path, Path], tmp_path: Path
) -> None:
    model = shutil.copytree(mlx_pair[0], tmp_path / "templated")
    (model / "chat_template.jinja").write_text(TEMPLATE)
    engine = find(
        EngineConfig(kind="mlx", program=f"mlx_lm.server:{mlx_python}"),
        FindContext(filler="the house of the water " * 40),
    )
    load = spec(target=model, draft=mlx_pair[1], templated=True, args=("--prompt-cache-size", "10"))
    command = engine.command(load, Endpoint(0, ""))
    assert command[:4] == (str(mlx_python), "-m", "mlx_lm", "server")
    with StockServer(mlx_python, model, *_without(command, "--port", "--model")) as server:
        client = engine.client(load, Endpoint(server.port, ""))
        messages = (Message("system", "be short"), Message("user", PROMPTS[0]))
        prompt = await client.render(Prompt("p", "c", messages=messages), 40)
        found = [await client.generate(Request(prompt, 32, 0.0, 1, 4), limit_s=LIMIT_S) for _ in range(3)]
        await client.close()
    # 40 tokens of context, "system be short", "user" and the prompt, and the first token.
    assert found[0].prompt_tokens == pytest.approx(40 + 3 + 1 + 5 + 1, abs=4)
    assert [bool(one.cached_tokens) for one in found] == [False, True, True]
    step = Step.of("T", draft="D", method="draft", k=4, category="c")
    asked = RequestContext("p", 0, 32, 0.0, None, untold=engine.info.not_reported)
    verdicts = [Verdict.PROMPT_CACHED in reasons_against(step, one, asked) for one in found]
    assert verdicts == [False, True, True]


def _without(command: tuple[str, ...], *flags: str) -> tuple[str, ...]:
    """The flags of a server's command but these, with their values."""
    words = command[4:]
    left = [index for index, word in enumerate(words) if word in flags]
    return tuple(word for index, word in enumerate(words) if not {index, index - 1} & set(left))


@real
async def test_weights_that_cannot_be_loaded_are_said_at_once(
    mlx_python: Path, mlx_pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """Its /health never tells; the first completion and its log do."""
    broken = shutil.copytree(mlx_pair[1], tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\x10" + bytes(20))
    server = StockServer(mlx_python, broken)
    try:
        server.wait_for("(Starting httpd)")
        client = StockClient(Endpoint(server.port, ""), spec(), "")
        with pytest.raises(HttpError, match="generation thread died"):
            await client.complete_one(LIMIT_S)
        await client.close()
        assert "load_safetensors" in str(engine(mlx.STOCK).diagnose(server.log))
    finally:
        server.__exit__()
