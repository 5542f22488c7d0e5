"""The llama-cli engine: which program serves what, on fakes of both dialects, and how a program may misbehave."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from specdash.core.engine import K_SEEN, FindContext, Request, ServerSpec
from specdash.core.events import K_PLACE
from specdash.core.generation import Generation
from specdash.core.plan import KScope, LoadKey
from specdash.core.profile import EngineConfig
from specdash.core.prompts import Message, Prompt
from specdash.core.transport import HttpError, RequestTimeout, TransportError
from specdash.engines.llama_cpp.cli import LlamaCli, find, find_beside
from specdash.errors import EngineError
from specdash.runtime.server import ServerFailed
from tests.fakes.llama_programs import NAMES, OLD_NAMES, install
from tests.support.served_engine import Served, serving, spec_of

BASELINE = LoadKey.of("T")
DRAFT = LoadKey.of("T", 4, draft="D")
LOOKUP = LoadKey.of("T", 4, method="lookup")
NGRAM = LoadKey.of("T", 4, method="ngram-simple", ngram_n=6)

Programs = Callable[..., Path]


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    """Fakes of the programs in a folder of their own."""

    def make(names: tuple[str, ...] = NAMES, folder: str = "bin") -> Path:
        return install(tmp_path / folder, names)

    return make


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    """Two files that fakes take for models."""
    for name in ("target.gguf", "draft.gguf", "mmproj.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    return tmp_path / "target.gguf", tmp_path / "draft.gguf"


def engine_of(program: Path | str, **env: str) -> LlamaCli:
    context = FindContext("Some words. ", dict(os.environ) | env)
    return find(EngineConfig(kind="llama-cli", program=str(program)), context)


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def serve(programs: Programs, models: tuple[Path, Path], tmp_path: Path) -> Serve:
    """A load of the fakes that is ready, started and guarded by the runtime."""

    @asynccontextmanager
    async def start(
        key: LoadKey = DRAFT, fake: str = "", names: tuple[str, ...] = NAMES, **env: str
    ) -> AsyncIterator[Served]:
        told = {"FAKE_CLI": fake} | env
        engine = engine_of(programs(names), **told)
        target, draft = models
        spec = spec_of(target, draft if key.draft else None, key.k_startup, key=key, env=told, args=("-c", "512"))
        async with serving(engine, spec, tmp_path) as served:
            yield served

    return start


async def ask(served: Served, tokens: int = 32, limit_s: float = 30.0, k: int | None = 4) -> Generation:
    return await served.client.generate(Request("Once upon a time", tokens, 0.0, 1, k), limit_s=limit_s)


# -- finding -----------------------------------------------------------------------------------------------------


def test_programs_are_found_by_path_folder_link_server_and_name(programs: Programs, tmp_path: Path) -> None:
    folder = programs()
    (folder / "llama-server").write_text("#!/bin/sh\n")
    link = tmp_path / "elsewhere" / "llama-speculative"
    link.parent.mkdir()
    link.symlink_to(folder / "llama-speculative")
    path = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    for program, first in (
        (folder, "llama-speculative-simple"),
        (folder / "llama-server", "llama-speculative-simple"),
        (folder / "llama-lookup", "llama-lookup"),
        (link, "llama-speculative"),
    ):
        engine = engine_of(program)
        assert Path(engine.info.program).name == first
        assert engine.info.version == "1 (fake)"
        assert engine.info.k_scope is KScope.REQUEST
        assert (
            engine.unsupported_reason(BASELINE)
            is engine.unsupported_reason(DRAFT)
            is engine.unsupported_reason(LOOKUP)
            is None
        )
    for name in ("llama-speculative-simple", "llama-server"):
        assert engine_of(name, **path).info.program == str(folder / "llama-speculative-simple")


def test_what_is_not_there_or_is_another_tool_is_said(programs: Programs, tmp_path: Path) -> None:
    folder = programs()
    (tmp_path / "empty").mkdir()
    (tmp_path / "gcc").write_text("")
    for program, behaviour, said in (
        ("llama-speculative-simple", {"PATH": "/nowhere"}, "not on PATH"),
        ("gcc", {}, "none of llama.cpp's command-line programs"),
        (tmp_path / "gcc", {}, "none of llama.cpp's command-line programs"),
        (tmp_path / "no" / "llama-lookup", {}, "there is no"),
        (tmp_path / "empty", {}, "none of llama.cpp's command-line programs is beside"),
        (
            folder,
            {"FAKE_CLI": "other=1"},
            "does not look like llama-speculative-simple: its --help does not list -m, -n",
        ),
        (folder, {"FAKE_CLI": "mute_help=1"}, "(it says: 'nothing')"),
    ):
        with pytest.raises(EngineError) as caught:
            engine_of(program, **behaviour)
        assert said in caught.value.what, program
        assert caught.value.todo


def test_programs_of_two_builds_are_not_compared(programs: Programs) -> None:
    folder = programs()
    other = folder / "llama-completion"
    other.write_text(other.read_text().replace("exec", "FAKE_CLI='version=2 (other)' exec"))
    reason = engine_of(folder).unsupported_reason(BASELINE)
    assert reason is not None
    assert "is 1 (fake), and" in reason
    assert "is 2 (other)" in reason


def test_what_a_program_lacks_is_said_before_anything_is_started(programs: Programs) -> None:
    engine = engine_of(programs())
    assert engine.unsupported_reason(NGRAM) is None
    assert "ngram-map-k" in (engine.unsupported_reason(NGRAM.with_values(method="ngram-map-k")) or "")
    assert "has no speculative decoding" in (engine.unsupported_reason(DRAFT, vision=True) or "")
    assert engine.unsupported_reason(BASELINE, vision=True) is None
    few = engine_of(programs(("llama-speculative-simple",), "few"))
    assert "there is no llama-completion or llama-cli in" in (few.unsupported_reason(BASELINE) or "")
    assert few.unsupported_reason(DRAFT) is None
    assert "there is no llama-mtmd-cli" in (few.unsupported_reason(BASELINE, vision=True) or "")
    old = engine_of(programs(OLD_NAMES, "old"), FAKE_DIALECT="old")
    assert old.info.dialect == "draft-max"
    assert old.unsupported_reason(DRAFT) is old.unsupported_reason(LOOKUP) is old.unsupported_reason(BASELINE) is None
    assert "no --spec-type" in (old.unsupported_reason(NGRAM) or "")


def test_a_server_has_its_programs_beside_it_or_on_path_or_none(programs: Programs, tmp_path: Path) -> None:
    folder = programs()
    (tmp_path / "alone").mkdir()
    for where in (folder, tmp_path / "alone"):
        (where / "llama-server").write_text("#!/bin/sh\n")
    beside_it, alone = str(folder / "llama-server"), str(tmp_path / "alone" / "llama-server")
    here, elsewhere = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}, {"PATH": "/nowhere"}
    cases = ((beside_it, here, True), (alone, here, True), ("embedded", here, True))
    for program, env, found in (*cases, (alone, elsewhere, False), ("embedded", elsewhere, False)):
        engine = find_beside(EngineConfig(program=program), FindContext(env=dict(os.environ) | env))
        assert (engine is not None) is found, (program, env)


# -- command lines -----------------------------------------------------------------------------------------------


def template(engine: LlamaCli, spec: ServerSpec) -> list[str]:
    command = engine.command(spec, engine.endpoint(spec, 5000, "me"))
    at = command.index("--")
    assert command[4:at][:4] == ("--port", "5000", "--alias", "me")
    return list(command[at + 1 :])


def test_command_lines_of_both_dialects(programs: Programs, models: tuple[Path, Path]) -> None:
    target, draft = map(str, models)
    run = ["-b", "131072", "-n", "{n}", "--temp", "{temp}", "-s", "{seed}", "-f", "{prompt}", "-t", "1"]
    plain = ["-no-cnv", "--simple-io", "--no-display-prompt", "--special", "--no-escape", "--perf"]
    spec = spec_of(models[0], models[1], 4, key=DRAFT, args=("-t", "1"))
    baseline = replace(spec, key=BASELINE.with_values(moe_experts=2), draft=None)
    new, old = engine_of(programs()), engine_of(programs(OLD_NAMES, "old"), FAKE_DIALECT="old")
    assert template(new, spec)[1:] == [
        *("-m", target, "-md", draft, "--spec-type", "draft-simple", "--spec-draft-n-max", "{k}"),
        *("--spec-draft-n-min", "0", "--spec-draft-p-min", "0", "--no-escape", *run),
    ]
    assert template(old, spec)[1:] == [
        *(
            "-m",
            target,
            "-md",
            draft,
            "--draft-max",
            "{k}",
            "--draft-min",
            "0",
            "--draft-p-min",
            "0",
            "--no-escape",
            *run,
        )
    ]
    assert template(new, baseline)[1:] == [
        *("-m", target, "--override-kv", "llama.expert_used_count=int:2", *plain, *run)
    ]
    assert Path(template(old, baseline)[0]).name == "llama-cli"
    assert template(new, replace(spec, key=LOOKUP, draft=None))[1:] == [
        *("-m", target, "--spec-draft-n-max", "{k}", "--no-escape", *run)
    ]
    ngram = template(new, replace(spec, key=NGRAM, draft=None))
    assert ngram[3:9] == [
        "--spec-type",
        "ngram-simple",
        "--spec-ngram-simple-size-n",
        "6",
        "--spec-ngram-simple-size-m",
        "{k}",
    ]
    vision = template(new, replace(baseline, key=BASELINE, mmproj=models[0].with_name("mmproj.gguf")))
    assert Path(vision[0]).name == "llama-mtmd-cli"
    assert vision[vision.index("--mmproj") :][2:4] == ["--image", "{images}"]


def test_a_command_to_paste_runs_as_it_stands_and_hides_secrets(programs: Programs, models: tuple[Path, Path]) -> None:
    env = {"HF_TOKEN": "hf_secret", "GGML_X": "1"}
    spec = spec_of(*models, 4, key=DRAFT, env=env, wrap=("nice",))
    pasted = engine_of(programs()).command_to_paste(spec)
    assert pasted[:4] == ("env", 'HF_TOKEN="$HF_TOKEN"', "GGML_X=1", "nice")
    assert pasted[-2:] == ("-p", "Once upon a time")
    assert not any("{" in word for word in pasted if word != K_PLACE)
    assert "cli_bridge" not in " ".join(pasted)


# -- measuring ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["current", "old"])
async def test_speculation_is_counted_and_its_k_is_proven(serve: Serve, dialect: str) -> None:
    names = OLD_NAMES if dialect == "old" else NAMES
    async with serve(names=names, FAKE_DIALECT=dialect) as served:
        for k in (2, 4):
            found = await ask(served, k=k)
            assert not found.problems
            assert found.draft_n is not None
            assert found.draft_n_accepted == found.draft_n * 2 // k, "the fake accepts two of each draft"
            assert found.k_seen == k
            assert found.steps == found.draft_n // k
            assert found.generated_tokens is not None
            assert 32 <= found.generated_tokens <= 32 + k
            assert found.finish_reason == "limit"
            assert found.cached_tokens == 0
            assert found.acceptance_source == "server"
            assert (found.prompt_tokens, found.prompt_ms) == (4, 4.0)
        texts = (await ask(served)).text
    async with serve(BASELINE, names=names, FAKE_DIALECT=dialect) as served:
        found = await ask(served, k=None)
        assert not found.problems
        assert (found.generated_tokens, found.finish_reason) == (32, "limit")
        assert found.draft_n is None
        assert found.predicted_ms is not None
        assert found.predicted_ms >= 31 * 0.5, "from the first to the last piece, at half a millisecond a token"
        assert texts.startswith(found.text), "the same words, without the prompt and without the ends"


async def test_lookup_that_finds_nothing_is_a_result(serve: Serve) -> None:
    async with serve(LOOKUP) as served:
        found = await ask(served)
        assert not found.problems
        assert (found.draft_n, found.draft_n_accepted, found.k_seen) == (0, 0, None)
        assert found.steps == (found.generated_tokens or 0) - 1, "its first token comes from the prompt"
        assert K_SEEN in found.unknown
        sample = await served.sample("Once upon a time", 4, method="lookup")
        assert sample.status == "ok"


NO_NUMBERS = (
    ("stats=none", "ended well and without these lines of its statistics: encoded, decoded, n_drafted, n_accept"),
    ("stats=changed", "has an unknown form: 'decoded"),
    ("full=1", "went on after a batch that it could not compute"),
    ("flood=4400000", "bytes more than are kept"),
    ("drafts=1,pace_s=0", "fewer than K = 8"),
)


async def test_what_cannot_be_trusted_is_no_number(serve: Serve, programs: Programs, tmp_path: Path) -> None:
    async with serve(replace(DRAFT, k_startup=8)) as served:
        behave = behaving(programs() / "llama-speculative-simple")
        for fake, reason in NO_NUMBERS:
            behave(fake)
            found = await ask(served, tokens=96, k=8)
            assert any(reason in problem for problem in found.problems), (fake, found.problems)
        lost = tmp_path / "lost"
        behave(f"end=lost,count={lost}")
        served.client._is_lossy = False  # type: ignore[attr-defined]
        assert not (await ask(served, k=8)).problems, "a run that lost its end is made anew"
        assert lost.exists()


def behaving(program: Path) -> Callable[[str], None]:
    """Changes what a fake does from its next run on; "" for its good behaviour."""
    whole = program.read_text()

    def behave(fake: str) -> None:
        program.write_text(whole.replace("exec", f"FAKE_CLI={fake} exec"))

    return behave


# -- failing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fake", "what"),
    [
        ("end=fail", "ended with exit code 1: gguf_init_from_file: failed to open GGUF file"),
        ("end=kill", "was ended by SIGKILL"),
        ("end=exit0", "ended well and printed no text, again and again"),
    ],
)
async def test_a_program_that_cannot_load_is_a_load_that_failed(serve: Serve, fake: str, what: str) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        async with serve(fake=fake):
            pass
    (failed,) = leaves(caught.value)
    assert isinstance(failed, ServerFailed)
    assert what in failed.what
    if fake == "end=fail":
        assert "check the paths in the profile" in failed.todo
        assert any("failed to open GGUF" in line for line in failed.tail)


def leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error


async def test_ends_of_a_run_are_told_apart(serve: Serve, programs: Programs) -> None:
    async with serve() as served:
        behave = behaving(programs() / "llama-speculative-simple")
        behave("end=fail")
        with pytest.raises(HttpError) as refused:
            await ask(served)
        assert refused.value.status == 422
        assert str(refused.value).startswith("llama-speculative-simple ended with exit code 1: ")
        behave("end=kill")
        with pytest.raises(TransportError, match="llama-speculative-simple was ended by SIGKILL"):
            await ask(served)
        behave("child=1")
        assert not (await ask(served)).problems, "what it leaves behind is ended, and holds nothing up"
        behave("end=hang")
        served.client._spec = replace(served.spec, load_timeout_s=0.2)  # type: ignore[attr-defined]
        with pytest.raises(RequestTimeout) as late:
            await ask(served, limit_s=0.3)
        assert late.value.limit_s == pytest.approx(0.5)
        assert '"running": null' in (await served.client.evidence())["/state"], "it was ended"
        served.client._spec = served.spec  # type: ignore[attr-defined]
        behave("")
        assert not (await ask(served)).problems


async def test_images_go_with_the_prompts_of_a_vision_model(
    serve: Serve, models: tuple[Path, Path], programs: Programs, tmp_path: Path
) -> None:
    mmproj = models[0].with_name("mmproj.gguf")
    spec = spec_of(models[0], None, None, key=BASELINE, mmproj=mmproj)
    async with serving(engine_of(programs()), spec, tmp_path) as served:
        request = Request("What is this?", 24, 0.0, 1, None, images=(mmproj,))
        found = await served.client.generate(request, limit_s=30)
        assert not found.problems
        assert found.generated_tokens == 24
        with pytest.raises(HttpError, match="needs an image with each prompt"):
            await served.client.generate(replace(request, images=()), limit_s=30)


# -- prompts and K -----------------------------------------------------------------------------------------------


async def test_prompts_are_plain_text_and_depth_is_about_so_many_tokens(serve: Serve) -> None:
    async with serve() as served:
        talk = Prompt(
            "p", "coding", messages=(Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Go"))
        )
        assert await served.client.render(talk, 0) == "user: Hi\n\nassistant: Yes?\n\nuser: Go\n\nassistant:"
        deep = await served.client.render(Prompt("q", "coding", text="Go on"), 50)
        assert deep.endswith("\n\nGo on")
        assert len(deep.split()) - 2 == pytest.approx(50, abs=2), "the fake counts words"


async def test_k_belongs_to_the_request(serve: Serve) -> None:
    async with serve() as served:
        probe = await served.client.probe_k(4, limit_s=30)
        assert probe.scope is KScope.REQUEST
        assert probe.evidence == ((4, 4), (6, 6))
    async with serve(LOOKUP) as served:
        assert (await served.client.probe_k(4, limit_s=30)).scope is None, "nothing was drafted"
