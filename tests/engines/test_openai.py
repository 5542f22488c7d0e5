"""The openai engine: launch commands with places in them, servers that run already, keys, and what cannot be done."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from specdash.core.engine import (
    ALIAS,
    CACHED,
    REPORTABLE,
    TIMINGS,
    TOKEN_IDS,
    Endpoint,
    Engine,
    FindContext,
    Health,
    ServerSpec,
)
from specdash.core.events import K_PLACE
from specdash.core.plan import KScope, LoadKey
from specdash.core.process_spec import PLACEHOLDERS
from specdash.core.profile import EVERY_METHOD, EngineConfig
from specdash.engines.openai import engine as openai
from specdash.engines.openai.client import OpenAiClient
from specdash.engines.openai.detect import Flavour
from specdash.engines.placeholders import filled, missing_placeholders
from specdash.engines.registry import find
from specdash.errors import EngineError
from tests.support.real_programs import Launch

FAKE = Path(__file__).parents[1] / "fakes" / "openai_server.py"
VLLM = ("vllm", "serve", "{model}", "--port", "{port}")
SPEC = '{"model":"{draft}","num_speculative_tokens":{k},"method":"{method}"}'
SPECULATIVE = (*VLLM, "--speculative-config", SPEC)
BASELINE_KEY = LoadKey.of("T")
DRAFT_KEY = LoadKey.of("T", 4, draft="D")
AT = Endpoint(8080, "")


def engine(**config: Any) -> Engine:
    return find(EngineConfig(kind="openai", program="", **config), FindContext(filler="one two"))


def spec(key: LoadKey = DRAFT_KEY, **more: Any) -> ServerSpec:
    made = ServerSpec(
        key=key,
        target=None,
        draft=None,
        architecture=None,
        templated=False,
        args=("--max-model-len", "4096"),
        env={"HF_TOKEN": "hf_secret", "OMP_NUM_THREADS": "2"},
        wrap=("nice",),
        size_bytes=None,
        load_timeout_s=10.0,
        fingerprint="",
        model="org/target",
        draft_model="org/draft" if key.draft else "",
    )
    return replace(made, **more)


# --- commands


def test_places_are_filled_and_other_braces_survive() -> None:
    words = engine(launch={EVERY_METHOD: SPECULATIVE}).command(spec(launch=SPECULATIVE), AT)
    command = words[words.index("vllm") :]
    assert command[:5] == ("vllm", "serve", "org/target", "--port", "8080")
    assert json.loads(command[6]) == {"model": "org/draft", "num_speculative_tokens": 4, "method": "draft"}
    assert command[7:] == ("--max-model-len", "4096")
    assert words[0] == "env"
    assert {"SPECDASH_PORT=8080", "SPECDASH_K=4", "SPECDASH_DRAFT=org/draft"} < set(words[1 : words.index("vllm")])


def test_only_known_places_are_filled() -> None:
    assert filled(("{port}{port}", "{ports}", "{}", "${port}", "{{k}}"), {"port": "1", "k": "2"}) == (
        "11",
        "{ports}",
        "{}",
        "$1",
        "{2}",
    )
    assert filled(("{k}",), {}) == ("{k}",)
    assert missing_placeholders(("{k} {draft}", "{port}", "{k}"), frozenset({"port"})) == ("k", "draft")


def test_files_stand_for_models_without_names() -> None:
    files = spec(launch=SPECULATIVE, model="", draft_model="", target=Path("/m/T"), draft=Path("/m/D"))
    command = engine().command(files, AT)
    assert "/m/T" in command
    assert '"model":"/m/D"' in command[-3]


def test_a_command_to_paste_shows_no_secrets_and_leaves_k_open() -> None:
    words = engine().command_to_paste(spec(launch=SPECULATIVE))
    assert words[:4] == ("env", 'HF_TOKEN="$HF_TOKEN"', "OMP_NUM_THREADS=2", "nice")
    assert f'"num_speculative_tokens":{K_PLACE},' in " ".join(words)
    assert "--port 8000" in " ".join(words)
    assert "SPECDASH" not in " ".join(words)
    assert engine().command_to_paste(spec(url="http://127.0.0.1:8000")) == ()


def test_a_load_without_what_the_command_asks_for_is_refused_in_words() -> None:
    found = engine(launch={EVERY_METHOD: SPECULATIVE})
    assert found.unsupported_reason(DRAFT_KEY) is None
    assert found.unsupported_reason(DRAFT_KEY.with_values(k=None)) is None  # its K is chosen later
    assert (
        found.unsupported_reason(BASELINE_KEY)
        == "the launch command asks for {draft}, {k}, and the load 'T, no draft' has none"
    )
    with pytest.raises(EngineError, match=r"asks for \{draft\}, \{k\}") as caught:
        found.command(spec(BASELINE_KEY, launch=SPECULATIVE), AT)
    assert "baseline = […]" in caught.value.todo
    by_method = engine(launch={"baseline": VLLM, "draft": SPECULATIVE})
    assert by_method.unsupported_reason(BASELINE_KEY) is None
    assert by_method.unsupported_reason(BASELINE_KEY.with_values(method="ngram-simple", k=4)) == (
        "the profile names no server for ngram-simple; there is one for baseline, draft"
    )
    assert (
        by_method.unsupported_reason(BASELINE_KEY.with_values(method="mtp", config="own")) is None
    )  # the config may have one
    assert "images" in str(engine().unsupported_reason(BASELINE_KEY, vision=True))


def test_a_launch_that_can_be_named_proves_itself_by_it() -> None:
    named = (*VLLM, "--served-model-name", "{alias}")
    at = engine().endpoint(spec(launch=named), 8080, "specdash-1")
    assert at == Endpoint(8080, "specdash-1")
    assert "specdash-1" in engine().command(spec(launch=named), at)
    assert engine().endpoint(spec(launch=VLLM), 8080, "specdash-1").alias == ""


def test_the_end_of_a_server_is_the_profiles() -> None:
    found = engine(pid_file=Path("/run/x.pid"), cool_down_s=2.0)
    ending = found.stop_policy(spec(stop=("./stop.sh", "{port}")), AT)
    assert (ending.stop, ending.pid_file, ending.cool_down_s) == (("./stop.sh", "8080"), Path("/run/x.pid"), 2.0)


# --- servers that run already


def test_a_server_that_runs_already_is_not_started() -> None:
    for url in ("http://10.0.0.7:8000", "http://10.0.0.7:8000/", "http://10.0.0.7:8000/v1", "http://10.0.0.7:8000/v1/"):
        at = engine().endpoint(spec(url=url), 8080, "nonce")
        assert at == Endpoint(8080, "", "http://10.0.0.7:8000")
        assert engine().command(spec(url=url), at) == ()


def test_a_server_that_is_not_there_yet_is_unknown() -> None:
    info = engine(url={EVERY_METHOD: "http://127.0.0.1:9"}).info
    assert (info.program, info.version, info.dialect) == ("http://127.0.0.1:9", "unknown", "unknown")
    assert info.k_scope is KScope.STARTUP
    assert set(info.not_reported) == {TIMINGS, CACHED, TOKEN_IDS, ALIAS}


@pytest.mark.parametrize(
    ("flavour", "version", "dialect"),
    [("vllm", "0.32.0", "vLLM"), ("ollama", "0.12.6", "Ollama"), ("lmstudio", "unknown", "LM Studio")],
)
async def test_a_server_that_runs_is_asked_who_it_is(launch: Launch, flavour: str, version: str, dialect: str) -> None:
    """Also from inside a running loop, where engines are looked for."""
    url = launch(sys.executable, FAKE, "--flavour", flavour).url()
    info = engine(url={EVERY_METHOD: url}).info
    assert (info.version, info.dialect) == (version, dialect)


async def test_what_is_untold_is_known_once_a_launched_server_answers(launch: Launch) -> None:
    """Its version is not taken over: loads before and after would be told apart by it."""
    url = launch(sys.executable, FAKE, "--flavour", "sglang").url()
    found = engine(launch={EVERY_METHOD: VLLM})
    before = found.info
    client = found.client(spec(launch=VLLM), Endpoint(int(url.rpartition(":")[2]), ""))
    assert await client.health() is Health.OK
    assert await client.model_alias() is None
    assert (found.info.version, found.info.dialect) == (before.version, before.dialect) == ("unknown", "unknown")
    assert "SGLang" in found.info.not_reported[CACHED]
    named = found.client(spec(launch=VLLM), Endpoint(int(url.rpartition(":")[2]), "specdash-1"))
    assert await named.model_alias() == "meta-llama/Llama-3.1-8B-Instruct"  # another's: not the name that was given
    for each in (client, named):
        await each.close()


async def test_what_a_flavour_cannot_do_is_known_where_it_runs(launch: Launch) -> None:
    ollama = engine(url={EVERY_METHOD: launch(sys.executable, FAKE, "--flavour", "ollama").url()})
    assert ollama.unsupported_reason(BASELINE_KEY) is None
    assert "Ollama has no" in str(ollama.unsupported_reason(DRAFT_KEY))
    studio = engine(url={EVERY_METHOD: launch(sys.executable, FAKE, "--flavour", "lmstudio").url()})
    assert studio.unsupported_reason(DRAFT_KEY) is None
    assert "with mtp" in str(studio.unsupported_reason(BASELINE_KEY.with_values(method="mtp", k=2)))


def test_what_a_flavour_does_not_tell_has_its_reason() -> None:
    for flavour in Flavour:
        untold = openai.not_reported_by(flavour)
        assert set(untold) <= set(REPORTABLE)
        assert all(reason.endswith(".") for reason in untold.values())
    assert TIMINGS not in openai.not_reported_by(Flavour.LLAMA_SERVER)
    assert "--enable-per-request-metrics" in openai.not_reported_by(Flavour.VLLM)[TIMINGS]


# --- keys


def test_the_key_is_read_from_its_variable_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", " sk-0123456789\n")
    found = engine(api_key_env="MY_KEY", launch={EVERY_METHOD: VLLM})
    client = found.client(spec(launch=VLLM), AT)
    assert isinstance(client, OpenAiClient)
    assert client._server.headers == {"Authorization": "Bearer sk-0123456789"}
    shown = f"{found.info} {found.command(spec(launch=VLLM), AT)} {found.command_to_paste(spec(launch=VLLM))}"
    assert "sk-0123456789" not in f"{shown} {client._server!r}"


@pytest.mark.parametrize("value", [None, "", "  ", "two words", "k\u00e9y", "a\nb"])
def test_a_key_that_cannot_be_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(EngineError, match="MY_KEY") as caught:
        engine(api_key_env="MY_KEY")
    assert not value or not value.strip() or value not in str(caught.value)


# --- logs


@pytest.mark.parametrize(
    ("name", "cause", "todo"),
    [
        ("no-tokenizer", "Couldn't instantiate the backend tokenizer", "has no tokenizer"),
        ("unknown-flag", "unrecognized arguments: --speculative-modle", "does not know a flag"),
        ("no-model", "Repo id must be in the form", "The model is not there"),
        ("unknown-method", "validation error for SpeculativeConfig", "check --speculative-config"),
    ],
)
def test_failed_starts_of_a_real_vllm_are_explained(name: str, cause: str, todo: str) -> None:
    text = (FAKE.parents[1] / "data" / "openai" / f"vllm-0.32.0.{name}.log").read_text()
    found = engine().diagnose(text)
    assert found is not None
    assert cause in found.line
    assert todo in found.todo


@pytest.mark.parametrize(
    ("log", "todo"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "ran out of memory"),
        ("ValueError: No available memory for the cache blocks.", "ran out of memory"),
        ("OSError: [Errno 98] Address already in use", "port is taken"),
        ("OSError: Can't load tokenizer for '/m/x'.", "no tokenizer"),
        ("huggingface_hub.errors.HFValidationError: Invalid repository ID or local directory", "model is not there"),
        ("env: 'vllm': No such file or directory", "not there"),
    ],
)
def test_a_log_is_explained_by_its_first_known_line(log: str, todo: str) -> None:
    text = f"INFO starting\n{log}\nTraceback (most recent call last):\nRuntimeError: Engine core failed"
    found = engine().diagnose(text)
    assert found is not None
    assert found.line == log
    assert todo in found.todo


def test_a_log_that_says_nothing_known_is_not_explained() -> None:
    assert engine().diagnose("INFO up") is None


def test_the_tables_say_what_can_be_set() -> None:
    assert {param.name for param in openai.PARAMS} >= {"url", "launch", "model", "draft_model", "k", "api_key_env"}
    assert all(param.key for param in openai.PARAMS)
    assert all(f"{{{place}}}" in next(p.help for p in openai.PARAMS if p.name == "launch") for place in PLACEHOLDERS)
