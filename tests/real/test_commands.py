"""`specdash demo` and `specdash doctor` on real llama.cpps, and the accuracy of what is measured on a model of size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from specdash.core.reduce import fold_all
from specdash.engines.demo import Shape, write_pair
from specdash.store.journal import read
from tests.support.machine import Run, assert_complete, assert_each_block_once, assert_well_behaved
from tests.support.real_machine import Real

pytestmark = pytest.mark.real
# The command as it is, with smaller models, shorter answers and fewer threads: other tests need processors too.
SMALL_DEMO = """
import sys
from functools import partial
from specdash.cli import demo as command, main
from specdash.engines import demo
demo.write_pair = partial(demo.write_pair, shape=demo.TINY)
demo.write_moe = partial(demo.write_moe, shape=demo.Shape(width=64, ffn=96, layers=3, head=32, experts=8))
settings_of = command._settings
def settings(*arguments, **options):
    found = settings_of(*arguments, **options)
    found["engine"]["args"] += ["-t", "1", "-tb", "1"]
    found["measure"] |= {"max_tokens": 48, "iterations": 2}
    return found
command._settings = settings
sys.argv = ["specdash", *sys.argv[1:]]
sys.exit(main())
"""


def test_the_demo(machine: Real, embedded_available: None) -> None:
    """Each target with a draft of its own; expert counts are left alone, since the built-in engine cannot set them."""
    command = [sys.executable, "-c", SMALL_DEMO, "demo", "--moe", "--models", "models", "--results", "out"]
    done = subprocess.run(
        command, cwd=machine.folder, env=machine.environment(), capture_output=True, text=True, timeout=90, check=False
    )
    run = Run(done.returncode, done.stdout, done.stderr)
    assert_well_behaved(run)
    assert run.code == 0, run.stderr
    (run.path,) = (machine.folder / "out").iterdir()
    run.records = read(run.path / "journal.jsonl").records
    run.view = fold_all(run.records)
    assert_complete(run)
    assert_each_block_once(run, 2)
    loads = [(load.key.target, load.key.draft, load.key.k_startup) for load in run.view.loads.values()]
    expected = [
        (f"{name} target", draft, k)
        for name in ("demo", "demo MoE")
        for draft, k in ((None, None), *((f"{name} draft", k) for k in (8, 4, 2)))
    ]
    assert sorted(loads, key=str) == sorted(expected, key=str)
    assert {load.key.value("moe_experts") for load in run.view.loads.values()} == {None}
    assert {found.step.category for found in run.view.steps.values()} == {"coding", "repetitive", "conversation"}
    assert {(each["k"], each["k_seen"]) for each in run.result["measurements"]} == {(k, k) for k in (None, 2, 4, 8)}
    assert "their text means nothing" in run.stderr
    assert "synthetic" in (run.path / "report.md").read_text()
    assert (machine.folder / "models" / "demo.toml").is_file()


def test_the_doctor_finds_out_who_decides_k(
    machine: Real, llama_server: Path, embedded_available: None, old_xllamacpp_python: Path
) -> None:
    old = f"embedded:{old_xllamacpp_python}"
    done = machine.start("doctor", "--json", "--program", llama_server, "--program", old).end()
    assert done.code == 0, done.stderr
    found = {each["what"]: each for each in json.loads(done.stdout)}
    words = {program: found[f"{program}, K scope"] for program in (str(llama_server), "embedded", old)}
    assert {program: each["found"].split()[0] for program, each in words.items()} == {
        str(llama_server): "startup",
        "embedded": "startup",
        old: "request",
    }
    assert {each["state"] for each in words.values()} == {"ok"}


@pytest.fixture(scope="session")
def sized_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Models that take milliseconds for a token, as small real ones do."""
    return write_pair(tmp_path_factory.mktemp("sized"), shape=Shape(width=512, ffn=1024, layers=4))


@pytest.mark.parametrize("build", ["b11669", pytest.param("current", marks=pytest.mark.slow), "0.2.14"])
def test_rates_and_clocks(
    machine: Real,
    sized_pair: tuple[Path, Path],
    build: str,
    llama_server: Path,
    embedded_available: None,
    old_xllamacpp_python: Path,
) -> None:
    """decode tok/s is (n - 1) / decode time, and the server's clock and ours tell the same."""
    program = {"b11669": llama_server, "current": "embedded", "0.2.14": f"embedded:{old_xllamacpp_python}"}[build]
    run = machine.run(machine.profile(program, {"T": sized_pair[0]}, {"D": sized_pair[1]}, measure={"max_tokens": 64}))
    assert_complete(run)
    assert run.code == 0, run.stderr
    for found in run.view.steps.values():
        for sample in found.good:
            assert (sample.clock, sample.generated_tokens, sample.cached_tokens) == ("server", 64, 0)
            prefill_s, decode_s = known(sample.prefill_time_s), known(sample.decode_time_s)
            total_s, prompt = known(sample.total_time_s), known(sample.prompt_tokens)
            assert sample.decode_tok_s == pytest.approx(63 / decode_s, rel=0.01)
            assert sample.client_decode_tok_s == pytest.approx(63 / known(sample.client_decode_time_s), rel=0.01)
            assert sample.throughput_tok_s == pytest.approx((prompt + 64) / total_s, rel=0.01)
            assert sample.prefill_tok_s == pytest.approx(prompt / prefill_s, rel=0.01)
            assert prefill_s <= known(sample.ttft_s) <= total_s
            assert prefill_s + decode_s <= total_s, "the server's account fits into the time that passed here"
        assert "clocks_disagree" not in found.verdicts


def known(value: float | None) -> float:
    assert value is not None
    return value
