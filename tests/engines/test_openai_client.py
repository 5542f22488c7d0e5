"""The client of OpenAI-style servers: against fakes that play each of them and misbehave, and a real llama-server."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from specdash.core.engine import CACHED, DRAFTED, K_SEEN, UNKNOWN, Health, Request
from specdash.core.measure import step_facts
from specdash.core.plan import KScope
from specdash.core.prompts import Message, Prompt
from specdash.core.transport import BadAnswer, HttpError, Progress, RequestTimeout, StreamCut, TransportError
from specdash.engines.openai.client import COMPLETIONS, OpenAiClient, OpenAiServer
from specdash.engines.openai.detect import Flavour, ServerFacts
from specdash.engines.openai.metrics import SpecCounters
from specdash.errors import EngineError
from tests.support.real_programs import Launch

FAKE = Path(__file__).parents[1] / "fakes" / "openai_server.py"
FILE_SERVER = """
import http.server, sys
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print(f"listening on http://127.0.0.1:{server.server_port}", file=sys.stderr)
server.serve_forever()
"""
FILLER = "one two three four five six seven eight nine ten " * 4
ASKED = Request("hello", max_tokens=24, temperature=0.0, seed=7, k=None)

Connect = Callable[..., Awaitable[OpenAiClient]]


class Played:
    """Fakes and their clients, and what the fakes were asked."""

    def __init__(self, launch: Launch, folder: Path) -> None:
        self._launch = launch
        self._log = folder / "asked.jsonl"
        self.facts: list[ServerFacts] = []
        self.clients: list[OpenAiClient] = []

    def url(self, flavour: str, behaviour: Mapping[str, Any]) -> str:
        how = json.dumps({"log": str(self._log), **behaviour})
        return self._launch(sys.executable, FAKE, "--flavour", flavour, FAKE_OPENAI=how).url()

    def client(self, flavour: str, server: OpenAiServer | None = None, **behaviour: Any) -> OpenAiClient:
        return self.connect(self.url(flavour, behaviour), server or OpenAiServer(""))

    def connect(self, url: str, server: OpenAiServer) -> OpenAiClient:
        self.clients.append(OpenAiClient(replace(server, where=url), FILLER, self.facts.append))
        return self.clients[-1]

    def asked(self, path: str = "") -> list[dict[str, Any]]:
        """The requests so far, those to `path` if one is given."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines()]
        return [line for line in lines if not path or line["path"] == path]


@pytest.fixture
async def played(launch: Launch, tmp_path: Path) -> AsyncIterator[Played]:
    found = Played(launch, tmp_path)
    yield found
    for client in found.clients:
        await client.close()


VLLM = OpenAiServer("", k=4, speculates=True)


# --- who answers


@pytest.mark.parametrize(
    ("flavour", "expected"),
    [
        ("vllm", ServerFacts(Flavour.VLLM, "0.32.0", ("tgt",))),
        ("sglang", ServerFacts(Flavour.SGLANG, "0.5.23", ("meta-llama/Llama-3.1-8B-Instruct",), k_startup=3)),
        ("ollama", ServerFacts(Flavour.OLLAMA, "0.12.6", ("llama3.2:latest",))),
        ("plain", ServerFacts(Flavour.PLAIN, UNKNOWN, ("m",))),
    ],
)
async def test_a_server_is_known_by_what_it_says(played: Played, flavour: str, expected: ServerFacts) -> None:
    client = played.client(flavour)
    assert await client.health() is Health.OK
    assert await client.model_alias() is None
    assert played.facts == [expected]


async def test_lm_studio_is_known_though_it_answers_every_path(played: Played) -> None:
    client = played.client("lmstudio")
    assert await client.health() is Health.OK
    await client.model_alias()
    assert played.facts[0].flavour is Flavour.LM_STUDIO


async def test_another_program_is_found_out_before_anything_is_measured(played: Played) -> None:
    client = played.client("plain", html=True)
    assert await client.health() is Health.OK
    with pytest.raises(BadAnswer, match="Welcome"):
        await client.complete_one(30)
    with pytest.raises(BadAnswer, match=r"no event stream but text/html: .*Welcome"):
        await client.generate(ASKED, limit_s=30)


@pytest.mark.parametrize("behaviour", [{"no_models": True, "no_health": True}, {"empty_models": True}])
async def test_a_server_that_lists_no_models_is_asked_by_the_name_of_the_profile(
    played: Played, behaviour: dict[str, Any]
) -> None:
    client = played.client("plain", OpenAiServer("", model="m"), **behaviour)
    assert await client.health() is Health.OK
    await client.complete_one(30)
    assert (await client.generate(ASKED, limit_s=30)).problems == ()
    unnamed = played.client("plain", **behaviour)
    assert await unnamed.health() is Health.OK
    with pytest.raises(
        EngineError, match=r"the server at http://\S+ does not list its models \((HTTP 404|an empty)"
    ) as no:
        await unnamed.complete_one(30)
    assert no.value.todo == "Name one with targets.model."


@pytest.mark.parametrize("model", ["", "m"])
async def test_a_server_of_another_kind_is_described_by_its_answers(played: Played, launch: Launch, model: str) -> None:
    files = launch(sys.executable, "-c", FILE_SERVER)
    signs = "HTTP 404 on /v1/models, and nothing at /health"
    for client, expected in (
        (played.connect(files.url(), OpenAiServer("", model=model)), signs),
        (played.client("plain", OpenAiServer("", model=model), site=True), "an HTML page on /v1/models"),
    ):
        assert await client.health() is Health.OK
        with pytest.raises(EngineError, match=rf"something answers at http.*OpenAI-style API \({expected}\)") as caught:
            await client.complete_one(30)
        assert "engine.url" in caught.value.todo


async def test_a_model_that_is_not_there_makes_no_stranger(played: Played) -> None:
    client = played.client("plain", OpenAiServer("", model="m"), empty_models=True, busy=9, status=404)
    assert await client.health() is Health.OK
    with pytest.raises(HttpError, match="HTTP 404"):
        await client.complete_one(30)


# --- health


async def test_health_is_the_path_of_the_profile_or_the_list_of_models(played: Played) -> None:
    assert await played.client("plain", no_health=True).health() is Health.OK
    assert [line["path"] for line in played.asked()] == ["/health", "/v1/models"]
    loading = played.client("plain", loading=2)
    assert [await loading.health() for _ in range(3)] == [Health.LOADING, Health.LOADING, Health.OK]
    ready = played.client("plain", OpenAiServer("", health="/v1/models", ready="/readyz"))
    assert await ready.health() is Health.LOADING
    assert await played.client("plain", key="sk-secret").health() is Health.OK  # it answers; what, is for later


async def test_nobody_there_is_down() -> None:
    client = OpenAiClient(OpenAiServer("http://127.0.0.1:9"), FILLER)
    assert await client.health() is Health.DOWN
    assert "no answer" in str(await client.evidence())
    with pytest.raises(TransportError):
        await client.complete_one(5)
    await client.close()


# --- what is asked


async def test_vllm_is_asked_for_counts_in_each_event_and_against_its_cache(played: Played) -> None:
    client = played.client("vllm", replace(VLLM, fields={"top_k": 1}))
    for _ in range(2):
        await client.generate(ASKED, limit_s=30)
    await client.generate(replace(ASKED, cache_prompt=True, with_margins=True), limit_s=30)
    first, second, third = (line["body"] for line in played.asked("/v1/chat/completions"))
    salts = [first.pop("cache_salt"), second.pop("cache_salt")]
    assert len(set(salts)) == 2
    assert first == {
        "model": "tgt",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 24,
        "temperature": 0.0,
        "seed": 7,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "return_token_ids": True,
        "top_k": 1,
    }
    assert "cache_salt" not in third
    assert (third["logprobs"], third["top_logprobs"]) == (True, 2)


@pytest.mark.parametrize(
    ("flavour", "path", "more"),
    [
        ("plain", "/v1/chat/completions", {}),
        ("ollama", "/v1/chat/completions", {}),
        ("lmstudio", "/api/v0/chat/completions", {"draft_model": "small"}),
    ],
)
async def test_others_are_asked_for_what_they_know(
    played: Played, flavour: str, path: str, more: dict[str, str]
) -> None:
    client = played.client(flavour, OpenAiServer("", model="big", draft_model="small"))
    await client.generate(ASKED, limit_s=30)
    (line,) = played.asked(path)
    known = {"model", "messages", "max_tokens", "temperature", "seed", "stream", "stream_options"}
    assert {name: value for name, value in line["body"].items() if name not in known} == more
    assert line["body"]["model"] == "big"


async def test_the_messages_of_a_prompt_are_sent_for_its_text(played: Played) -> None:
    client = played.client("vllm", VLLM)
    prompt = Prompt("p", "prose", messages=(Message("system", "Be brief."), Message("user", "Why?")))
    text = await client.render(prompt, 0)
    assert text == prompt.as_text()
    await client.generate(replace(ASKED, prompt=text), limit_s=30)
    deep = await client.render(prompt, 25)
    await client.generate(replace(ASKED, prompt=deep), limit_s=30)
    shallow, filled = (line["body"]["messages"] for line in played.asked("/v1/chat/completions"))
    assert [message["content"] for message in shallow] == ["Be brief.", "Why?"]
    assert filled[1] == shallow[1]
    assert filled[0]["content"].endswith("\n\nBe brief.")
    assert len(filled[0]["content"].split()) == pytest.approx(25 + 2, abs=2)  # the fake counts words as tokens


async def test_context_is_measured_in_characters_where_nobody_counts(played: Played) -> None:
    text = await played.client("plain").render(Prompt("p", "prose", text="Why?"), 100)
    assert len(text) == 400 + len("\n\nWhy?")


async def test_a_model_without_a_chat_template_is_given_plain_text(played: Played) -> None:
    client = played.client("plain", no_chat=True)
    await client.complete_one(30)
    await client.generate(ASKED, limit_s=30)
    (line,) = [line for line in played.asked("/v1/completions") if line["body"]["stream"]]
    assert line["body"]["prompt"] == "hello"
    assert "messages" not in line["body"]


async def test_a_server_of_several_models_needs_a_name(played: Played) -> None:
    client = played.client("plain", models=["a", "b"])
    with pytest.raises(BadAnswer, match=r"offers 2 models \(a, b\): set model in \[\[targets\]\]"):
        await client.complete_one(30)
    await played.client("plain", OpenAiServer("", model="b"), models=["a", "b"]).complete_one(30)


async def test_k_is_never_tried_in_requests(played: Played) -> None:
    client = played.client("plain")
    assert (await client.probe_k(8, limit_s=30)).scope is KScope.STARTUP
    await client.generate(replace(ASKED, k=8), limit_s=30)
    assert not [name for name in played.asked("/v1/chat/completions")[0]["body"] if "spec" in name or name == "k"]


# --- secrets


async def test_a_key_goes_with_every_request_and_into_no_message(played: Played) -> None:
    right = {"Authorization": "Bearer sk-right-0123456789"}
    client = played.client("vllm", replace(VLLM, headers=right), key="sk-right-0123456789")
    await client.complete_one(30)
    assert (await client.generate(ASKED, limit_s=30)).problems == ()
    assert {line["headers"].get("authorization") for line in played.asked()} == {right["Authorization"]}
    wrong = {"Authorization": "Bearer sk-wrong-0123456789"}
    server = OpenAiServer("", model="m", headers=wrong)
    refused = played.client("plain", server, key="sk-right-0123456789")
    for asked in (refused.complete_one(30), refused.generate(ASKED, limit_s=30), refused.model_alias()):
        with pytest.raises(HttpError) as caught:
            await asked
        assert caught.value.status == 401
        assert "sk-wrong" not in str(caught.value)
    assert "sk-wrong" not in str(await refused.evidence())
    assert "sk-wrong" not in repr(server)


# --- what is told


async def test_vllms_drafting_is_told_by_its_metrics(played: Played) -> None:
    got = await played.client("vllm", VLLM).generate(ASKED, limit_s=30)
    assert (got.draft_n, got.draft_n_accepted, got.steps, got.k_seen) == (24, 18, 6, 4)
    assert (got.positions_accepted, got.acceptance_source) == ((6, 6, 3, 3), "metrics")
    assert (got.cached_tokens, list(got.unknown)) == (None, [CACHED])
    assert "--enable-prompt-tokens-details" in got.unknown[CACHED]


async def test_counters_that_come_late_are_waited_for(played: Played) -> None:
    got = await played.client("vllm", VLLM, late=2).generate(ASKED, limit_s=30)
    assert (got.draft_n, got.acceptance_source) == (24, "metrics")


async def test_counters_of_somebody_elses_requests_tell_nothing(played: Played) -> None:
    got = await played.client("vllm", VLLM, others=40).generate(ASKED, limit_s=30)
    assert (got.draft_n, got.positions_accepted, got.acceptance_source) == (None, (), "inferred")
    assert "somebody else uses this server" in got.unknown[DRAFTED]
    assert got.steps == 6  # as its own events came


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ({"no_metrics": True}, "no metrics at /metrics (HTTP 404)"),
        ({"renamed": True}, "no names of a server that is known|nothing about speculative decoding"),
    ],
)
async def test_without_counters_only_steps_are_inferred(
    played: Played, behaviour: dict[str, bool], reason: str
) -> None:
    client = played.client("vllm", VLLM, **behaviour)
    got = [await client.generate(ASKED, limit_s=30) for _ in range(2)][-1]
    assert (got.draft_n, got.steps, got.acceptance_source, got.problems) == (None, 6, "inferred", ())
    assert any(part in got.unknown[DRAFTED] for part in reason.split("|"))


async def test_sglang_tells_its_drafting_itself_so_its_metrics_are_not_asked_again(played: Played) -> None:
    client = played.client("sglang", replace(VLLM, k=3))
    for _ in range(2):
        got = await client.generate(ASKED, limit_s=30)
    assert (got.draft_n, got.draft_n_accepted, got.k_seen, got.acceptance_source) == (24, 15, 3, "server")
    assert (got.cached_tokens, got.unknown) == (0, {})
    assert len(played.asked("/metrics")) == 1


async def test_lm_studio_cannot_prove_k(played: Played) -> None:
    server = OpenAiServer("", model="deepseek-r1-distill-qwen-7b", draft_model="d", k=4, speculates=True)
    got = await played.client("lmstudio", server).generate(ASKED, limit_s=30)
    assert (got.draft_n, got.draft_n_accepted, got.k_seen, got.steps) == (19, 15, None, None)
    assert set(got.unknown) == {K_SEEN, CACHED}


async def test_a_plain_server_tells_no_drafting_at_all(played: Played) -> None:
    got = await played.client("plain", VLLM).generate(ASKED, limit_s=30)
    assert (got.draft_n, got.k_seen, got.acceptance_source, got.problems) == (None, None, None, ())
    assert set(got.unknown) == {DRAFTED, CACHED}


async def test_renamed_statistics_are_unknown(played: Played) -> None:
    for flavour in ("sglang", "lmstudio"):
        client = played.client(flavour, OpenAiServer("", model="m", k=3, speculates=True), renamed=True)
        got = await client.generate(ASKED, limit_s=30)
        assert (got.draft_n, got.problems) == (None, ())
        assert got.acceptance_source == ("inferred" if flavour == "sglang" else None)
        assert DRAFTED in got.unknown


async def test_answers_of_another_model_are_no_samples(played: Played) -> None:
    client = played.client("plain", rename_model_after=1)
    assert (await client.generate(ASKED, limit_s=30)).problems == ()
    got = await client.generate(ASKED, limit_s=30)
    assert got.problems == ("it was answered by model 'another', and before by 'm'",)


# --- what goes wrong


async def test_usage_that_is_missing_is_a_problem(played: Played) -> None:
    got = await played.client("plain", no_usage=True).generate(ASKED, limit_s=30)
    assert (got.generated_tokens, got.problems) == (None, ("the answer has no usage, so its tokens are not counted",))


async def test_half_an_event_at_the_end_is_no_answer(played: Played) -> None:
    got = await played.client("plain", half=True).generate(ASKED, limit_s=30)
    assert any("ended early" in problem for problem in got.problems)
    with pytest.raises(StreamCut):
        await played.client("plain", reset=True).generate(ASKED, limit_s=30)


async def test_a_busy_server_is_asked_again_when_it_says(played: Played) -> None:
    client = played.client("plain", busy=2, retry_after="0")
    progress = Progress()
    got = await client.generate(ASKED, limit_s=30, progress=progress)
    assert got.problems == ()
    times = [line["t"] for line in played.asked("/v1/chat/completions")]
    assert len(times) == 3
    assert progress.sent_t_s == got.sent_t_s > times[1]  # waiting is no part of the answer


async def test_a_server_that_is_always_busy_at_once_is_not_hammered(played: Played) -> None:
    client = played.client("plain", busy=1000, retry_after="0")
    with pytest.raises(HttpError):
        await client.generate(ASKED, limit_s=3.0)
    assert 1 < len(played.asked("/v1/chat/completions")) <= 6, "0.05, 0.1 ... 0.8 s apart; 1.6 s more are too long"


@pytest.mark.parametrize(
    ("status", "retry_after"), [(429, ""), (503, ""), (429, "600"), (503, "Wed, 21 Oct 2099 07:28:00 GMT"), (500, "0")]
)
async def test_a_refusal_that_lasts_is_told(played: Played, status: int, retry_after: str) -> None:
    client = played.client("plain", busy=1, status=status, retry_after=retry_after)
    with pytest.raises(HttpError) as caught:
        await client.generate(ASKED, limit_s=30)
    assert caught.value.status == status
    assert "too many requests" in str(caught.value)
    assert len(played.asked("/v1/chat/completions")) == 1
    assert (await client.generate(ASKED, limit_s=30)).problems == ()


async def test_a_server_that_says_nothing_ends_at_the_limit(played: Played) -> None:
    client = played.client("plain", OpenAiServer("", model="m"), silent=True)
    with pytest.raises(RequestTimeout):
        await client.complete_one(0.2)


async def test_a_server_that_dies_is_a_transport_error(played: Played) -> None:
    client = played.client("plain", die_after=1)
    await client.generate(ASKED, limit_s=30)
    with pytest.raises(TransportError):
        await client.generate(ASKED, limit_s=30)


# --- the real one


async def test_llama_server_as_an_openai_server(launch: Launch, llama_server: Path, tiny_models: Path) -> None:
    """Its own timings tell every step; its counters, asked as anybody's, tell the same."""
    model, draft = tiny_models / "target.gguf", tiny_models / "draft.gguf"
    flags = ("--spec-type", "draft-simple", "--spec-draft-n-max", 4, "--spec-draft-p-min", 0, "-np", 1, "-t", 1)
    url = launch(llama_server, "-m", model, "-md", draft, *flags, "--metrics", "--port", 0).url()
    facts: list[ServerFacts] = []
    client = OpenAiClient(OpenAiServer(url, k=4, speculates=True, metrics="/metrics"), FILLER, facts.append)
    try:
        assert await client.health() is Health.OK
        await client.complete_one(60)
        assert facts[0].flavour is Flavour.LLAMA_SERVER
        assert facts[0].version.startswith("b")
        asked = replace(ASKED, prompt=await client.render(Prompt("p", "prose", text="Tell me."), 40))
        before = await client._counters()
        got = [await client.generate(asked, limit_s=60) for _ in range(2)][-1]
        found = step_facts(got.chunks)
        assert (found.k_seen, got.acceptance_source, got.problems, got.unknown) == (4, "server", (), {})
        assert (got.generated_tokens, got.cached_tokens, got.finish_reason) == (24, 0, "limit")
        assert got.prompt_tokens is not None
        assert 40 <= got.prompt_tokens <= 70
        assert got.predicted_ms is not None
        assert got.last_token_t_s is not None
        assert got.first_token_t_s is not None
        assert isinstance(before, SpecCounters)
        client._tells_itself = False
        after = await client._counters()
        assert after is not None
        assert after.draft_tokens is not None
        assert before.draft_tokens is not None
        assert after.draft_tokens - before.draft_tokens == 2 * (got.draft_n or 0)
        text = replace(asked, prompt="Once upon a time")
        plain = OpenAiClient(OpenAiServer(url, k=4, speculates=True, api=COMPLETIONS), FILLER)
        assert step_facts((await plain.generate(text, limit_s=60)).chunks).k_seen == 4
        await plain.close()
    finally:
        await client.close()
