"""llama.cpp's command-line programs as they really are: what they count, what they say, and that the server agrees."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from specdash.core.engine import K_SEEN, FindContext, Request
from specdash.core.generation import Generation
from specdash.core.plan import LoadKey
from specdash.core.profile import EngineConfig
from specdash.engines.llama_cpp.cli import find
from specdash.engines.llama_cpp.cli_programs import grey_png
from tests.support.paths import ROOT
from tests.support.real_programs import Launch
from tests.support.served_engine import Served, serving, spec_of

pytestmark = pytest.mark.real

BASELINE, DRAFT = LoadKey.of("T"), LoadKey.of("T", 4, draft="D")
PROMPTS = (
    "Once upon a time there was a small model that guessed what a large one would say. It said:",
    "Write one line about the sea, one about the hills and one about the road between them.",
    'A "quoted" line\\n with\ttabs,\nline ends\n\nand   spaces, <s> and <|im_start|>.\n',
    "baba dodo bebe didi " * 12,
)

Serve = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def serve(llama_server: Path, tiny_models: Path, tmp_path: Path) -> Serve:
    """A load of the tiny models on a program of today's llama.cpp, with one thread."""

    @asynccontextmanager
    async def start(key: LoadKey, program: str = "", **more: object) -> AsyncIterator[Served]:
        named = str(llama_server.with_name(program) if program else llama_server)
        engine = find(EngineConfig(kind="llama-cli", program=named), FindContext("Words of a filler, and more. " * 9))
        draft = tiny_models / "draft.gguf" if key.draft else None
        settings = {"key": key, "args": ("-c", "1024", "-t", "1")} | more
        async with serving(
            engine, spec_of(tiny_models / "target.gguf", draft, key.k_startup, **settings), tmp_path
        ) as served:
            yield served

    return start


async def ask(served: Served, prompt: str = PROMPTS[0], tokens: int = 64, k: int | None = None) -> Generation:
    found = await served.client.generate(Request(prompt, tokens, 0.0, 1, k), limit_s=60)
    assert not found.problems, found.problems
    return found


async def test_programs_agree_on_the_words_and_count_as_our_definitions_say(serve: Serve) -> None:
    async with serve(BASELINE) as served:
        baseline = {prompt: await ask(served, prompt) for prompt in PROMPTS}
    for found in baseline.values():
        assert (found.generated_tokens, found.finish_reason, found.draft_n) == (64, "limit", None)
        assert found.predicted_ms is not None
    for program, from_prompt in (("llama-speculative-simple", 0), ("llama-speculative", 1)):
        async with serve(DRAFT, program) as served:
            for prompt, k in zip(PROMPTS, (2, 4, 2, 4), strict=True):
                found = await ask(served, prompt, k=k)
                tokens, drafted = found.generated_tokens, found.draft_n
                assert tokens is not None
                assert drafted is not None
                assert found.draft_n_accepted is not None
                assert 64 <= tokens <= 64 + k
                assert found.k_seen == k
                assert found.steps == tokens - found.draft_n_accepted - from_prompt, "its first token may have no pass"
                short = k * found.steps - drafted
                assert short == 0 if from_prompt else 0 <= short <= k * (k + 3) // 2, "drafts are short at the end"
                assert found.prompt_tokens == baseline[prompt].prompt_tokens
                assert found.text.startswith(baseline[prompt].text), "the same words over the common length"


async def test_lookup_and_ngram_methods_draft_from_the_text(serve: Serve) -> None:
    async with serve(BASELINE) as served:
        words = (await ask(served, PROMPTS[3], 96)).text
    lookup, ngram = LoadKey.of("T", 4, method="lookup"), LoadKey.of("T", 6, method="ngram-simple", ngram_n=2)
    for key, k in ((lookup, 4), (ngram, 6)):
        async with serve(key) as served:
            found = await ask(served, PROMPTS[3], 96, k)
            assert found.text.startswith(words)
            assert found.k_seen is None
            assert K_SEEN in found.unknown
            assert found.draft_n is not None
            assert found.steps is not None
            assert found.draft_n <= k * found.steps
            assert (await served.sample(PROMPTS[3], k, method=key.method)).reasons == ()


async def test_a_full_context_is_no_number(serve: Serve) -> None:
    async with serve(DRAFT, "llama-speculative", args=("-c", "256", "-t", "1")) as served:
        found = await served.client.generate(Request(PROMPTS[0], 400, 0.0, 1, 4), limit_s=60)
        assert any("could not compute" in problem for problem in found.problems), found.problems
    async with serve(BASELINE, args=("-c", "256", "-t", "1")) as served:
        found = await ask(served, tokens=400)
        assert found.finish_reason == "limit"
        assert (found.generated_tokens or 0) < 400, "which the judge calls a wrong length"


async def test_an_answer_that_the_model_ends_is_told(serve: Serve) -> None:
    ending = ("-c", "1024", "-t", "1", "--logit-bias", "2+6")
    async with serve(BASELINE, args=ending) as served:
        words = await ask(served, tokens=400)
        assert words.finish_reason == "eos"
        assert "end of text" not in words.text
    for program in ("llama-speculative-simple", "llama-speculative"):
        async with serve(DRAFT, program, args=ending) as served:
            found = await ask(served, tokens=400, k=4)
            assert found.finish_reason == "eos"
            assert found.text == words.text


@pytest.fixture
def projector(tmp_path: Path) -> Path:
    """A projector for the tiny target."""
    subprocess.run([sys.executable, "-m", "tests.tools.tiny_projector", tmp_path], cwd=ROOT, check=True)
    return tmp_path / "mmproj.gguf"


async def test_a_vision_model_answers_for_an_image(serve: Serve, projector: Path, tmp_path: Path) -> None:
    image = tmp_path / "grey.png"
    image.write_bytes(grey_png(40))
    async with serve(BASELINE, mmproj=projector) as served:
        request = Request("What is this?", 32, 0.0, 1, None, images=(image,))
        found = await served.client.generate(request, limit_s=60)
        assert not found.problems
        assert (found.generated_tokens, found.finish_reason) == (32, "limit")
        two = await served.client.generate(replace(request, images=(image, image)), limit_s=60)
        assert None not in (found.prompt_tokens, two.prompt_tokens)
        assert (two.prompt_tokens or 0) == (found.prompt_tokens or 0) + 4, "an image is four tokens here"


async def test_acceptance_is_the_servers_within_two_points(
    serve: Serve, llama_server: Path, tiny_models: Path, launch: Launch
) -> None:
    k, tokens = 4, 128
    async with serve(DRAFT, "llama-speculative-simple") as served:
        ours = [await ask(served, prompt, tokens, k) for prompt in PROMPTS]
    draft = ("-md", tiny_models / "draft.gguf", "--spec-type", "draft-simple", "--spec-draft-n-max", k)
    flags = ("--spec-draft-p-min", 0, "-c", 1024, "-t", 1, "-np", 1, "--port", 0)
    server = launch(llama_server, "-m", tiny_models / "target.gguf", *draft, *flags)
    server.url()
    asked = {"n_predict": tokens, "temperature": 0, "cache_prompt": False}
    theirs = [server.request("/completion", asked | {"prompt": prompt})["timings"] for prompt in PROMPTS]
    drafted = sum(found.draft_n or 0 for found in ours), sum(timings["draft_n"] for timings in theirs)
    accepted = sum(found.draft_n_accepted or 0 for found in ours), sum(each["draft_n_accepted"] for each in theirs)
    assert min(drafted) > 300
    by_program, by_server = accepted[0] / drafted[0], accepted[1] / drafted[1]
    assert by_program == pytest.approx(by_server, abs=0.02), (drafted, accepted)
