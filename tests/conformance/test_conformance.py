"""Every engine through the same checks, on the real program wherever it can be run here.

What is checked is what a run relies on: a server that is ready answers, what it does not tell is null and never 0, the
K of a step is proven or said to be unproven, a baseline does not draft, the words are the same, and nothing is left.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from specdash.core import events as ev
from specdash.core.engine import (
    ACCEPTED,
    CACHED,
    DRAFTED,
    EXACT_LENGTH,
    REPORTABLE,
    CauseKind,
    Engine,
    FindContext,
    Health,
    ServerSpec,
)
from specdash.core.engine_kinds import KINDS
from specdash.core.measure import Sample
from specdash.core.methods import DRAFT
from specdash.core.plan import KScope, Step
from specdash.core.validity import verdict_of
from specdash.engines import script
from specdash.engines.base import BaseEngine
from specdash.engines.llama_cpp import cli as llama_cli
from specdash.engines.llama_cpp import server as llama_server
from specdash.engines.log_diagnosis import first_cause, last_cause
from specdash.engines.mlx import engine as mlx
from specdash.engines.openai import engine as openai
from specdash.engines.registry import EngineModule, find, module_of
from specdash.runtime import server as server_module
from specdash.runtime.listener import free_port
from tests.conformance.cases import CASES, Case
from tests.support.served_engine import MAX_TOKENS, Served, serving, spec_of

PROMPTS = (
    "Once upon a time there was a small model that guessed what a large one would say next, and it guessed",
    "Write one line about the sea, one about the hills and one about the road between the two of them",
)
SMALL = ("-c", "1024", "-t", "1", "-tb", "1")  # one thread: several servers share few cores
pytestmark = pytest.mark.real


@pytest.fixture(params=CASES, ids=[case.name for case in CASES])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """One program of one engine; what ran is noted for the end of the test run."""
    found: Case = request.param
    yield found
    request.node.user_properties.append(("conformance", f"{'real' if found.real else 'fake'}: {found.name}"))


def models_of(case: Case, request: pytest.FixtureRequest) -> tuple[Path | None, Path | None]:
    """Target and draft for a case."""
    if case.models == "none":
        return None, Path("/draft")
    folder = Path(request.getfixturevalue({"gguf": "tiny_models", "mlx": "tiny_mlx_models"}[case.models]))
    suffix = ".gguf" if case.models == "gguf" else ""
    return folder / f"target{suffix}", folder / f"draft{suffix}"


def assert_counts(sample: Sample, engine: Engine) -> None:
    """A sample that may be summarised, with the five mandatory figures; the rest known, or untold with its reason."""
    assert sample.status == "ok", sample.reasons
    untold = engine.info.not_reported
    for name in ("prefill_time_s", "decode_time_s", "decode_tok_s", "throughput_tok_s", "ttft_s", "total_time_s"):
        value = getattr(sample, name)
        if value is None and sample.unknown.get(name):
            continue  # no number rather than a wrong one
        assert value is not None, name
        assert value > 0, name
    assert sample.generated_tokens is not None
    assert sample.generated_tokens == MAX_TOKENS or EXACT_LENGTH in untold
    assert sample.prompt_tokens is not None
    assert sample.prompt_tokens > 0
    if CACHED in untold:
        assert sample.cached_tokens in (None, 0)
    else:
        assert sample.cached_tokens == 0
    assert sample.clock == ("client" if sample.decode_time_s == sample.client_decode_time_s else "server")
    assert set(untold) <= set(REPORTABLE)
    assert all(reason.strip() for reason in untold.values())


async def baseline_of(served: Served, engine: Engine) -> dict[str, str]:
    """Checks a server without speculation; its greedy texts by prompt."""
    samples = [await served.sample(prompt, None, block) for block, prompt in enumerate(PROMPTS)]
    for sample in samples:
        assert_counts(sample, engine)
        assert not sample.draft_tokens, "a baseline does not draft"
        assert sample.accepted_tokens in (None, 0)
        assert sample.k_seen is None
    context = await served.client.context_tokens()
    assert context is None or context >= max(sample.prompt_tokens or 0 for sample in samples)
    for prompt, sample in zip(PROMPTS, samples, strict=True):
        assert await served.client.count_tokens(prompt) in (None, sample.prompt_tokens), (
            "a prompt is counted as it is read"
        )
    texts = {prompt: await served.text(prompt, None) for prompt in PROMPTS}
    assert all(text.strip() for text in texts.values())
    assert await served.text(PROMPTS[0], None) == texts[PROMPTS[0]], "greedy answers are the same twice"
    return texts


async def assert_speculation(served: Served, engine: Engine, case: Case, k: int, texts: dict[str, str]) -> None:
    """Checks a server with a draft at one K."""
    samples = [await served.sample(prompt, k, block) for block, prompt in enumerate(PROMPTS)]
    step = Step.of("T", draft="D", method=DRAFT, k=k, category="coding")
    status, findings, error = verdict_of(step, samples, MAX_TOKENS, engine.info.not_reported)
    assert status == "ok", error
    unproven = any(finding.verdict == "k_unproven" for finding in findings)
    for sample in samples:
        assert_counts(sample, engine)
        if sample.draft_tokens is None:
            assert {DRAFTED, ACCEPTED} & {*engine.info.not_reported, *sample.unknown}, "unknown, and no reason is given"
            assert sample.accepted_tokens is None, "unknown is null"
        else:
            assert sample.accepted_tokens is not None
            assert 0 <= sample.accepted_tokens <= sample.draft_tokens
            assert sample.draft_tokens > 0
            assert sample.acceptance_source in ("server", "metrics", "inferred")
        if sample.acceptance_source not in (None, "inferred") and not unproven:
            assert sample.k_seen == k
    for prompt in PROMPTS if case.models != "none" else ():
        ours, theirs = await served.text(prompt, k), texts[prompt]
        common = min(len(ours), len(theirs))
        assert ours[:common] == theirs[:common], "speculation does not change the words"


async def test_conforms(case: Case, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    engine = find(case.config(request), FindContext(filler=" one two three"))
    assert engine.info.kind == case.kind
    assert engine.info.version
    target, draft = models_of(case, request)
    largest = max(case.ks)

    def spec(with_draft: bool, k: int | None) -> ServerSpec:
        launch = case.launch(request, with_draft) if case.launch is not None else ()
        args = SMALL if case.models == "gguf" else ()
        return spec_of(target, draft if with_draft else None, k, launch=launch, args=args, env=dict(case.env))

    async with serving(engine, spec(False, None), tmp_path) as served:
        assert isinstance(served.facts[0], ev.LoadStarted), "a load is told before anything runs"
        texts = await baseline_of(served, engine)
    if not case.drafts:
        return
    fixed = case.scope is KScope.STARTUP
    for k in case.ks if fixed else (largest,):
        async with serving(engine, spec(True, k), tmp_path) as served:
            if k == largest and engine.info.k_scope is None:
                probe = await served.client.probe_k(largest, limit_s=60.0)
                assert probe.scope is case.scope, probe.evidence
            for asked in (k,) if fixed else case.ks:
                await assert_speculation(served, engine, case, asked, texts)


MODULES: tuple[EngineModule, ...] = (llama_server, llama_cli, mlx, script, openai)  # each has what the type asks for


def test_every_engine_has_a_case_and_says_what_it_is() -> None:
    assert {case.kind for case in CASES} == set(KINDS)
    assert len({case.name for case in CASES}) == len(CASES)
    assert [module_of(kind) for kind in KINDS] == list(MODULES)
    for kind, row in KINDS.items():
        module = module_of(kind)
        assert row.title
        assert row.install
        assert bool(row.programs) is not bool(row.starters)
        assert row.by_name is not bool(row.programs)
        assert set(module.NOT_REPORTED) <= set(REPORTABLE)
        assert module.PARAMS
        for param in module.PARAMS:
            assert param.scope in {"startup", "request", "capped", "reload"}, param
            assert param.help, param
        assert any(param.name == "k" for param in module.PARAMS)


# What servers of each kind write where another program has their port.
TAKEN = {
    "llama-server": "start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080",
    "llama-cli": "specdash: cannot listen: [Errno 98] Address already in use",
    "mlx": "OSError: [Errno 98] Address already in use",
    "script": "OSError: [Errno 98] Address already in use",
    "openai": "[Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address already in use",
}


ENGINES: dict[str, type[BaseEngine]] = {
    "llama-server": llama_server.LlamaServer,
    "llama-cli": llama_cli.LlamaCli,
    "mlx": mlx.MlxEngine,
    "script": script.ScriptEngine,
    "openai": openai.OpenAiEngine,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_that_is_taken_is_known_by_its_kind_whatever_the_hint_says(kind: str) -> None:
    for find_cause in (first_cause, last_cause):
        found = find_cause(f"starting\n{TAKEN[kind]}\n", ENGINES[kind].hints)
        assert found is not None
        assert found.kind is CauseKind.PORT_TAKEN
        assert "port" in found.todo


async def test_a_port_that_was_taken_meanwhile_is_no_fault_of_the_server(
    case: Case, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case.kind == "script":
        pytest.skip("a script may leave its server behind, so its port is looked at before it is run")
    if case.name == "mlx_lm.server":
        pytest.skip("mlx_lm 0.32.2 tells that its port is taken, and does not end: its thread that generates goes on")
    engine = find(case.config(request), FindContext())
    target, _ = models_of(case, request)
    launch = case.launch(request, False) if case.launch is not None else ()
    args = SMALL if case.models == "gguf" else ()
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = iter([other.getsockname()[1]])
        monkeypatch.setattr(server_module, "free_port", lambda: next(ports, 0) or free_port())
        spec = spec_of(target, None, None, launch=launch, args=args, env=dict(case.env))
        async with serving(engine, spec, tmp_path) as served:
            starts = [fact for fact in served.facts if isinstance(fact, ev.LoadStarted)]
            assert len(starts) == 2
            assert await served.client.health() is Health.OK
