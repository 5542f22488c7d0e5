"""What methods without a draft model can do with a K, and what becomes of a plan that asks for more."""

from __future__ import annotations

import pytest

from specdash.core.axes import Values
from specdash.core.draft_lengths import Abilities, ks_to_try
from specdash.core.engine_kinds import kind_named
from specdash.core.plan import Step, possible

STEP = Step.of("T", method="ngram-simple", k=4, category="coding")
SERVER = "llama-server"


def abilities(kind: str, method: str, args: tuple[str, ...] = ()) -> Abilities:
    return kind_named(kind).abilities_of(method, args)


def taken(method: str, *ks: int, ngram_n: int | None = None, kind: str = SERVER) -> list[int | None]:
    return [abilities(kind, method).k_taken(k, {"ngram_n": ngram_n}) for k in ks]


def test_drafts_shorter_than_the_n_gram_are_dropped_by_ngram_simple() -> None:
    """12 tokens where nobody sets the size; seen on b11669: nothing at K 11, up to 12 at K 12."""
    assert taken("ngram-simple", 2, 8, 11, 12, 64) == [None, None, None, 12, 64]
    assert taken("ngram", 11, 12) == [None, 12], "llama.cpp's ngram is that one"
    assert taken("ngram-simple", 2, 4, 8, ngram_n=4) == [None, 4, 8]
    assert "drops drafts shorter than its n-gram of 12 tokens: ask for K = 12 or more" in str(
        abilities(SERVER, "ngram-simple").why_not(8)
    )


def test_ngram_cache_drafts_eight_whatever_k_is() -> None:
    assert taken("ngram-cache", 2, 4, 7, 8, 16, 64) == [None, None, None, 8, 8, 8]
    assert taken("lookup", 4, 16) == [None, 8], "the same on llama-server"
    assert taken("lookup", 4, 16, kind="llama-cli") == [4, 16], "llama-lookup obeys"
    assert abilities(SERVER, "ngram-cache").why_not(4) == "drafts up to 8 tokens, whatever K is: ask for K = 8"
    assert abilities(SERVER, "ngram-cache").why_not(16) == "drafts 8 tokens at most, whatever K is"
    assert abilities(SERVER, "ngram-cache").why_not(8) is None


@pytest.mark.parametrize("method", ["ngram-map-k", "ngram-map-k4v", "ngram-mod", "mtp", "ngram-x"])
def test_other_methods_can_have_every_k(method: str) -> None:
    assert taken(method, 1, 2, 64) == [1, 2, 64]


def test_nothing_is_left_out_of_servers_of_which_nothing_is_known_nor_where_args_set_the_size() -> None:
    for kind in ("mlx", "script", "openai", "?"):
        assert taken("ngram", 1, 4, kind=kind) == [1, 4]
        assert kind_named(kind).keeping_history == frozenset()
    for args in (("--spec-ngram-simple-size-n", "3"), ("--spec-ngram-simple-size-n=3",), ("--spec-ngram-size-n", "3")):
        assert abilities(SERVER, "ngram-simple", args).k_taken(4) == 4
    assert abilities(SERVER, "ngram-simple", ("--spec-ngram-mod-n-match", "3")).k_taken(4) is None


def test_only_a_server_that_lives_on_remembers() -> None:
    assert kind_named(SERVER).keeping_history == {"ngram-mod"}
    assert kind_named("llama-cli").keeping_history == frozenset()
    assert abilities(SERVER, "ngram-mod").most_samples(4) == 4
    assert abilities(SERVER, "ngram-simple").most_samples(4) is None


def test_two_ks_that_make_one_server_are_one_step_and_what_cannot_be_is_told() -> None:
    steps = [STEP.with_values(method="ngram-cache", k=k, category=each) for k in (4, 16, 64) for each in ("a", "b")]
    steps += [STEP.with_values(k=k) for k in (2, 4, 16)] + [STEP.baseline()]
    found = possible(steps, lambda step: abilities(SERVER, step.method))
    assert [(step.method, step.k, step.category) for step in found.steps] == [
        ("ngram-cache", 8, "a"), ("ngram-cache", 8, "b"), ("ngram-simple", 16, "coding"), ("baseline", None, "coding"),
    ]  # fmt: skip
    assert list(map(str, found.left_out)) == [
        "ngram-cache: K = 4 is left out, since it drafts up to 8 tokens, whatever K is: ask for K = 8",
        "ngram-cache: K = 16, 64 are measured as K = 8, since it drafts 8 tokens at most, whatever K is",
        "ngram-simple: K = 2, 4 are left out, since it drops drafts shorter than its n-gram of 12 tokens: ask for"
        " K = 12 or more, or a smaller ngram_n",
    ]
    assert found.was[found.steps[0].id] == steps[2].id, "the first that asked for it"


@pytest.mark.parametrize(
    ("method", "ngram_n", "max_tokens", "ks"),
    [
        ("ngram-simple", None, 256, (16, 48, 64)),
        ("ngram-simple", 3, 256, (4, 16, 48, 64)),
        ("ngram-map-k", None, 256, (4, 16, 48, 64)),
        ("ngram-map-k", None, 64, (4, 16, 48)),  # longer drafts have no room in an answer
        ("ngram-mod", None, 256, (4, 16, 64)),
        ("ngram-cache", None, 256, (8,)),
        ("mtp", None, 256, ()),
    ],
)
def test_auto_tries_what_a_method_can_draft_and_the_programs_own(
    method: str, ngram_n: int | None, max_tokens: int, ks: tuple[int, ...]
) -> None:
    assert ks_to_try(abilities(SERVER, method), method, Values({"ngram_n": ngram_n}), max_tokens) == ks
