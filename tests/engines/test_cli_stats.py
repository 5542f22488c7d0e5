"""Statistics of the command-line programs: recordings of today's, wordings of before, and what nobody has seen yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from specdash.engines.llama_cpp.cli_stderr import CliStats, parse, reason

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"

OLD = """
encoded   22 tokens in    0.070 seconds, speed:  314.393 t/s
decoded   98 tokens in    1.066 seconds, speed:   91.918 t/s

n_draft   = 8
n_predict = 98
n_drafted = 189
n_accept  = 74
accept    = 39.153%

draft:

llama_perf_context_print: prompt eval time = 11.00 ms /    22 tokens (   0.50 ms per token, 2000.00 tokens per second)
llama_perf_context_print:        eval time = 200.00 ms /   190 runs   (   1.05 ms per token, 950.00 tokens per second)

target:

llama_print_timings: prompt eval time =     922.42 ms /   236 tokens (    3.91 ms per token,   255.85 tokens per second)
llama_print_timings:        eval time =       0.00 ms /     1 runs   (    0.00 ms per token,      inf tokens per second)
"""
SIMPLE = {
    "encoded_tokens": 22,
    "encoded_s": 0.070,
    "decoded_tokens": 98,
    "decoded_s": 1.066,
    "n_draft": 8,
    "n_predict": 98,
    "n_drafted": 189,
    "n_accept": 74,
    "prompt_eval_ms": 922.42,
    "prompt_eval_tokens": 236,
    "eval_ms": 0.0,
    "eval_runs": 1,
}


DECODED, PROMPT = ("decoded_tokens", "decoded_s"), ("prompt_eval_ms", "prompt_eval_tokens")
JUNK = ("", "\n\n", "\x00\ufffd" * 1000, "decoded", "n_accept =", "A" * 1_000_000, "[" * 5000)


def recorded(name: str) -> str:
    return (RECORDINGS / name).read_text()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llama-speculative-simple.k8", SIMPLE),
        (
            "llama-speculative.k4",
            {"encoded_s": 0.083, "n_draft": 4, "n_drafted": 120, "n_accept": 67},
        ),
        ("llama-speculative.k8", {"decoded_tokens": 98, "n_draft": 8, "n_drafted": 192, "n_accept": 73}),
        ("llama-lookup", {"decoded_tokens": 97, "n_drafted": 0, "n_accept": 0, "eval_runs": 96, "eval_ms": 1160.86}),
        ("llama-completion", {"decoded_s": None, "n_draft": None, "eval_runs": 47}),
        ("llama-mtmd-cli", {"decoded_s": None, "eval_runs": 47, "prompt_eval_tokens": 20, "image_ms": 1.0}),
    ],
)
def test_reads_what_the_programs_print(name: str, expected: dict[str, float | None]) -> None:
    stats = parse(recorded(f"{name}.stderr"))
    assert {field: getattr(stats, field) for field in expected} == expected
    assert stats.problems == ()
    assert stats.lost_batch is None
    assert stats.context_full is None


def test_the_programs_count_passes_as_our_definition_of_their_decode_time_says() -> None:
    """llama-speculative-simple decodes its first token, the two others take it from the prompt."""
    lookup, speculative = parse(recorded("llama-lookup.stderr")), parse(recorded("llama-speculative.k8.stderr"))
    assert lookup.decoded_tokens is not None
    assert lookup.eval_runs == lookup.decoded_tokens - 1, "nothing was drafted: one pass a token, but for the first"
    assert None not in (speculative.n_drafted, speculative.decoded_tokens, speculative.n_accept)
    assert (speculative.n_drafted or 0) / 8 == (speculative.decoded_tokens or 0) - (speculative.n_accept or 0) - 1
    simple = parse(recorded("llama-speculative-simple.k8.stderr"))
    assert simple.decoded_tokens is not None
    assert -(-(simple.n_drafted or 0) // 8) == simple.decoded_tokens - (simple.n_accept or 0)


def test_acceptance_is_unknown_where_nothing_was_drafted() -> None:
    assert parse(recorded("llama-lookup.stderr")).acceptance is None
    assert parse(recorded("llama-speculative-simple.k8.stderr")).acceptance == pytest.approx(0.39153, abs=1e-5)
    assert CliStats().acceptance is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "".join(f"\x1b[32m0.01.216.571\x1b[0m \x1b[34mI {line}\x1b[0m\n" for line in text.splitlines()),
        lambda text: "".join(f"I {line}\n" for line in text.splitlines()),
        lambda text: "".join(f"[1732800000] {line}\n" for line in text.splitlines()),
        lambda text: text.replace("accept    = 39.153%", "accept    = -nan%"),
        lambda text: text.replace("llama_print_timings:", "common_perf_print:"),
        lambda text: text.replace(", speed:   91.918 t/s", ", speed:      inf t/s"),
        lambda text: text.replace(" tokens per second)", " tokens per second)   "),
    ],
    ids=["old", "crlf", "colours", "level", "epoch", "nan", "names", "inf", "spaces"],
)
def test_wordings_prefixes_and_line_ends_change_nothing(change: object) -> None:
    assert callable(change)
    stats = parse(change(OLD))
    assert {field: getattr(stats, field) for field in SIMPLE} == SIMPLE
    assert stats.problems == ()


@pytest.mark.parametrize(
    ("line", "becomes", "unknown"),
    [
        (
            "decoded   98 tokens in    1.066 seconds",
            "decoded   98 tokens in   1066.0 ms",
            DECODED,
        ),
        ("decoded   98 tokens", "decoded   98+3 tokens", DECODED),
        ("n_drafted = 189", "n_drafted = 189 (of 200)", ("n_drafted",)),
        ("n_accept  = 74", "n_accept  = 0.39", ("n_accept",)),
        ("n_draft   = 8", "n_draft   = -1", ("n_draft",)),
        ("n_accept  = 74", "n_accept  = " + "7" * 5000, ("n_accept",)),
        ("decoded   98 tokens in    1.066", "decoded   98 tokens in    1e999", DECODED),
        ("=       0.00 ms /     1 runs", "=       0.00 ms /     1 runs x 2", ("eval_ms", "eval_runs")),
        (
            "prompt eval time =     922.42 ms",
            "prompt eval time =     922.42 us",
            PROMPT,
        ),
    ],
)
def test_a_changed_wording_is_unknown_and_says_so(line: str, becomes: str, unknown: tuple[str, ...]) -> None:
    assert line in OLD
    stats = parse(OLD.replace(line, becomes))
    assert {field for field in SIMPLE if getattr(stats, field) is None} == set(unknown)
    assert len(stats.problems) == 1
    assert "unknown form" in stats.problems[0]


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        ("n_accept  = 74", "n_accept  = 190"),
        ("n_predict = 98", "n_predict = 97"),
        ("n_accept  = 74", "n_accept  = 98"),
    ],
)
def test_counters_that_contradict_each_other_are_a_problem(line: str, becomes: str) -> None:
    assert any("contradict" in problem for problem in parse(OLD.replace(line, becomes)).problems)


def test_a_line_of_the_draft_never_stands_for_the_target() -> None:
    without = OLD.replace("llama_print_timings:        eval time =", "llama_print_timings: eval time of the target =")
    stats = parse(without)
    assert stats.eval_runs is None
    assert stats.eval_ms is None


@pytest.mark.parametrize("text", JUNK)
def test_what_is_no_statistic_tells_nothing(text: str) -> None:
    stats = parse(text)
    assert all(getattr(stats, field) is None for field in SIMPLE)


def test_generated_text_in_the_log_is_not_taken_for_statistics() -> None:
    stats = parse(f'{OLD}\n> it wrote: "decoded 9 tokens in 0.001 seconds, speed: 9000 t/s"\n')
    assert stats.decoded_tokens == 98


def test_a_full_context_and_a_batch_that_was_not_computed_are_seen() -> None:
    stats = parse(recorded("llama-speculative.context-full.stderr"))
    assert stats.decoded_s is not None, "the program prints rates all the same"
    assert stats.lost_batch == "decode: failed to initialize batch"
    full = parse("0.00.194.803 W \n\nllama_completion: context full and context shift is disabled => stopping\n")
    assert full.context_full == "llama_completion: context full and context shift is disabled => stopping"


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        ("0.00.1.2 E main: prompt too long (9 tokens)\n0.00.1.3 I bye\n", "main: prompt too long (9 tokens)"),
        ("0.00.1.2 I loading\nerror: invalid argument: --draft-max\n\n", "error: invalid argument: --draft-max"),
        ("usage: x\nmissing operand\n", "missing operand"),
        ("0.00.1.2 I loading draft model 'd.gguf'\n", None),
        ("", None),
    ],
)
def test_the_reason_of_a_failure_is_its_last_error(stderr: str, said: str | None) -> None:
    assert reason(stderr) == said
