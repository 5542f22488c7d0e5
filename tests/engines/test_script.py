"""The script engine without a server: commands, what they are told, how they end."""

from __future__ import annotations

from pathlib import Path

import pytest

from specdash.core.engine import Endpoint, FindContext, ServerSpec
from specdash.core.events import K_PLACE
from specdash.core.plan import KScope, LoadKey
from specdash.core.profile import EVERY_METHOD, EngineConfig
from specdash.engines.openai.detect import Flavour, ServerFacts
from specdash.engines.script import KIND, ScriptEngine, find
from specdash.errors import EngineError

NGRAM = LoadKey.of("Kimi", 5, config="kv8", method="ngram", ngram_n=4)
BASE = LoadKey.of("Kimi", config="kv8")
AT = Endpoint(8123, "")


def engine_of(**config: object) -> ScriptEngine:
    settings: dict[str, object] = {"kind": KIND, "launch": {EVERY_METHOD: ("/x/launch.sh",)}, **config}
    return find(EngineConfig(**settings), FindContext())  # type: ignore[arg-type]


def spec_of(key: LoadKey = NGRAM, **more: object) -> ServerSpec:
    settings: dict[str, object] = {
        "key": key,
        "target": None,
        "draft": None,
        "architecture": None,
        "templated": False,
        "args": ("--kv-bits", "8"),
        "env": {"HF_TOKEN": "secret", "A": "1"},
        "wrap": (),
        "size_bytes": None,
        "load_timeout_s": 60.0,
        "fingerprint": "",
        "model": "kimi-k2.5",
        "launch": ("/x/launch.sh", "--port={port}", "{method}", "{k}", "{ngram_n}", "{config}", '{"json": 1}'),
        "stop": ("/x/stop.sh", "{port}"),
        **more,
    }
    return ServerSpec(**settings)  # type: ignore[arg-type]


def test_places_are_filled_and_the_arguments_follow() -> None:
    command = engine_of().command(spec_of(), AT)
    assert command == ("/x/launch.sh", "--port=8123", "ngram", "5", "4", "kv8", '{"json": 1}', "--kv-bits", "8")


def test_what_a_load_has_nothing_for_is_said() -> None:
    with pytest.raises(EngineError, match=r"asks for \{k\}, \{ngram_n\}"):
        engine_of().command(spec_of(BASE), AT)
    with pytest.raises(EngineError, match="no launch command for ngram"):
        engine_of().command(spec_of(launch=()), AT)
    asks = {EVERY_METHOD: ("/x/launch.sh", "{k}")}
    assert "{k}" in str(engine_of(launch=asks).unsupported_reason(BASE.with_values(config=None)))
    assert engine_of(launch=asks).unsupported_reason(NGRAM.with_values(config=None)) is None


def test_a_command_for_each_method_is_all_there_is() -> None:
    engine = engine_of(launch={"baseline": ("/x/a.sh",), "ngram": ("/x/b.sh",)})
    assert engine.unsupported_reason(NGRAM.with_values(config=None)) is None
    assert "draft" in str(engine.unsupported_reason(LoadKey.of("Kimi", 4, draft="small")))


def test_scripts_are_told_by_their_environment_too() -> None:
    told = engine_of().stop_policy(spec_of(), AT).env
    assert (told["SPECDASH_PORT"], told["SPECDASH_K"], told["SPECDASH_NGRAM_N"]) == ("8123", "5", "4")
    assert (told["SPECDASH_MODEL"], told["SPECDASH_METHOD"], told["SPECDASH_CONFIG"]) == ("kimi-k2.5", "ngram", "kv8")
    empty = engine_of().stop_policy(spec_of(BASE), AT).env
    assert empty["SPECDASH_K"] == empty["SPECDASH_NGRAM_N"] == empty["SPECDASH_DRAFT"] == ""


def test_the_end_is_that_of_the_profile() -> None:
    ending = engine_of(pid_file=Path("/x/pid"), cool_down_s=15.0).stop_policy(spec_of(), AT)
    assert ending.stop == ("/x/stop.sh", "8123")
    assert (ending.pid_file, ending.cool_down_s, ending.daemon) == (Path("/x/pid"), 15.0, True)


def test_a_name_of_the_launch_only_where_it_is_passed_on() -> None:
    engine = engine_of()
    assert engine.endpoint(spec_of(), 8123, "nonce") == Endpoint(8123, "")
    named = spec_of(launch=("/x/launch.sh", "--alias", "{alias}"))
    assert engine.endpoint(named, 8123, "nonce") == Endpoint(8123, "nonce")
    assert engine.command(named, Endpoint(8123, "nonce"))[:3] == ("/x/launch.sh", "--alias", "nonce")


def test_the_command_to_paste_tells_what_the_script_reads_and_no_secret() -> None:
    pasted = engine_of().command_to_paste(spec_of(launch=("/x/launch.sh", "{k}")))
    assert pasted[0] == "env"
    assert {"SPECDASH_PORT=8000", "SPECDASH_NGRAM_N=4", "SPECDASH_METHOD=ngram", "A=1"} <= set(pasted)
    assert pasted[pasted.index("/x/launch.sh") :] == ("/x/launch.sh", K_PLACE, "--kv-bits", "8")
    assert "secret" not in " ".join(pasted)


def test_k_is_always_that_of_the_start() -> None:
    engine = engine_of()
    assert engine.info.k_scope is KScope.STARTUP
    assert "timings" in engine.info.not_reported
    engine._learn(ServerFacts(Flavour.LLAMA_SERVER, "b11669", ("m",)))
    assert "timings" not in engine.info.not_reported
    assert engine.info.version == "unknown", "what a load is known by does not change within a run"
