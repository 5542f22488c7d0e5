"""What one engine cannot serve goes to another, under a configuration and with a baseline of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from specdash.config.load import load_profile
from specdash.core import plan as core_plan
from specdash.core.engine import Engine, EngineInfo
from specdash.core.events import EngineFound
from specdash.core.methods import BASELINE
from specdash.core.plan import LoadKey, Step
from specdash.session.fallback import Engines, with_fallback
from specdash.session.plan_time import plan_time
from specdash.session.prepare import Prepared, only_possible, prepare
from specdash.session.prompt_lengths import findings_of
from specdash.session.run_header import _samples_of, initial_facts

PROFILE = """
[[targets]]
label = "T"
path = "t.gguf"
[[drafts]]
label = "D"
path = "d.gguf"
[sweep]
methods = ["draft", "lookup"]
k = [4]
[measure]
categories = ["coding", "math"]
"""


@dataclass(frozen=True)
class Stub:
    """An engine of which only its name and its refusals are asked."""

    kind: str
    refuses: frozenset[str] = frozenset()
    refuses_images: bool = True
    version: str = "1"

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(self.kind, self.kind, self.version, "", None)

    def unsupported_reason(self, key: LoadKey, *, vision: bool = False) -> str | None:
        if vision and self.refuses_images:
            return f"{self.kind} takes no images"
        method = key.method or ("draft" if key.draft else BASELINE)
        return f"{self.kind} has no {method}" if method in self.refuses else None


def engine(kind: str, *refuses: str, **more: Any) -> Engine:
    return cast(Engine, Stub(kind, frozenset(refuses), **more))


def prepared(tmp_path: Path, text: str = PROFILE) -> Prepared:
    path = tmp_path / "p.toml"
    path.write_text(text)
    return prepare(load_profile(path))


def named(steps: tuple[Step, ...]) -> list[tuple[str, str | None, str]]:
    return [(step.method, step.config, step.category) for step in steps]


def test_what_the_engine_can_serve_stays_and_the_other_is_not_even_looked_for(tmp_path: Path) -> None:
    before = prepared(tmp_path)
    looked: list[bool] = []

    def look() -> Engine | None:
        looked.append(True)
        return engine("other")

    after, engines, notes = with_fallback(before, engine("main"), look)
    assert (after, notes, looked) == (before, (), [])
    assert engines.of(before.steps[0].pair) is engines.main


def test_steps_that_fall_back_get_a_configuration_and_a_baseline_of_their_own(tmp_path: Path) -> None:
    before = prepared(tmp_path)
    after, engines, notes = with_fallback(before, engine("main", "lookup"), lambda: engine("other"))
    assert named(after.steps) == [
        (BASELINE, None, "coding"),
        (BASELINE, None, "math"),
        ("draft", None, "coding"),
        ("draft", None, "math"),
        (BASELINE, "other", "coding"),
        ("lookup", "other", "coding"),
        (BASELINE, "other", "math"),
        ("lookup", "other", "math"),
    ]
    for step in after.steps:
        assert engines.of(step.pair).info.kind == ("other" if step.config == "other" else "main")
        assert step.baseline() in after.steps, "compared with a baseline of the same engine"
    assert notes == ("measured by other, with a baseline of its own, as configuration 'other': main has no lookup",)
    assert [config.engine for config in after.profile.configs] == ["other"]


def test_without_a_planned_baseline_none_is_added(tmp_path: Path) -> None:
    before = prepared(tmp_path, PROFILE.replace("[sweep]", "[sweep]\nbaseline = false"))
    after, _, _ = with_fallback(before, engine("main", "lookup"), lambda: engine("other"))
    assert all(step.method != BASELINE for step in after.steps)


def test_what_neither_can_serve_stays_to_be_skipped_with_its_reason(tmp_path: Path) -> None:
    before = prepared(tmp_path)
    main = engine("main", "lookup")
    finders: tuple[Callable[[], Engine | None], ...] = (lambda: None, lambda: engine("other", "lookup"))
    for find_other in finders:
        after, engines, notes = with_fallback(before, main, find_other)
        assert (after, notes) == (before, ())
        assert engines.unsupported_reason(after.steps[-1], vision=False) == "main has no lookup"


def test_a_configuration_keeps_its_arguments_and_no_name_is_taken_twice(tmp_path: Path) -> None:
    configs = '[[configs]]\nlabel = "q8"\nargs = ["-ctk", "q8_0"]\n[[configs]]\nlabel = "q8, other"\n'
    before = prepared(tmp_path, PROFILE + configs)
    after, engines, _ = with_fallback(before, engine("main", "lookup"), lambda: engine("other"))
    labels = [config.label for config in after.profile.configs]
    assert labels == ["q8", "q8, other", "q8, other 2", "q8, other, other"]
    assert after.profile.configs[2].args == ("-ctk", "q8_0")
    assert engines.labels == {"q8, other 2", "q8, other, other"}


def test_a_vision_model_falls_back_with_its_baseline(tmp_path: Path) -> None:
    (tmp_path / "mm.gguf").write_bytes(b"")
    before = prepared(tmp_path, PROFILE.replace('path = "t.gguf"', 'path = "t.gguf"\nmmproj = "mm.gguf"'))
    other = engine("other", "draft", "lookup", refuses_images=False)
    after, engines, _ = with_fallback(before, engine("main"), lambda: other)
    assert [each for each in named(after.steps) if each[1] == "other"] == [
        (BASELINE, "other", "coding"),
        (BASELINE, "other", "math"),
    ]
    left = [step for step in after.steps if step.config is None]
    assert {step.method for step in left} == {"draft", "lookup"}
    assert engines.unsupported_reason(left[0], vision=True) == "main takes no images"


def test_engines_of_a_run_without_a_fallback() -> None:
    engines = Engines(engine("main"))
    assert engines.info(LoadKey.of("T", config="other")).kind == "main"


def test_samples_of_a_listed_step_stay_with_it_when_it_falls_back(tmp_path: Path) -> None:
    listed = (
        PROFILE.partition("[sweep]")[0]
        + """
[[queue]]
target = "T"
categories = ["coding"]
[[queue]]
target = "T"
method = "lookup"
k = [4]
categories = ["coding"]
iterations = 7
"""
    )
    after, _, _ = with_fallback(prepared(tmp_path, listed), engine("main", "lookup"), lambda: engine("other"))
    moved = next(step for step in after.steps if step.method == "lookup")
    assert _samples_of(after)[moved.id] == 7


def test_an_unknown_version_is_no_other_version() -> None:
    told = EngineFound("openai", "http://x", "0.32", "vLLM")
    silent = Engines(cast(Engine, Stub("openai", version="unknown")), recorded=told)
    assert silent.main_info.version == "0.32"
    other = Engines(cast(Engine, Stub("openai", version="0.33")), recorded=told)
    assert other.main_info.version == "0.33"


def test_the_plan_of_a_profile_is_made_once_and_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Counter[str]()

    def counted(name: str) -> Callable[..., Any]:
        made = getattr(core_plan, name)

        def call(*args: Any, **more: Any) -> Any:
            calls[name] += 1
            return made(*args, **more)

        return call

    (tmp_path / "p.toml").write_text(PROFILE)
    profile = load_profile(tmp_path / "p.toml")  # its text is checked before any model is read
    for name in ("steps_of", "iterations_of"):
        monkeypatch.setattr(core_plan, name, counted(name))
    after, engines, _ = with_fallback(prepare(profile), engine("main", "lookup"), lambda: engine("other"))
    found = only_possible(after)
    assert not found.fewer_samples
    assert plan_time(found, None, found.loads(None), is_probed=True) is None, "the models are not here"
    findings_of(found, None, {})
    initial_facts(tmp_path, found, engines, {}, "pc")
    assert calls == {"steps_of": 1, "iterations_of": 1}
