"""A run as a generation: the definitions of decode time, the proof of K, and the text without what is not it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from specdash.core.engine import K_SEEN
from specdash.core.generation import Generation
from specdash.core.measure import decode_rate
from specdash.core.transport import StreamedAnswer
from specdash.engines.llama_cpp.cli_programs import PROGRAMS
from specdash.engines.llama_cpp.cli_result import CliRequest, decode, decode_partial, lost_its_end

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
PROMPT = "ka lo mi ren"
SIMPLE, SPECULATIVE, LOOKUP = "llama-speculative-simple", "llama-speculative", "llama-lookup"
COMPLETION, VISION = "llama-completion", "llama-mtmd-cli"
DRAFTING = """
encoded   10 tokens in    0.050 seconds, speed:  200.000 t/s
decoded {tokens:4d} tokens in    2.000 seconds, speed:   50.000 t/s
n_draft   = {n_draft}
n_predict = {tokens}
n_drafted = {drafted}
n_accept  = {accepted}
"""
PLAIN = """
common_perf_print: prompt eval time = 50.00 ms / 10 tokens ( 5.00 ms per token, 200.00 tokens per second)
common_perf_print:        eval time = {ms} ms / {runs} runs ( 5.00 ms per token, 200.00 tokens per second)
"""


def answer(pieces: list[tuple[str, float]], stderr: str, **last: Any) -> StreamedAnswer:
    """A stream of these pieces at these milliseconds, each seen a little later by our own clock."""
    events: list[dict[str, Any]] = [{"out": text, "t_ms": t_ms} for text, t_ms in pieces]
    events.append({"exit": 0, "signal": None, "limit": False, "stderr": stderr, "t_ms": 9999.0, "model": "me"} | last)
    stamped = tuple((100 + event["t_ms"] / 1000 + 0.001, json.dumps(event).encode()) for event in events)
    return StreamedAnswer(200, 100.0, stamped, 110.0)


def run(
    name: str, pieces: list[tuple[str, float]], stderr: str, *, tokens: int = 100, k: int | None = None, **more: Any
) -> Generation:
    asked = CliRequest(PROGRAMS[name], more.pop("prompt", PROMPT), tokens, k, more.pop("is_ceiling", False))
    return decode(answer(pieces, stderr, **more), asked)


def drafting(
    name: str, *, tokens: int = 100, drafted: int = 0, accepted: int = 0, n_draft: int = 4, **more: Any
) -> Generation:
    stderr = DRAFTING.format(tokens=tokens, drafted=drafted, accepted=accepted, n_draft=n_draft)
    pieces = [("\n\n<s> ka lo mi ren", 900.0), (" one", 1000.0), (" two", 2900.0), ("\n\n", 3000.0), ("\n\n", 3001.0)]
    return run(name, pieces, stderr, **({"tokens": 100, "k": 4} | more))


# -- decode time ---------------------------------------------------------------------------------------------------


def test_a_first_token_that_is_decoded_counts_and_one_from_the_prompt_does_not() -> None:
    simple = drafting(SIMPLE, drafted=240, accepted=40)
    assert simple.predicted_ms == pytest.approx(2000 * 99 / 100)
    assert decode_rate(simple.generated_tokens, (simple.predicted_ms or 0) / 1000) == pytest.approx(100 / 2.0), (
        "N in N intervals"
    )
    assert simple.steps == 60
    for name in (SPECULATIVE, LOOKUP):
        other = drafting(name, drafted=236, accepted=40)
        assert other.predicted_ms == 2000
        assert other.steps == 59
    assert (simple.prompt_tokens, simple.prompt_ms, simple.cached_tokens) == (10, 50, 0)


def test_a_baseline_is_timed_by_its_text_and_counted_by_its_runs() -> None:
    pieces = [(" one", 1000.0), (" two", 1100.0), (" three", 3000.0), ("\n\n", 5000.0)]
    found = run(COMPLETION, pieces, PLAIN.format(ms="500.00", runs=99))
    assert found.predicted_ms == 2000, "neither the 500 ms of pure computing, nor what comes after the text"
    assert (found.generated_tokens, found.steps, found.finish_reason) == (100, 99, "limit")
    assert (found.first_token_t_s, found.last_token_t_s) == (101.001, 103.001)
    assert (found.prompt_ms, found.prompt_tokens) == (50, 10)
    assert (found.draft_n, found.acceptance_source) == (None, None)
    assert found.model == "me"
    assert not found.problems


@pytest.mark.parametrize(
    ("runs", "ms", "tokens"),
    [(99, "9.00", 100), (100, "9.00", 100), (1, "0.00", 1), (1, "9.00", 2)],
    ids=["as asked", "the last token too, or the end of the prompt", "none", "one"],
)
def test_runs_are_tokens_after_the_first(runs: int, ms: str, tokens: int) -> None:
    found = run(
        COMPLETION, [(" a [end of text]\n\n\n" if tokens < 100 else " a\n\n", 1.0)], PLAIN.format(ms=ms, runs=runs)
    )
    assert found.generated_tokens == tokens


def test_more_tokens_than_asked_are_no_baseline() -> None:
    found = run(COMPLETION, [(" a", 1.0)], PLAIN.format(ms="9.00", runs=150))
    assert any("made 151 tokens, and was asked for 100" in problem for problem in found.problems)


# -- the proof of K ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drafted", "n_draft", "k_seen", "unknown", "problem"),
    [
        (240, 4, 4, False, False),  # 60 passes of 4
        (181, 4, 4, False, False),  # one pass at least drafted 4
        (241, 4, 5, False, False),  # one pass at least drafted 5: more than K
        (226, 3, 3, False, False),  # it was set to something else
        (180, 4, None, False, True),  # 3 a pass
        (60, 4, None, False, True),
        (0, 4, None, True, False),  # nothing drafted: said elsewhere
    ],
)
def test_k_is_proven_by_totals(drafted: int, n_draft: int, k_seen: int | None, unknown: bool, problem: bool) -> None:
    found = drafting(SIMPLE, drafted=drafted, accepted=40 if drafted else 0, n_draft=n_draft)
    assert found.k_seen == k_seen
    assert (K_SEEN in found.unknown) is unknown
    assert any("fewer than K = 4" in each for each in found.problems) is problem


def test_short_drafts_at_the_end_leave_k_open() -> None:
    found = drafting(SIMPLE, tokens=40, drafted=80, accepted=34, n_draft=16, k=16)
    assert found.steps == 6
    assert found.k_seen is None
    assert "leave open" in found.unknown[K_SEEN]
    assert not found.problems


def test_found_text_proves_no_length_unless_it_is_too_long() -> None:
    assert drafting(LOOKUP, drafted=20, accepted=10, is_ceiling=True).k_seen is None
    assert drafting(LOOKUP, drafted=20, accepted=10, n_draft=9, is_ceiling=True).k_seen is None, "its own setting"
    assert drafting(LOOKUP, drafted=600, accepted=40, is_ceiling=True).k_seen == 11


# -- text ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama-speculative-simple.k8", "llama-speculative.k4", "llama-lookup"])
def test_recorded_text_is_told_from_the_prompt_before_it(name: str) -> None:
    stdout, stderr = ((RECORDINGS / f"{name}.{stream}").read_text() for stream in ("stdout", "stderr"))
    prompt = PROMPT if "lookup" not in name else " ".join([PROMPT] * 3)
    found = run(name.partition(".")[0], [(stdout[:9], 1.0), (stdout[9:], 2.0)], stderr, prompt=prompt, k=8)
    assert found.text.startswith("phatorul ")
    assert found.text == stdout.partition(" phatorul")[1].strip() + stdout.partition(" phatorul")[2].rstrip()
    assert not found.problems or "fewer than" in found.problems[0]


@pytest.mark.parametrize(
    ("name", "text", "said", "finish"),
    [
        (COMPLETION, " one two\n\n", "one two", "limit"),
        (COMPLETION, " one\n\n two\n\n\n\n", "one\n\n two", "limit"),
        (COMPLETION, " one</s> [end of text]\n\n\n", "one", "eos"),
        (COMPLETION, " one <b>two</b>\n\n", "one <b>two</b>", "limit"),
        (COMPLETION, " one\ufffd\n\n", "one", "limit"),
        (VISION, "main: loading model: t.gguf\nencoding image slice...\n\n one two\n\n", "one two", "limit"),
        (VISION, "\n one\n\n\n", "one", "limit"),
        (COMPLETION, "", "", "limit"),
    ],
)
def test_a_text_has_no_marks_and_no_space_around_it(name: str, text: str, said: str, finish: str) -> None:
    found = run(name, [(text, 1.0)], PLAIN.format(ms="9.00", runs=99 if finish == "limit" else 30))
    assert (found.text, found.finish_reason) == (said, finish)


@pytest.mark.parametrize(
    ("prompt", "printed"),
    [
        ("Say hi", "\n\n<|begin_of_text|>Say hi"),
        ("Say hi\n", "\n\n<s> Say hi\n"),
        ("  Say   hi", "\n\nSay hi"),
        ("Say <s>hi</s>", "\n\n<s> Say<s> hi</s>"),
        ("a" * 20_000, "\n\n<s> " + "a" * 20_000),
        ("Say hi", "\n\n<s> ▁Say▁hi"),
    ],
)
def test_the_prompt_is_taken_off_however_the_tokenizer_spaces_it(prompt: str, printed: str) -> None:
    stderr = DRAFTING.format(tokens=100, drafted=240, accepted=40, n_draft=4)
    found = run(SIMPLE, [(printed, 1.0), (" one", 2.0), (" two\n\n\n\n", 3.0)], stderr, prompt=prompt, k=4)
    assert found.text == "one two"
    assert found.first_token_t_s == pytest.approx(100.003)
    assert not found.problems


def test_a_text_that_cannot_be_told_from_its_prompt_is_a_problem() -> None:
    stderr = DRAFTING.format(tokens=100, drafted=240, accepted=40, n_draft=4)
    found = run(SIMPLE, [("\n\nsomething else", 1.0)], stderr, k=4)
    assert any("does not begin with the prompt" in problem for problem in found.problems)


def test_a_model_that_ends_by_itself_is_seen_by_the_length() -> None:
    found = drafting(SPECULATIVE, tokens=60, drafted=160, accepted=19)
    assert found.finish_reason == "eos"
    assert drafting(SPECULATIVE, tokens=103, drafted=244, accepted=41).finish_reason == "limit"


# -- anything at all -----------------------------------------------------------------------------------------------


def test_what_was_lost_is_told_from_what_is_worded_otherwise() -> None:
    asked = CliRequest(PROGRAMS[SIMPLE], PROMPT, 100, 4, False)
    whole = DRAFTING.format(tokens=100, drafted=240, accepted=40, n_draft=4)
    assert not lost_its_end(answer([], whole), asked)
    assert lost_its_end(answer([], ""), asked)
    assert lost_its_end(answer([], whole.partition("n_accept")[0]), asked)
    assert not lost_its_end(answer([], whole.replace("seconds", "s")), asked)


@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_that_a_program_prints_raises(name: str) -> None:
    rng = random.Random(name)
    words = [
        *DRAFTING.split(),
        *PLAIN.split(),
        "\n",
        PROMPT,
        "\x00",
        "\ufffd",
        " [end of text]",
        "-nan%",
        "9" * 400,
        "1e999",
    ]
    for _ in range(300):
        pieces = [("".join(rng.choices(words, k=rng.randrange(4))), float(at)) for at in range(rng.randrange(6))]
        stderr = "\n".join(" ".join(rng.choices(words, k=rng.randrange(9))) for _ in range(rng.randrange(9)))
        found = run(name, pieces, stderr, k=rng.choice([None, 1, 8]), tokens=rng.randrange(1, 40))
        assert found.problems or found.predicted_ms is not None or not found.text
    stream = StreamedAnswer(200, 0.0, ((1.0, b"{"), (1.0, b"[]"), (1.0, b'{"out": 3}'), (1.0, b'{"t_ms": -1}')), 2.0)
    assert decode(stream, CliRequest(PROGRAMS[name], PROMPT, 10, None, False)).problems
    assert decode_partial(stream.events) == ()
