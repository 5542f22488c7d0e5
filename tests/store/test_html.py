"""The HTML report: one file that asks for nothing, in which text is text, and which a real browser draws."""

from __future__ import annotations

import json
import math
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from specdash.analysis.result import Arm
from specdash.analysis.stats import Speedup
from specdash.core.plan import Step
from specdash.errors import StoreError
from specdash.report.arms import ResultOverview, rate_of
from specdash.report.chart_sections import shade
from specdash.store.disk import write_atomic
from specdash.store.result_json import from_document
from tests.support.browser import Browser, browser_program
from tests.support.rendering import to_html
from tests.support.report_documents import (
    draftbench_document,
    evil_document,
    failed_document,
    imported_document,
    many_measurements,
    run_document,
    single_sample_document,
)

MOST_BYTES = 6_000_000
DOCUMENTS = {
    "pair": run_document,
    "failed": failed_document,
    "single": single_sample_document,
    "imported": draftbench_document,
    "evil": evil_document,
}


class Reader(HTMLParser):
    """The elements of a page, its visible text by section, and where its elements are left open."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, str] = {"": ""}
        self._in: list[str] = []
        self._section = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "section":
            self._section = dict(attrs)["id"] or ""
            self.sections[self._section] = ""
        if tag in ("script", "style"):
            self._in.append(tag)
        elif tag in ("td", "th", "tr", "p", "li", "br", "dd", "small"):
            self.sections[self._section] += " "

    def handle_endtag(self, tag: str) -> None:
        if self._in and self._in[-1] == tag:
            self._in.pop()

    def handle_data(self, data: str) -> None:
        if not self._in:
            self.sections[self._section] += data

    def text(self, section: str) -> str:
        return " ".join(self.sections[section].split())

    def count(self, tag: str, **attributes: str) -> int:
        return sum(name == tag and attributes.items() <= found.items() for name, found in self.elements)


def figures_of(page: str) -> list[dict[str, Any]]:
    """The figures of a page as its script reads them."""
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return list(json.loads(found[1]))


# -- content ----------------------------------------------------------------------------------------------------------


def test_the_answer_comes_first_with_its_command() -> None:
    page = Reader(to_html(run_document()))
    assert re.search(
        r"72B Q8_0: 0\.5B, K = \d+\. Decodes [\d.]+ times as fast as no draft \(95 % interval", page.text("")
    )
    assert "llama-server -m '/models/72B Q8_0.gguf' -md '/models/0.5B.gguf'" in page.text("")
    assert page.count("button", **{"class": "copy"}) >= 1


def test_no_draft_is_an_answer() -> None:
    result = run_document()
    for each in result["recommendations"]:
        each.update(off=True, draft=None, k=None, speedup=None, ci95=None, reason="No draft gains.")
    assert "72B Q8_0: no draft. No draft gains." in Reader(to_html(result)).text("")


def test_every_section_has_its_figures() -> None:
    page = Reader(to_html(run_document(("72B", "7B"), ("0.5B", "1.5B"))))
    assert "2.00" not in page.text("rules")
    assert "did not hold" in page.text("rules")
    assert "-18" in page.text("curves")
    assert "Measured off the predicted line: K 4." in page.text("curves")
    assert "sweep.k = [16, 24, 32] goes on from here" in page.text("curves")
    assert re.search(r"72B 1\.5B \d+ output differs", page.text("lossless"))
    assert "smaller than four caches" in page.text("roofline")
    assert "41.3 GB/s" in page.text("roofline")
    assert "5 loads, 1 min 02 s of loading, 13 min 24 s of measuring, 3 min 10 s in all" in page.text("loads")
    assert "in all, without the time in which the run was stopped. One server start" in page.text("loads")
    assert "baselines: what everything is held against" in page.text("loads")
    assert "-1.5 %" in page.text("loads")
    assert "EPYC 9654, 96 cores, 384 GiB RAM" in page.text("environment")
    assert "llama-server -m '/models/big model.gguf'" in page.text("environment")
    assert "output_differs: At temperature 0 the text differs" in page.text("verdicts")


def test_a_chart_is_described_and_every_table_has_headers() -> None:
    page = Reader(to_html(run_document()))
    charts = [found for tag, found in page.elements if tag == "div" and found.get("class") == "chart"]
    assert len(charts) == len(figures_of(to_html(run_document()))) == 4
    assert all(found["role"] == "img" and len(found["aria-label"] or "") > 30 for found in charts)
    assert all(found.get("scope") in ("col", "row") for tag, found in page.elements if tag == "th")


def test_where_everything_failed_there_are_reasons_and_no_chart() -> None:
    text = to_html(failed_document())
    page = Reader(text)
    assert figures_of(text) == []
    assert "plotly" not in text
    assert page.text("categories").count("failed (http_error): the server answered 500: out of memory") == 6
    assert "Nothing was measured that counts" in page.text("speed")
    assert page.text("").count("http_error") <= 1
    assert "There is no speedup to show" in page.text("heatmap")
    assert "exit 1 after 3 s Use a smaller model." in page.text("loads")
    assert not re.search(r"(?<![\d.])0\.0", page.text("speed") + page.text("categories"))


def test_one_sample_has_no_interval_and_says_so() -> None:
    page = Reader(to_html(single_sample_document()))
    assert "1.20 (too few)" in page.text("categories")
    assert "?1.20" in page.text("heatmap")
    assert "Of 1 there are too few samples to say" in page.text("heatmap")


def test_numbers_that_are_none_are_dashes() -> None:
    result = run_document()
    arm = next(arm for arm in result["overall"] if arm["k"] == 8)
    arm["summary"]["decode_tok_s"].update(ci95=[math.nan, math.inf])
    arm["speedup"] = {"value": math.nan, "stddev": None, "ci95": [None, None]}
    result["curves"][0].update(predicted_tok_s=math.inf, predicted_ci95=[math.nan, 3.0])
    result["measurements"][1]["summary"]["decode_tok_s"].update(mean=math.nan)
    text = to_html(result)
    shown = json.dumps(figures_of(text)) + Reader(text).text("categories")
    assert not re.search(r"\b(nan|inf|NaN|Infinity|None)\b", shown)
    assert "\u2013" in Reader(text).text("categories")


def test_a_result_of_an_older_version_is_read() -> None:
    result = run_document()
    for name in ("recommendations", "curves", "rules", "bandwidth", "anchors", "plan", "effort", "imported", "notes"):
        result.pop(name)
    for each in result["measurements"]:
        for name in ("lossless", "roofline", "drift", "speedup_reason"):
            each.pop(name)
    page = Reader(to_html(result))
    assert "72B Q8_0: 0.5B, K = 16 was the fastest measured" in page.text("")
    assert "Texts were not compared" in page.text("lossless")


# -- the heatmap ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("speedup", "expected"),
    [
        (None, "na"),
        (Speedup(0.99), "s1"),
        (Speedup(0.99, ci95=(0.97, 1.01)), "eq"),
        (Speedup(0.4, ci95=(0.39, 0.41)), "s4"),
        (Speedup(1.02, ci95=(1.01, 1.03)), "f1"),
        (Speedup(3.0), "f6"),
    ],
)
def test_slower_is_another_colour_than_faster(speedup: Speedup | None, expected: str) -> None:
    arm = Arm(step=Step.of("T", draft="D", k=4), speedup=speedup)
    assert shade(arm, ResultOverview.of(from_document(run_document()))) == expected


def test_all_pairs_of_the_published_files_are_in_the_heatmap() -> None:
    """The counts of slower pairs are those that the publisher's files give by hand."""
    folder = Path(__file__).parents[1] / "data" / "draftbench"
    for name, pairs, slower in (("qwen25-72b", 62, 0), ("qwen25-7b", 198, 47)):
        page = to_html(imported_document(sorted(folder.glob(f"*{name}.json"))))
        assert f"{slower} of {pairs} pairs are slower" in page
        cells = re.findall(r'<td class="h (\w\d|eq)" title', page)
        assert len(cells) == pairs
        assert sum(cell.startswith("s") for cell in cells) == slower


# -- text from outside ------------------------------------------------------------------------------------------------


def test_names_and_errors_are_text_and_nothing_else() -> None:
    text = to_html(evil_document())
    page = Reader(text)
    assert page.count("img") == 0
    assert page.count("script") == 3
    assert page.count("b") == len(re.findall("<b>", text))
    assert not [name for _, found in page.elements for name in found if name.startswith("on")]
    assert not re.search("[\x1b\u202e\u2028\ud800]", text)
    assert "</script><img src=x onerror=alert(1)>" in page.text("categories")
    for figure in figures_of(text):
        shown = json.dumps({**figure, "layout": {**figure["layout"], "annotations": []}})
        assert "<img" not in shown
        assert "<a" not in shown


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_page_refers_to_no_other_and_allows_none(name: str) -> None:
    text = to_html(DOCUMENTS[name]())
    page = Reader(text)
    policy = next(found["content"] for tag, found in page.elements if found.get("http-equiv"))
    assert "default-src 'none'" in (policy or "")
    assert "unsafe-eval" not in (policy or "")
    assert "'unsafe-inline'" not in re.search("script-src [^;]*", policy or "")[0]  # type: ignore[index]
    assert not [found for tag, found in page.elements if "src" in found or tag == "iframe"]
    links = [found.get("href") or "" for _, found in page.elements if "href" in found]
    assert all(link.startswith("#") or link == "data:," for link in links)
    names = {found["id"] for _, found in page.elements if "id" in found}
    assert {link[1:] for link in links if link.startswith("#")} <= names


def test_a_report_of_500_measurements_stays_small() -> None:
    result = many_measurements()
    assert len(result["measurements"]) >= 500
    assert len(to_html(result).encode()) < MOST_BYTES


def test_without_plotly_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StoreError, match="plotly") as caught:
        to_html(run_document())
    assert "Install specdash again" in str(caught.value.todo)


# -- a real browser ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> str:
    program = browser_program()
    if program is None:
        if os.environ.get("SPECDASH_REQUIRE_REAL"):
            pytest.fail("no Chromium on PATH, and SPECDASH_REQUIRE_REAL is set")
        pytest.skip("no Chromium on PATH")
    return program


async def test_a_browser_draws_every_chart_without_a_complaint_or_a_request(chromium: str, tmp_path: Path) -> None:
    made = {name: to_html(make()) for name, make in DOCUMENTS.items()}
    paths = {name: tmp_path / f"{name}.html" for name in made}
    for name, path in paths.items():
        write_atomic(path, made[name])
    async with Browser.start(chromium) as browser:
        for name, path in paths.items():
            async with browser.page() as page:
                await page.emulate(390 if name == "evil" else 1280, 800, "dark" if name == "pair" else "light")
                drawn = await page.open(path)
                charts = await page.evaluate(_CHARTS)
                assert drawn == charts == len(figures_of(made[name])), name
                assert page.errors == [], name
                outside = [url for url in page.requests if url != f"file://{path}" and not url.startswith("data:")]
                assert outside == [], name
                assert await page.evaluate(_OVERHANG) <= 0, f"{name} is wider than its window"
                if name == "pair":
                    await check_schemes(page)


_CHARTS = "[...document.querySelectorAll('.chart')].filter((each) => each.querySelector('.main-svg')).length"
_OVERHANG = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def check_schemes(page: Any) -> None:
    """Text of charts is light in the dark and dark in the light, without a reload; print opens what is folded."""
    colour = "getComputedStyle(document.querySelector('.chart text')).fill"
    dark = await page.evaluate(colour)
    await page.emulate(1280, 800, "light")
    light = await page.evaluate(colour)
    assert sum(map(int, re.findall(r"\d+", dark)[:3])) > 400 > 350 > sum(map(int, re.findall(r"\d+", light)[:3]))
    assert (await page.print()).startswith(b"%PDF")
    assert page.errors == []


def test_rows_have_their_ks_ascending() -> None:
    document = run_document()
    document["measurements"].reverse()
    page = Reader(to_html(document))
    ks = sorted({each["k"] for each in document["measurements"] if each["k"] is not None})
    assert len(ks) > 1
    found = re.findall(rf"0\.5B ({'|'.join(map(str, ks))}) ", page.text("categories"))
    assert len(found) >= len(ks)
    assert [int(k) for k in found[: len(ks)]] == ks


# -- what refutes a figure, and what is no target of its own -----------------------------------------------------------


def refuted_document(verdict: str) -> dict[str, Any]:
    result = run_document(drafts=("0.5B", "1.5B"))
    for each in result["measurements"]:
        each["verdicts"] = [verdict] if each["draft"] == "1.5B" else []
    return result


@pytest.mark.parametrize(("verdict", "word"), [("output_differs", "differs"), ("impossible", "impossible")])
def test_a_refuted_pair_is_marked_and_not_counted(verdict: str, word: str) -> None:
    text = to_html(refuted_document(verdict))
    page = Reader(text)
    assert "0 of 1 pair is slower than the baseline; 1 is left out" in page.text("heatmap")
    assert page.count("td", **{"class": "h dif"}) == 1
    assert word in page.text("heatmap")
    bars = [figure for figure in figures_of(text) if figure["data"][0]["type"] == "bar"]
    assert [figure["data"][0]["marker"]["color"].count("#d1495b") for figure in bars] == [1, 1]
    assert word in [each["text"] for each in bars[1]["layout"]["annotations"]]


def test_a_pair_stands_with_its_fastest_k_that_is_not_refuted() -> None:
    result = run_document()
    arms = [arm for arm in from_document(result).overall if arm.step.k]
    fastest = max(arms, key=lambda arm: rate_of(arm) or 0.0).step.k
    for each in result["measurements"]:
        each["verdicts"] = ["output_differs"] if each["k"] == fastest else []
    found = ResultOverview.of(from_document(result))
    (best,) = [arm for arm in found.contenders(found.arms) if arm.step.k]
    assert best.step.k != fastest


def test_whole_texts_compared_are_no_other_target() -> None:
    result = run_document()
    result["overall"] += [{**arm, "workload": "lossless"} for arm in result["overall"]]
    page = Reader(to_html(result))
    assert "0 of 1 pair is slower" in page.text("heatmap")
    assert "lossless" not in page.text("heatmap") + page.text("speed")


def test_the_recommended_k_is_marked_where_another_mean_is_better() -> None:
    result = run_document()
    best = max(result["curves"], key=lambda point: point["predicted_tok_s"])["k"]
    for each in result["recommendations"]:
        each.update(k=16, tied=[{"draft": "0.5B", "k": best, "speedup": 1.5}])
    page = Reader(to_html(result))
    assert "recommended K = 16: tied" in page.text("curves")
    assert page.count("i", **{"class": "k-use"}) == 1
    for each in result["recommendations"]:
        each["k"] = best
    assert Reader(to_html(result)).count("i", **{"class": "k-use"}) == 0


def test_measured_points_have_one_colour_and_the_key_names_what_occurs() -> None:
    result = run_document()
    for point in result["curves"]:
        point["predicted_tok_s"] = point["predicted_ci95"] = None
    text = to_html(result)
    (trace,) = [each for figure in figures_of(text) for each in figure["data"] if each.get("name") == "measured"]
    assert trace["marker"]["color"] == trace["line"]["color"] == "#d9791e"
    assert Reader(text).count("i", **{"class": "k-dot"}) == 1
    assert Reader(text).count("i", **{"class": "k-line"}) == 0


def test_an_interval_that_dwarfs_the_values_leaves_the_axis_to_them() -> None:
    usual = [figure["layout"] for figure in figures_of(to_html(run_document()))]
    assert not any("range" in layout[axis] for layout in usual[:3] for axis in ("xaxis",))
    result = run_document()
    for arm in result["overall"]:
        arm["summary"]["decode_tok_s"]["ci95"] = [0.01, 5000.0]
    for point in result["curves"]:
        point["measured_ci95"] = [0.01, 5000.0] if point["measured_ci95"] else None
    figures = figures_of(to_html(result))
    highest = max(arm["summary"]["decode_tok_s"]["mean"] for arm in result["overall"])
    assert figures[0]["layout"]["xaxis"]["range"] == [0, pytest.approx(1.5 * highest)]
    assert "range" not in figures[1]["layout"]["xaxis"]  # of speedups, whose intervals are as they were
    low, high = next(figure["layout"]["yaxis"]["range"] for figure in figures[2:] if "K" in str(figure["layout"]))
    assert (low, high < 200) == (0, True)


def test_the_times_of_answers_stand_beside_the_rates() -> None:
    result = run_document()
    for each in result["recommendations"]:
        each["whole_answer"] = {"ratio": 1.112, "ci95": [1.04, 1.191], "n": 15}
    page = Reader(to_html(result))
    assert "; whole answers take 11.2 % longer (+4.0 to +19.1 %)." in page.text("")
    assert "+11.2 % +4.0 to +19.1 %" in page.text("recommendations")
    assert "prefill, tok/s first token whole answer" in page.text("categories")
    assert re.search(r"200\.0 0\.510 s [\d.]+ s", page.text("categories"))


def test_the_largest_k_is_not_held_against_itself() -> None:
    page = Reader(to_html(run_document()))
    assert "predicted from itself" in page.text("curves")
    assert "+0.0 %" not in page.text("curves")


@pytest.mark.parametrize(("has_samples", "said"), [(None, True), (False, True), (True, False)])
def test_an_import_with_samples_is_not_said_to_lack_them(has_samples: bool | None, said: bool) -> None:
    result = draftbench_document()
    result["imported"]["has_samples"] = has_samples
    assert ("no single samples" in Reader(to_html(result)).text("")) is said


def test_the_build_and_the_flags_that_matter_stand_near_the_top() -> None:
    result = run_document()
    result["loads"][0]["argv"] = ["llama-server", "-ngl", "99", "-c", "4096"]
    assert "llama-server b11669 current; -ngl 99; -c 4096" in Reader(to_html(result)).text("")
