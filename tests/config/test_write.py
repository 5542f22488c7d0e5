"""Profiles written: a new one that a newcomer can run, and an explicit one that loads as what it was made from."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specdash.config.load import check_profile, load_profile
from specdash.config.write import dump_profile, new_profile
from specdash.core.profile import EngineConfig, KMode, Limits, Measure, ModelRef, Profile, ServerConfig, Sweep


def checked(folder: Path, text: str) -> Profile:
    path = folder / "new.toml"
    path.write_text(text, encoding="utf-8")
    result = check_profile(path)
    assert result.problems == []
    assert result.profile is not None
    return result.profile


def test_new_profile_with_drafts(tmp_path: Path) -> None:
    target, draft = tmp_path / "Qwen2.5-72B-Q8_0.gguf", tmp_path / 'odd "name" {x}\\.gguf'
    text = new_profile(target, [draft, draft], program="embedded", model_class="dense-large", k=[2, 4, 8])
    profile = checked(tmp_path, text)
    assert profile.name == "Qwen2.5-72B-Q8_0"
    assert [(model.label, model.path) for model in profile.targets] == [("Qwen2.5-72B-Q8_0", target)]
    assert [(model.label, model.path) for model in profile.drafts] == [('odd "name" {x}\\', draft)]
    assert (profile.engine.program, profile.targets[0].model_class) == ("embedded", "dense-large")
    assert (profile.sweep.k, profile.sweep.methods) == ("auto", ("draft",))
    assert "here [2, 4, 8]" in text


def test_new_profile_explains_every_line(tmp_path: Path) -> None:
    text = new_profile(tmp_path / "a.gguf", [tmp_path / "b.gguf"])
    unexplained = [line for line in text.splitlines() if re.match(r"\w+ = ", line) and "  # " not in line]
    assert unexplained == []


@pytest.mark.parametrize("mode", ["auto", "curve", "search"])
def test_new_profile_takes_every_way_to_find_k_and_names_them_all(tmp_path: Path, mode: KMode) -> None:
    text = new_profile(tmp_path / "a.gguf", [tmp_path / "b.gguf"], sweep_k=mode)
    assert checked(tmp_path, text).sweep.k == mode
    assert all(f'"{each}"' in text for each in ("auto", "curve", "search"))


def test_new_profile_without_a_draft(tmp_path: Path) -> None:
    text = new_profile(tmp_path / "a.gguf", [])
    assert checked(tmp_path, text).sweep.methods == ()
    with_draft = re.sub(r"^# (\[\[drafts|label|path)", r"\1", text, flags=re.MULTILINE)
    profile = checked(tmp_path, with_draft.replace("methods = []", 'methods = ["draft"]'))
    assert [draft.label for draft in profile.drafts] == ["0.5B Q8_0"]


def test_new_profile_with_files_of_one_name(tmp_path: Path) -> None:
    text = new_profile(
        tmp_path / "x" / "model.gguf", [tmp_path / "y" / "model.gguf", tmp_path / "z" / "y" / "model.gguf"]
    )
    profile = checked(tmp_path, text)
    assert [model.label for model in profile.targets + profile.drafts] == ["model", "y model", "model 2"]


def test_dump_of_a_loaded_profile_loads_as_the_same(tmp_path: Path) -> None:
    for name in ("a.gguf", "b1.gguf", "b2.gguf"):
        (tmp_path / name).touch()
    source = tmp_path / "p.toml"
    source.write_text(
        "[[targets]]\npath = 'a.gguf'\n[[drafts]]\nlabel = 'B'\npath = 'b*.gguf'\n"
        "[sweep]\nk = [8, 2]\npairs = [['a', 'B']]\n[limits]\nmax_time = '1h'\nmemory = '1GiB'\n",
        encoding="utf-8",
    )
    profile = load_profile(source)
    assert len(profile.drafts) == 2
    elsewhere = tmp_path / "run"
    elsewhere.mkdir()
    again = checked(elsewhere, dump_profile(profile))
    assert again == profile
    assert again.source != profile.source


labels = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=8).filter(str.isprintable)
words = st.lists(labels.filter(lambda text: not text.startswith("-")), max_size=3).map(tuple)
auto: st.SearchStrategy[Any] = st.just("auto")
wholes = st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True).map(tuple)


@st.composite
def profiles(draw: st.DrawFn, base: Path = Path("/models")) -> Profile:
    names = draw(st.lists(labels, min_size=2, max_size=5, unique=True))
    split = draw(st.integers(1, len(names) - 1))
    models = [ModelRef(name, base / f"{index}.gguf") for index, name in enumerate(names)]
    targets, drafts = tuple(models[:split]), tuple(models[split:])
    pairs = draw(
        st.lists(st.sampled_from([(t.label, d.label) for t in targets for d in drafts]), min_size=1, unique=True)
    )
    limits = Limits(
        max_time=draw(st.none() | st.floats(1e-3, 1e9)),
        memory=draw(st.one_of(auto, st.integers(1, 2**50))),
        on_failure=draw(st.sampled_from(["continue", "stop"])),
        inhibit_sleep=draw(st.booleans()),
    )
    engine = EngineConfig(
        program=draw(st.sampled_from(["llama-server", "/opt/llama-server", "embedded", "embedded:/venv/bin/python"])),
        grace_s=draw(st.floats(0.1, 1e6)),
        args=draw(words),
        env=draw(st.dictionaries(st.sampled_from(["A", "B c"]), labels)),
        wrap=draw(st.sampled_from([(), ("/usr/bin/env", "x")])),
        port=draw(st.integers(0, 65535)),
        load_timeout_s=draw(st.sampled_from(["auto", 12.5])),
    )
    return Profile(
        name=draw(st.sampled_from(["x", "Qwen 2.5"])),
        hardware="auto",
        model_family=draw(labels),
        engine=engine,
        targets=tuple(replace(target, model_class=draw(st.sampled_from(["auto", "moe"]))) for target in targets),
        drafts=drafts,
        configs=tuple(ServerConfig(label, draw(words)) for label in draw(st.lists(labels, max_size=2, unique=True))),
        sweep=Sweep(
            k=draw(auto | wholes),
            lists=draw(st.dictionaries(st.sampled_from(["moe_experts", "depth"]), wholes)),
            baseline=draw(st.booleans()),
            pairs=draw(st.sampled_from(("all", tuple(pairs)))),
        ),
        measure=Measure(
            categories=draw(st.sampled_from(["all", ("coding", "math")])),
            temperature=draw(st.floats(0, 2)),
            iterations=draw(st.integers(1, 99)),
            timeout_s=draw(st.floats(0.1, 1e6)),
        ),
        limits=limits,
        results_dir=Path("/tmp/results"),
        source=Path("/p.toml"),
    )


@settings(max_examples=60, deadline=None)
@given(profiles())
def test_dump_and_load_are_inverse(tmp_path_factory: pytest.TempPathFactory, profile: Profile) -> None:
    folder = tmp_path_factory.mktemp("dump")
    assert checked(folder, dump_profile(profile)) == profile


def test_dump_leaves_nothing_to_defaults(tmp_path: Path) -> None:
    text = new_profile(tmp_path / "a.gguf", [tmp_path / "b.gguf"])
    table = tomllib.loads(dump_profile(checked(tmp_path, text)))
    assert set(table["sweep"]) == {"methods", "k", "moe_experts", "ngram_n", "depth", "baseline", "pairs"}
    assert {"k_scope", "load_timeout_s", "port", "stall_s"} <= set(table["engine"])
    assert {"prompts", "seed", "passes", "timeout_s"} <= set(table["measure"])
