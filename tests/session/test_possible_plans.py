"""What a plan leaves out since a method cannot do it, what an edit of the queue is refused for, and older plans."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from specdash.config.load import load_profile
from specdash.core import commands as cmd
from specdash.core.plan import Step
from specdash.core.queue import IllegalEdit
from specdash.core.step_state import StepState
from specdash.session.catalogue import Catalogue
from specdash.session.fallback import Engines
from specdash.session.prepare import Prepared, only_possible, prepare
from specdash.session.run_header import _samples_of

PROFILE = """
[[targets]]
label = "T"
path = "t.gguf"
[sweep]
methods = ["ngram-simple", "ngram-cache", "ngram-mod"]
k = {k}
[measure]
categories = ["coding"]
iterations = 99
"""


def prepared(tmp_path: Path, text: str, **more: Any) -> Prepared:
    path = tmp_path / "p.toml"
    path.write_text(text)
    return prepare(load_profile(path), **more)


def ks(found: Prepared) -> list[tuple[str, int | None]]:
    return [(step.method, step.k) for step in found.steps if step.k is not None]


def test_a_plan_has_the_ks_that_a_method_can_have(tmp_path: Path) -> None:
    found = only_possible(prepared(tmp_path, PROFILE.format(k="[4, 16, 64]")))
    wanted = [("ngram-simple", 16), ("ngram-simple", 64), ("ngram-cache", 8), *(("ngram-mod", k) for k in (4, 16, 64))]
    assert ks(found) == wanted
    assert found.unserved == ()
    none = only_possible(prepared(tmp_path, PROFILE.format(k="[2, 4]")))
    assert [method for method, _ in ks(none)] == ["ngram-mod", "ngram-mod"]
    assert none.unserved == (), "it is told that its Ks were left out, and not that nothing was planned for it"
    assert [each.method for each in none.left_out] == ["ngram-simple", "ngram-cache"]


def test_a_method_that_remembers_takes_one_sample_of_each_prompt(tmp_path: Path) -> None:
    found = only_possible(prepared(tmp_path, PROFILE.format(k="[16]")))
    prompts = len(found.prompts["coding"])
    counts = {step.method: _samples_of(found).get(step.id) for step in found.steps}
    assert counts == {"baseline": None, "ngram-simple": None, "ngram-cache": None, "ngram-mod": prompts}
    (line,) = found.fewer_samples
    assert line.startswith(f"ngram-mod: {prompts} samples of a step at most")


def test_samples_of_a_listed_step_stay_with_it_under_the_k_that_it_has(tmp_path: Path) -> None:
    text = (
        PROFILE.partition("[sweep]")[0] + '[[queue]]\ntarget = "T"\nmethod = "ngram-cache"\nk = [16]\niterations = 7\n'
    )
    found = only_possible(prepared(tmp_path, text))
    assert [(step.k, _samples_of(found)[step.id]) for step in found.steps] == [(8, 7)] * len(found.steps)


def test_a_run_of_a_version_that_planned_every_k_is_still_known(tmp_path: Path) -> None:
    """Resuming compares the steps of the run with those that its profile asks for."""
    listed = prepared(tmp_path, PROFILE.format(k="[4, 16]"), as_before=True)
    assert ks(listed) == [(method, k) for method in ("ngram-simple", "ngram-cache", "ngram-mod") for k in (4, 16)]
    auto = prepared(tmp_path, PROFILE.format(k='"auto"'), as_before=True)
    assert ks(auto)[:4] == [("ngram-simple", k) for k in (2, 4, 8, 16)]


class Everything:
    """Engines that refuse nothing."""

    def unsupported_reason(self, step: Step, *, vision: bool) -> None:
        """Nothing speaks against a step."""


async def test_an_edit_that_asks_for_what_a_method_cannot_do_is_refused_with_the_reason(tmp_path: Path) -> None:
    found = only_possible(prepared(tmp_path, PROFILE.format(k="[16]")))
    catalogue = Catalogue(found, cast(Engines, Everything()))
    by_method = {step.method: step for step in found.steps}
    steps = {step.id: StepState(step) for step in found.steps}
    simple, remembering = by_method["ngram-simple"], by_method["ngram-mod"]
    prompts = len(found.prompts["coding"])

    async def refused(edit: cmd.Edit) -> str:
        with pytest.raises(IllegalEdit) as raised:
            await catalogue.admit([edit], steps)
        return str(raised.value)

    other = Step.of(simple.target, method="ngram-simple", k=4, category="coding")
    assert "K=4: ngram-simple drops drafts shorter than its n-gram of 12 tokens" in await refused(cmd.Add((other,)))
    cached = Step.of(simple.target, method="ngram-cache", k=16, category="coding")
    assert "K=16: ngram-cache drafts 8 tokens at most" in await refused(cmd.Add((cached,)))
    more = cmd.SetIterations((remembering.id,), prompts + 1)
    assert f"coding gives {prompts}" in await refused(more)
    assert await catalogue.admit([cmd.SetIterations((remembering.id,), prompts)], steps) == []
    assert await catalogue.admit([cmd.SetIterations((simple.id,), prompts + 1)], steps) == []
