"""Methods without a draft model on llama-server: which flags a build gets, and what it is refused for."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from specdash.core.engine import Endpoint, EngineInfo, Request, ServerSpec
from specdash.core.events import K_PLACE
from specdash.core.methods import METHODS, SIZED, needs_draft_model
from specdash.core.plan import LoadKey
from specdash.engines.llama_cpp import methods as llama_methods
from specdash.engines.llama_cpp.flags import CURRENT, OLD, Flags, parse_help, read_spec_types
from specdash.engines.llama_cpp.server import KIND, PARAMS, LlamaServer, request_body
from specdash.engines.params import Value, request_fields, stage_values, start_words, values_in

DATA = Path(__file__).parents[1] / "data" / "help"
HELP = {
    CURRENT: (DATA / "llama-server.b11669.txt").read_text("utf-8"),
    OLD: (DATA / "embedded.xllamacpp-0.2.14.txt").read_text("utf-8"),
}
NGRAMS = ("ngram-cache", "ngram-map-k", "ngram-map-k4v", "ngram-mod", "ngram-simple")
HEADS = ("draft-dflash", "draft-dspark", "draft-eagle3", "draft-mtp", "draft-simple")


def flags_of(text: str, dialect: str) -> Flags:
    known, removed = parse_help(text)
    return Flags(known, removed, dialect, read_spec_types(text))


FLAGS = {dialect: flags_of(text, dialect) for dialect, text in HELP.items()}


def key(method: str, ngram_n: int | None = None, k: int = 8, draft: str | None = None) -> LoadKey:
    return LoadKey.of(
        "T", k, draft=draft or ("D" if needs_draft_model(method) else None), method=method, ngram_n=ngram_n
    )


def told(method: str, ngram_n: int | None = None, dialect: str = CURRENT) -> list[str]:
    return llama_methods.stage_words(key(method, ngram_n), "8", FLAGS[dialect])


def engine(dialect: str = CURRENT) -> LlamaServer:
    info = EngineInfo(KIND, "llama-server", "b1", dialect, None)
    return LlamaServer(("llama-server",), info, FLAGS[dialect], "filler")


def spec(load: LoadKey) -> ServerSpec:
    draft = Path("/D.gguf") if load.draft is not None else None
    return ServerSpec(load, Path("/T.gguf"), draft, "llama", False, (), {}, (), 1, 10.0, "")


def test_what_spec_type_takes_is_read_in_both_forms() -> None:
    assert read_spec_types(HELP[CURRENT]) == (
        "none", "draft-simple", "draft-eagle3", "draft-mtp", "draft-dflash", "draft-dspark", "ngram-simple",
        "ngram-map-k", "ngram-map-k4v", "ngram-mod", "ngram-cache",
    )  # fmt: skip
    assert set(read_spec_types(HELP[OLD])) == {"none", *NGRAMS}
    assert read_spec_types("--spec-type TYPE   one of a, b\n  see --spec-type a,b\n") == ()
    assert read_spec_types("") == ()


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("ngram", "--spec-type ngram-simple {simple}"),
        ("ngram-simple", "--spec-type ngram-simple {simple}"),
        (
            "ngram-map-k4v",
            "--spec-type ngram-map-k4v --spec-ngram-map-k4v-size-n 4 --spec-ngram-map-k4v-size-m 8"
            " --spec-ngram-map-k4v-min-hits 1",
        ),
        (
            "ngram-mod",
            "--spec-type ngram-mod --spec-ngram-mod-n-match 4 --spec-ngram-mod-n-max 8 --spec-ngram-mod-n-min 0",
        ),
        ("lookup", "--spec-type ngram-cache {draft}"),
        ("ngram-cache", "--spec-type ngram-cache {draft}"),
        ("mtp", "--spec-type draft-mtp {draft}"),
        ("eagle3", "--spec-type draft-eagle3 {draft}"),
        ("dflash", "--spec-type draft-dflash {draft}"),
        ("dspark", "--spec-type draft-dspark {draft}"),
    ],
)
def test_the_flags_of_today(method: str, expected: str) -> None:
    simple = "--spec-ngram-simple-size-n 4 --spec-ngram-simple-size-m 8 --spec-ngram-simple-min-hits 1"
    draft = "--spec-draft-n-max 8 --spec-draft-n-min 0 --spec-draft-p-min 0"
    size = 4 if method in SIZED else None
    assert told(method, size) == expected.format(simple=simple, draft=draft).split()


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (
            "ngram-simple",
            "--spec-type ngram-simple --spec-ngram-size-n 4 --spec-ngram-size-m 8 --spec-ngram-min-hits 1"
            " --draft-max 8",
        ),
        ("ngram-mod", "--spec-type ngram-mod --spec-ngram-size-n 4 --draft-max 8 --draft-min 0"),
        ("lookup", "--spec-type ngram-cache --draft-max 8 --draft-min 0 --draft-p-min 0"),
    ],
)
def test_the_flags_of_early_2026(method: str, expected: str) -> None:
    assert told(method, 4 if method in SIZED else None, OLD) == expected.split()


def test_a_size_that_nobody_set_is_left_to_the_program() -> None:
    for method, dialect in product(sorted(SIZED), (CURRENT, OLD)):
        assert not [word for word in told(method, None, dialect) if word.endswith(("size-n", "n-match"))]


@pytest.mark.parametrize("dialect", [CURRENT, OLD])
@pytest.mark.parametrize("method", [method for method in METHODS if method != "draft"])
def test_only_flags_of_the_help_are_passed(method: str, dialect: str) -> None:
    passed = [word for word in told(method, 4 if method in SIZED else None, dialect) if word.startswith("--")]
    assert all(flag in FLAGS[dialect] for flag in passed)
    assert len(passed) == len(set(passed))


def test_a_build_between_the_two_gets_the_names_that_its_help_lists() -> None:
    between = (
        "--spec-type none,draft-simple,ngram-simple,ngram-mod\n--spec-draft-n-max N   K\n--spec-ngram-size-n N   n\n"
        "--spec-ngram-size-m N   m\n"
    )
    flags = flags_of(between, CURRENT)
    assert llama_methods.stage_words(key("ngram-simple", 4), "8", flags) == [
        "--spec-type", "ngram-simple", "--spec-ngram-size-n", "4", "--spec-ngram-size-m", "8",
    ]  # fmt: skip
    assert llama_methods.unsupported_reason(key("ngram-simple", 4), flags, "server") is None


def test_a_method_that_came_later_gets_flags_named_as_others_are() -> None:
    text = (
        "--spec-type none,ngram-tree,ngram-web,draft-next\n--spec-draft-n-max N   K\n--spec-ngram-tree-size-n N   n\n"
        "--spec-ngram-tree-size-m N   m\n--spec-ngram-web-n-max N   m\n"
    )
    flags = flags_of(text, CURRENT)
    found = {
        method: llama_methods.stage_words(key(method, size), "8", flags)[2:]
        for method, size in (("ngram-tree", 3), ("ngram-web", None), ("draft-next", None))
    }
    assert found == {
        "ngram-tree": ["--spec-ngram-tree-size-n", "3", "--spec-ngram-tree-size-m", "8"],
        "ngram-web": ["--spec-ngram-web-n-max", "8"],
        "draft-next": ["--spec-draft-n-max", "8"],
    }
    assert "no flag for the size of a looked-up n-gram" in (
        llama_methods.unsupported_reason(key("ngram-web", 3), flags, "server") or ""
    )


# --- what a build cannot do


@pytest.mark.parametrize("method", [*METHODS[1:]])
def test_the_build_of_today_has_them_all(method: str) -> None:
    assert engine().unsupported_reason(key(method)) is None


@pytest.mark.parametrize("method", ["mtp", "eagle3", "dflash"])
def test_what_an_older_build_lacks_is_said_with_what_it_has(method: str) -> None:
    reason = engine(OLD).unsupported_reason(key(method)) or ""
    assert reason.startswith(f"llama-server has no {method}: its --spec-type takes ngram-cache, ngram-simple")


def test_a_build_without_other_methods() -> None:
    flags = flags_of("-m, --model FNAME   m\n--draft-max N   K\n", OLD)
    reason = llama_methods.unsupported_reason(key("ngram"), flags, "server")
    assert reason == "server has no ngram: its --help lists no --spec-type, only flags for draft models"


def test_a_size_for_a_method_without_one_and_a_head_that_is_missing() -> None:
    assert "leave ngram_n out" in (engine().unsupported_reason(key("lookup", 4)) or "")
    assert "leave ngram_n out" in (engine().unsupported_reason(key("mtp", 4)) or "")
    without = LoadKey.of("T", 8, method="eagle3")
    assert "a model of its own" in (engine().unsupported_reason(without) or "")


def test_a_build_that_lists_a_method_and_no_flag_for_its_length() -> None:
    flags = flags_of("--spec-type none,ngram-simple\n", CURRENT)
    assert "no flag for the draft length" in (
        llama_methods.unsupported_reason(key("ngram-simple"), flags, "server") or ""
    )


# --- command lines


def test_a_command_names_no_draft_and_has_k_and_size() -> None:
    argv = engine().command(spec(key("ngram-mod", 3)), Endpoint(8080, "nonce"))
    assert argv[:3] == ("llama-server", "-m", "/T.gguf")
    assert "-md" not in argv
    assert argv[3:11] == (
        "--spec-type", "ngram-mod", "--spec-ngram-mod-n-match", "3", "--spec-ngram-mod-n-max", "8",
        "--spec-ngram-mod-n-min", "0",
    )  # fmt: skip


def test_a_head_is_the_draft_of_its_method() -> None:
    argv = engine().command(spec(key("eagle3")), Endpoint(8080, "nonce"))
    assert argv[1:7] == ("-m", "/T.gguf", "-md", "/D.gguf", "--spec-type", "draft-eagle3")
    assert argv.count("--spec-type") == 1


def test_a_command_to_paste_leaves_k_open() -> None:
    argv = engine().command_to_paste(spec(key("ngram-simple", 4)))
    assert argv[argv.index("--spec-ngram-simple-size-m") + 1] == K_PLACE
    assert argv[argv.index("--spec-ngram-simple-size-n") + 1] == "4"
    old = engine(OLD).command_to_paste(spec(key("ngram-simple", 4)))
    assert old.count(K_PLACE) == 2  # the longest draft of all, and that of this method


def test_every_parameter_says_what_it_is_for_and_where_a_profile_sets_it() -> None:
    for param in PARAMS:
        assert param.help
        assert param.name not in ("k", "ngram_n") or param.key in ("sweep.k", "sweep.ngram_n")
    listed = {flag for param in PARAMS for flag in param.flags.values()}
    sizes = {flag for flag in FLAGS[CURRENT].known if flag.startswith("--spec-ngram-")}
    assert sizes <= listed


@pytest.mark.parametrize("name", ["k", "n_min", "p_min"])
@pytest.mark.parametrize("dialect", [CURRENT, OLD])
def test_a_parameter_is_one_row_which_makes_the_flag_and_the_field(name: str, dialect: str) -> None:
    """Whoever adds an axis gives a load and a request an attribute of the row's name."""
    row = next(row for row in llama_methods.SPECULATION if row.name == name)
    values: dict[str, Value] = {"k": 5, "n_min": 2, "p_min": 0.75}
    words = start_words(llama_methods.SPECULATION, values, lambda param: llama_methods.flag_of(param, FLAGS[dialect]))
    assert words[words.index(row.flags[dialect]) + 1] == f"{values[name]:g}"
    assert request_fields(llama_methods.SPECULATION, values)[str(row.field)] == values[name]
    by_default = request_fields(llama_methods.SPECULATION, {"k": 5})
    assert by_default == {"speculative.n_max": 5, "speculative.n_min": 0, "speculative.p_min": 0.0}


def test_values_are_those_of_the_rows_names() -> None:
    assert stage_values(llama_methods.METHODS["ngram-simple"], key("ngram-simple", 4).stages) == {"ngram_n": 4}
    stages = LoadKey.of("T", 8, draft="D", p_min=0.75).stages
    assert stage_values(llama_methods.SPECULATION, stages) == {"n_min": 0, "p_min": 0.75}
    assert stage_values(llama_methods.SPECULATION, ()) == {}
    request = Request("Hello", 16, 0.0, 1, None)
    assert values_in(llama_methods.SAMPLING, request) == {"max_tokens": 16, "temperature": 0.0, "seed": 1}
    assert request_body(request).items() >= {"prompt": "Hello", "n_predict": 16, "temperature": 0.0, "seed": 1}.items()
    assert not [field for field in request_body(request, stages) if field.startswith("speculative.")]
    with_k = request_body(Request("Hello", 16, 0.0, 1, 5), stages)
    assert with_k.items() >= {"speculative.n_max": 5, "speculative.n_min": 0, "speculative.p_min": 0.75}.items()
