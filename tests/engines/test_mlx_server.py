"""Our MLX server: what it tells, on a real pair, through the same client as llama-server."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from specdash.core.engine import Endpoint, Health, KProbe, Request
from specdash.core.generation import Generation
from specdash.core.judge import MIN_TOKENS
from specdash.core.measure import step_facts, verify_steps
from specdash.core.plan import KScope
from specdash.core.prompts import Prompt
from specdash.engines.llama_cpp.flags import parse_help
from specdash.engines.llama_cpp.server import LlamaClient
from tests.support.mlx_servers import ALIAS, LIMIT_S, OWN, OwnServer

PROMPT = "the people could make a new house with water"
TOKENS = 64
TEMPLATE = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {% endfor %}"
real = pytest.mark.real


def run(*args: object, python: object = sys.executable) -> subprocess.CompletedProcess[str]:
    command = [str(part) for part in (python, "-I", OWN, *args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)


def request(k: int | None, prompt: str = PROMPT, tokens: int = TOKENS, *, margins: bool = False) -> Request:
    return Request(prompt, max_tokens=tokens, temperature=0.0, seed=1, k=k, with_margins=margins)


@pytest.fixture
async def client(own_mlx: OwnServer) -> AsyncIterator[LlamaClient]:
    made = LlamaClient(Endpoint(own_mlx.port, ALIAS), templated=False, filler="the water of the house " * 20)
    yield made
    await made.close()


async def generate(client: LlamaClient, asked: Request) -> Generation:
    """A generation without problems."""
    found = await client.generate(asked, limit_s=LIMIT_S)
    assert found.problems == ()
    return found


def test_help_has_the_layout_of_llama_server() -> None:
    done = run("--help")
    known, removed = parse_help(done.stdout)
    assert done.returncode == 0
    assert {"--model", "--draft-model", "--num-draft-tokens", "--kv-bits", "--port", "--alias", "--help"} <= known
    assert removed == frozenset()


def folder(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).write_text("{}")
    return path


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("--foo", "invalid argument: --foo"),
        ("--num-draft 4 --model {whole}", "invalid argument: --num-draft"),
        ("--port high", "argument --port: invalid int value: 'high'"),
        ("--model", "argument --model: expected one argument"),
        ("--port 0", "no model: give one with --model FOLDER"),
        ("--model {tmp}/nowhere", "--model: {tmp}/nowhere is no folder"),
        ("--model {bare}", "--model: {bare} has no weights (none of model*.safetensors)"),
        ("--model {mute}", "--model: {mute} has no tokenizer"),
        ("--model {whole} --draft-model {tmp}", "--draft-model: {tmp} has no config.json"),
        ("--model {whole} --draft-model {whole} --max-kv-size 9", "--max-kv-size cannot be used with --draft-model"),
        ("--model {whole} --num-draft-tokens -1", "--num-draft-tokens and --max-tokens count tokens"),
        ("--model {whole} --chat-template-args 3", "--chat-template-args: not a JSON object"),
    ],
)
def test_a_command_line_that_cannot_be_used_ends_with_one_line(args: str, said: str, tmp_path: Path) -> None:
    places = {
        "tmp": tmp_path,
        "bare": folder(tmp_path / "bare", "config.json", "tokenizer.json"),
        "mute": folder(tmp_path / "mute", "config.json", "model.safetensors"),
        "whole": folder(tmp_path / "whole", "config.json", "model.safetensors", "tokenizer.json"),
    }
    done = run(*args.format(**places).split())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert said.format(**places) in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_python_without_mlx_says_what_to_install() -> None:
    command = [sys.executable, "-I", "-S", str(OWN), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    assert (done.returncode, done.stderr) == (1, "error: mlx_lm is missing; install it: pip install 'specdash[mlx]'\n")


@real
def test_version_names_what_generates(mlx_python: Path) -> None:
    done = run("--version", python=mlx_python)
    assert done.returncode == 0
    assert done.stderr.startswith("version: mlx_lm 0.")
    assert ", mlx 0." in done.stderr


@real
def test_a_port_that_is_taken_is_said(mlx_python: Path, mlx_pair: tuple[Path, Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run("--model", mlx_pair[0], "--port", port, python=mlx_python)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: couldn't bind to 127.0.0.1:{port}: ")
    assert done.stderr.count("\n") == 1


@real
def test_weights_that_cannot_be_loaded_end_it_with_one_line(
    mlx_python: Path, mlx_pair: tuple[Path, Path], tmp_path: Path
) -> None:
    broken = shutil.copytree(mlx_pair[1], tmp_path / "broken")
    weights = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    done = run("--model", broken, "--port", "0", python=mlx_python)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: failed to load model {broken}: ")
    assert "Traceback" not in done.stderr


@real
async def test_it_loads_then_is_healthy_and_carries_its_alias(own_mlx: OwnServer, client: LlamaClient) -> None:
    status, answer = own_mlx.while_loading
    assert (status, answer["error"]["message"]) == (503, "Loading model")
    assert await client.health() is Health.OK
    assert await client.model_alias() == ALIAS
    await client.complete_one(LIMIT_S)


@real
@pytest.mark.parametrize("k", [1, 2, 4, 8])
async def test_a_request_decides_k_and_the_text_stays_the_same(client: LlamaClient, k: int) -> None:
    plain = await generate(client, request(0))
    drafted = await generate(client, request(k))
    facts = step_facts(drafted.chunks)
    assert (drafted.text, drafted.tokens) == (plain.text, plain.tokens)
    assert (drafted.finish_reason, drafted.generated_tokens, len(drafted.tokens)) == ("limit", TOKENS, TOKENS)
    assert facts.k_seen == k
    assert facts.generated == TOKENS - 1
    assert drafted.draft_n == sum(facts.positions_drafted)
    assert drafted.draft_n_accepted == sum(facts.positions_accepted)
    assert drafted.draft_n_accepted is not None
    assert 0 < drafted.draft_n_accepted < (drafted.draft_n or 0)
    assert all(step.exact and step.generated <= step.accepted + 1 for step in verify_steps(drafted.chunks))


@real
async def test_without_drafts_every_token_is_a_step_of_its_own(client: LlamaClient) -> None:
    plain = await generate(client, request(0))
    steps = verify_steps(plain.chunks)
    assert (plain.draft_n, plain.draft_n_accepted) == (None, None)
    assert len(steps) == TOKENS - 1
    assert plain.predicted_ms is not None
    assert plain.prompt_ms is not None
    assert (plain.prompt_tokens, plain.cached_tokens) == (10, 0)
    ends = [0.0, *(step.end_ms or 0.0 for step in steps)]
    assert ends == sorted(ends)


@real
async def test_the_events_of_a_step_come_together_and_carry_its_counters(client: LlamaClient) -> None:
    found = await generate(client, request(4))
    first, *others = found.chunks
    assert (first.predicted_n, first.predicted_ms, first.draft_n) == (1, 0.0, None)
    assert [chunk.predicted_n for chunk in found.chunks] == list(range(1, TOKENS + 1))
    by_step: dict[tuple[object, ...], int] = {}
    for chunk in others:
        key = (chunk.draft_n, chunk.draft_n_accepted, chunk.predicted_ms)
        by_step[key] = by_step.get(key, 0) + 1
    assert list(by_step.values()) == [step.generated for step in verify_steps(found.chunks)]


@real
async def test_k_is_found_to_be_the_requests(client: LlamaClient) -> None:
    assert await client.probe_k(4, limit_s=LIMIT_S) == KProbe(KScope.REQUEST, ((4, 4), (1, 1), (6, 6)))


@real
async def test_nothing_is_kept_between_requests(client: LlamaClient) -> None:
    asked = Request(PROMPT, max_tokens=MIN_TOKENS, temperature=0.0, seed=1, k=4, cache_prompt=True)
    found = [await generate(client, asked) for _ in range(5)]
    assert {one.cached_tokens for one in found} == {0}
    assert len({one.text for one in found}) == 1


@real
async def test_margins_say_how_sure_each_token_was(client: LlamaClient) -> None:
    drafted = await generate(client, request(4, margins=True))
    plain = await generate(client, request(0, margins=True))
    assert len(drafted.margins) == len(drafted.tokens) == TOKENS
    assert all(margin is not None and margin >= 0 for margin in drafted.margins)
    assert drafted.margins == pytest.approx(plain.margins, abs=1e-3)


@real
async def test_a_seed_decides_what_is_sampled(client: LlamaClient) -> None:
    texts = [
        (await generate(client, Request(PROMPT, max_tokens=16, temperature=1.0, seed=seed, k=2))).text
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


@real
async def test_context_is_filled_to_the_token(client: LlamaClient) -> None:
    empty = await generate(client, request(0, await client.render(Prompt("p", "c", text=PROMPT), 0), 1))
    deep = await generate(client, request(0, await client.render(Prompt("p", "c", text=PROMPT), 100), 1))
    assert deep.prompt_tokens is not None
    assert empty.prompt_tokens is not None
    assert abs(deep.prompt_tokens - empty.prompt_tokens - 100) <= 2


@real
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "wanted: a text, or a list of token ids"),
        ({"prompt": ["the"]}, "wanted: a text, or a list of token ids"),
        ({"prompt": PROMPT, "n_predict": 0}, "n_predict must be a whole number of at least 1"),
        ({"prompt": PROMPT, "n_predict": True}, "n_predict must be a whole number of at least 1"),
        ({"prompt": PROMPT, "speculative.n_max": -1}, "speculative.n_max must be a whole number of at least 0"),
        ({"prompt": PROMPT, "temperature": "hot"}, "temperature must be a number of at least 0"),
        ({"prompt": [], "n_predict": 1}, "the prompt is empty"),
    ],
)
async def test_a_request_that_cannot_be_served_is_refused(
    own_mlx: OwnServer, client: LlamaClient, body: dict[str, Any], said: str
) -> None:
    status, answer = own_mlx.ask("/completion", {"stream": True} | body)
    assert (status, answer["error"]["message"]) == (400, said)
    await client.complete_one(LIMIT_S)


@real
def test_other_paths_and_bodies_are_refused(own_mlx: OwnServer) -> None:
    assert own_mlx.ask("/nowhere")[0] == 404
    assert own_mlx.ask("/completion", raw=b"{")[0] == 400
    assert own_mlx.ask("/completion", raw=b"[]")[0] == 400
    assert own_mlx.ask("/apply-template", {"messages": []}) == (
        400,
        {"error": {"code": 400, "message": "this model has no chat template", "type": "invalid_request_error"}},
    )


@real
async def test_a_client_that_hangs_up_ends_its_generation(own_mlx: OwnServer, client: LlamaClient) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", own_mlx.port)
    body = json.dumps({"prompt": PROMPT, "n_predict": 100_000, "stream": True}).encode()
    writer.write(b"POST /completion HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await reader.readuntil(b"data: ")
    assert own_mlx.ask("/slots")[1][0]["is_processing"]
    writer.close()
    # Requests are served one by one: that this one is, says that the other has ended.
    found = await generate(client, request(4))
    assert found.generated_tokens == TOKENS
    assert not own_mlx.ask("/slots")[1][0]["is_processing"]


@real
async def test_two_requests_at_once_are_served_one_by_one(client: LlamaClient) -> None:
    found = await asyncio.gather(generate(client, request(4)), generate(client, request(4)))
    assert found[0].text == found[1].text
    assert found[0].draft_n == found[1].draft_n


@real
async def test_quantised_kv_end_tokens_and_templates(
    mlx_python: Path, mlx_pair: tuple[Path, Path], client: LlamaClient, tmp_path: Path
) -> None:
    """One more server, for what a start decides: its KV cache is coarse, and a word of its text ends it."""
    plain = await generate(client, request(0))
    model = shutil.copytree(mlx_pair[0], tmp_path / "ends")
    about = json.loads((model / "tokenizer_config.json").read_text()) | {"chat_template": TEMPLATE}
    (model / "tokenizer_config.json").write_text(json.dumps(about))
    kv = ("--kv-bits", "2", "--kv-group-size", "32", "--quantized-kv-start", "0")
    with OwnServer(mlx_python, model, "--draft-model", mlx_pair[1], *kv) as server:
        other = LlamaClient(Endpoint(server.port, ALIAS), templated=True, filler="the ")
        coarse = [await generate(other, request(k)) for k in (0, 4)]
        rendered = await other.render(Prompt("p", "c", text=PROMPT), 0)
        await other.close()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(LIMIT_S) == -signal.SIGTERM
    assert coarse[0].text != plain.text
    assert [one.generated_tokens for one in coarse] == [TOKENS, TOKENS]
    assert rendered == f"[user] {PROMPT} "


@real
async def test_an_end_token_ends_the_text(
    mlx_python: Path, mlx_pair: tuple[Path, Path], client: LlamaClient, tmp_path: Path
) -> None:
    tokens = (await generate(client, request(0))).tokens
    end = next(number for number in range(20, TOKENS) if tokens[number] not in tokens[:number])
    model = shutil.copytree(mlx_pair[0], tmp_path / "ends")
    about = json.loads((model / "config.json").read_text()) | {"eos_token_id": [2, tokens[end]]}
    (model / "config.json").write_text(json.dumps(about))
    with OwnServer(mlx_python, model, "--draft-model", mlx_pair[1]) as server:
        other = LlamaClient(Endpoint(server.port, ALIAS), templated=False, filler="the ")
        for k in (0, 1, 4, 16):
            found = await generate(other, request(k))
            assert (found.finish_reason, found.tokens) == ("eos", tokens[:end])
            assert found.generated_tokens == end + 1
            assert step_facts(found.chunks).generated == end
        await other.close()
