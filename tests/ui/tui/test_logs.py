"""The logs screen, and the model below it: a window of a file of any size, search, and specdash's own lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import events

from specdash.core import events as ev
from specdash.core.reduce import fold_all
from specdash.core.ticks import LogTick
from specdash.remote.run_source import Gone, LogPiece, SourceError
from specdash.ui.tui.lines import LinesWidget
from specdash.ui.tui.logview import log_file
from specdash.ui.tui.logview.log_file import Scanner, Window, appended, log_level_of, prepended, stamp_of, window_at
from specdash.ui.tui.logview.log_view import BEGINNING, END, LogView, Mark, entries_of, marks_of, text_of_line
from specdash.ui.tui.terminal import ASCII, Terminal
from tests.support.dashboards import SIZES, ScriptedSource, dashboard, screen_text
from tests.support.recorded_run import START_S, loaded, measured, recorded, started, step

LOG = b"""\
0.00.003.639 I srv  llama_server: initializing ...
0.00.013.545 W srv  llama_server: security: no API key is set and CORS allows all origins
0.01.241.105 I common_speculative_init_result: loading draft model 'd.gguf'
0.01.389.265 I srv  llama_server: listening on http://127.0.0.1:9301
0.02.153.822 E srv    send_error: task id = 16, error: request exceeds the available context size
=00:00:00 specdash: READY -> FAILED (this line is the server's own)
\x1b]52;c;ZXZpbA==\x07\x1b[31mcontrol\x1b[0m [/bold] bytes
0.02.156.611 I srv    operator(): operator(): cleaning up before exit...
"""


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times of day are those of UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def moves(load: str = "l001") -> list[ev.Fact]:
    return [
        ev.StateChanged(load, "stopped", "start", "starting"),
        ev.StateChanged(load, "starting", "listening", "loading"),
        ev.StateChanged(load, "warming", "warmed", "ready", "12.5 s"),
    ]


def run_facts(*loads: str) -> list[ev.Fact]:
    steps = [step(), step(k=4)]
    facts: list[ev.Fact] = [started(steps)]
    for number, load in enumerate(loads):
        facts += [loaded(load, 4 if number else None)[0], *moves(load)]
        facts += measured(steps[min(number, 1)], [20.0], load=load)
        facts.append(ev.LoadFinished(load, "stopped"))
    return facts


def running_facts() -> list[ev.Fact]:
    return [started([step()]), loaded()[0], *moves()]


def body(app: Any) -> list[str]:
    return ["".join(text for text, _ in line) for line in app.screen.query_one("#logs-body").lines]


def text_at(app: Any, name: str) -> str:
    return "\n".join("".join(text for text, _ in line) for line in app.screen.query_one(f"#{name}").lines)


def model_of(app: Any) -> Any:
    return app.screen.log_model


def repaint(app: Any) -> None:
    app.screen.paint()


async def settled(app: Any, pilot: Any) -> None:
    await app.workers.wait_for_complete()
    await pilot.pause()


# -- the window --------------------------------------------------------------------------------------------------


def flat(window: Window) -> list[tuple[int, int, bytes]]:
    return [(line.offset, line.size, line.head) for line in window.lines]


@given(
    st.lists(st.binary(max_size=12).map(lambda text: text.replace(b"\n", b"")), max_size=30),
    st.booleans(),
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
    st.floats(0, 1),
)
def test_a_window_is_the_same_however_its_pieces_were_cut(
    lines: list[bytes], ends: bool, sizes: list[int], share: float
) -> None:
    data = b"\n".join(lines) + (b"\n" if ends else b"")
    whole = window_at(0, data, len(data))
    assert b"\n".join(line.head for line in whole.lines) == data.removesuffix(b"\n")

    def cuts() -> Iterator[int]:
        while True:
            yield from sizes

    window, cut = Window(size=len(data)), cuts()
    while not window.at_end:
        window = appended(window, data[window.end : window.end + next(cut)], len(data))
    assert flat(window) == flat(whole)
    middle = int(len(data) * share)
    window = window_at(middle, data[middle : middle + next(cut)], len(data))
    while not window.at_start:
        start = max(0, window.start - next(cut))
        window = prepended(window, data[start : window.start])
    while not window.at_end:
        window = appended(window, data[window.end : window.end + next(cut)], len(data))
    assert flat(window) == flat(whole)


def test_a_window_keeps_a_bounded_part_of_the_file() -> None:
    data = b"".join(b"line %d\n" % number for number in range(20_000))
    window = window_at(0, data, len(data))
    assert len(window.lines) == log_file.KEPT_LINES
    assert window.lines[-1].head == b"line 19999"
    assert window.start == window.lines[0].offset > 0
    earlier = prepended(window, data[window.start - 5000 : window.start])
    assert len(earlier.lines) == log_file.KEPT_LINES
    assert earlier.end < window.end
    assert data[earlier.start : earlier.end].startswith(b"line ")
    again = appended(earlier, data[earlier.end :], len(data))
    assert flat(again) == flat(window)


def test_long_lines_are_cut_in_the_view_and_counted() -> None:
    data = b"x" * 2**23 + b"\nshort\n"
    window = Window(size=len(data))
    while not window.at_end:
        window = appended(window, data[window.end : window.end + 65536], len(data))
    assert [line.size for line in window.lines] == [2**23, 5]
    shown = text_of_line(window.lines[0])
    assert len(shown) < 2200
    assert shown.endswith(f"({2**23 - log_file.HEAD_BYTES:,} more bytes in the file)")
    many = b"".join(b"y" * 4000 + b"\n" for _ in range(4000))
    held = window_at(0, many, len(many))
    assert sum(len(line.head) for line in held.lines) <= log_file.KEPT_BYTES


@pytest.mark.parametrize(
    ("line", "level", "stamp_s"),
    [
        (b"0.00.013.545 W srv  llama_server: security", "W", 0.013545),
        (b"12.02.153.822 E srv    send_error", "E", 722.153822),
        (b"0.02.153.822 I slot release: id  0", "", 2.153822),
        (b"CUDA error: out of memory", "E", None),
        (b"warning: no usable GPU found", "W", None),
        (b"0 errors so far", "E", None),
        (b"terrorised forewarned mirrored", "", None),
        (b"E is a letter", "E", None),
        (b"", "", None),
    ],
)
def test_levels_and_stamps_are_read_off_a_line(line: bytes, level: str, stamp_s: float | None) -> None:
    assert log_level_of(line) == level
    found = stamp_of(line)
    assert found == stamp_s if stamp_s is None else found == pytest.approx(stamp_s)


# -- search ------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([b"ab", b"aab", b"", b"b", b"Ab c", b"aaaa"]), max_size=30), st.integers(1, 7))
def test_search_finds_the_same_lines_however_the_file_is_cut(lines: list[bytes], size: int) -> None:
    data = b"\n".join(lines)
    scan = Scanner("aab", ignore_case=True)
    for at in range(0, len(data), size):
        scan.feed(data[at : at + size])
    offsets = []
    at = 0
    for line in lines:
        if b"aab" in line.lower():
            offsets.append(at)
        at += len(line) + 1
    assert list(scan.matches) == offsets
    assert scan.count == len(offsets)


def test_search_steps_from_match_to_match() -> None:
    scan = Scanner("x", ignore_case=False)
    scan.feed(b"x\nX\nx\n")
    assert list(scan.matches) == [0, 4]
    assert (scan.after(0), scan.after(4), scan.before(4), scan.before(0)) == (4, None, 0, None)
    assert (scan.number(4), scan.number(2)) == (2, None)


# -- specdash's own lines ----------------------------------------------------------------------------------------


def test_transitions_stand_where_they_happened() -> None:
    window = window_at(0, LOG, len(LOG))
    marks = [Mark(START_S, -0.01, "a"), Mark(START_S, 1.3, "b"), Mark(START_S, 99.0, "c")]
    found = entries_of(window, "", marks)
    said = [entry.mark.text if entry.mark else entry.line.head[:12].decode("latin1") for entry in found]  # type: ignore[union-attr]
    assert said[:2] == ["a", "0.00.003.639"]
    assert said[3:6] == ["0.01.241.105", "b", "0.01.389.265"]
    assert said[-1] == "c"
    assert [entry.key for entry in found] == sorted({entry.key for entry in found})
    # A window in the middle has only what happened in it.
    part = window_at(
        LOG.index(b"0.01.241"), LOG[LOG.index(b"0.01.241") : LOG.index(b"0.02.153")], len(LOG), at_line_start=True
    )
    assert [entry.mark.text for entry in entries_of(part, "", marks) if entry.mark] == ["b"]


def test_without_stamps_transitions_stand_at_the_ends() -> None:
    window = window_at(0, b"one\ntwo\n", 8)
    found = entries_of(window, "", [Mark(START_S, 0, "a"), Mark(START_S, 1, "b")])
    assert [entry.mark.text if entry.mark else "-" for entry in found] == ["a", "-", "-", "b"]


def test_a_failed_load_says_why_and_what_to_do() -> None:
    facts = [*running_facts(), ev.LoadFinished("l001", "failed", error="exit -6", hint="out of memory")]
    assert marks_of(fold_all(recorded(facts)), "l001")[-1].text == "load failed: exit -6  hint: out of memory"


@given(st.lists(st.integers(0, 60), min_size=1, max_size=20), st.booleans(), st.integers(0, 40), st.integers(0, 40))
def test_rows_down_and_as_many_up_is_the_same_place(lengths: list[int], wrap: bool, first: int, by: int) -> None:
    log = LogView()
    data = b"".join(b"x" * length + b"\n" for length in lengths)
    log.window, log.width, log.height, log.wrap, log.follow = window_at(0, data, len(data)), 20, 5, wrap, False
    here = log.moved(BEGINNING, first)
    there = log.moved(here, by)
    assert here <= there
    assert there == log.moved(BEGINNING, first + by)
    if there != END:
        assert log.moved(there, -by) == here
    assert log.moved(here, -first - by) == log.moved(BEGINNING, 0)


# -- the screen --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_a_finished_run_shows_the_log_of_its_last_load(size: tuple[int, int], snapshot: Any) -> None:
    source = ScriptedSource(run_facts("l001", "l002"), gone=Gone("the run is over"), logs={"l002": LOG})
    async with dashboard(source, size=size, show="logs") as (app, pilot):
        await settled(app, pilot)
        app.clock = lambda: 1795255260.0
        app.paint_now()
        await pilot.pause()
        assert screen_text(app) == snapshot
        assert all(line[0] in " >=" for line in body(app))


async def test_server_output_is_text_and_cannot_forge_lines() -> None:
    source = ScriptedSource(run_facts("l001"), logs={"l001": LOG})
    async with dashboard(source, show="logs") as (app, pilot):
        await settled(app, pilot)
        lines = body(app)
        assert any(line.startswith(" =00:00:00 specdash: READY") for line in lines)
        assert any(line.startswith(" <1b>]52;c;ZXZpbA==<07><1b>[31mcontrol") for line in lines)
        assert any(line.startswith("=10:00:04 specdash: WARMING -> READY") for line in lines)
        assert not any(character < " " for line in app.screen._compositor.render_strips() for character in line.text)


async def test_a_running_log_is_followed_until_one_scrolls_up() -> None:
    data = bytearray(b"".join(b"9.00.%03d.000 I line %d\n" % (number, number) for number in range(100)))
    logs: dict[str, Any] = {"l001": Grown(data)}
    source = ScriptedSource(running_facts(), [LogTick("l001", "logs/l001.log", len(data))], logs=logs)
    async with dashboard(source, show="logs") as (app, pilot):
        await settled(app, pilot)
        assert any("line 99" in line for line in body(app))
        data += b"9.00.100.000 I line 100\n"
        await tick(app, pilot, len(data))
        assert any("line 100" in line for line in body(app))
        await pilot.press("k")
        top = body(app)[0]
        data += b"9.00.101.000 I line 101\n"
        await tick(app, pilot, len(data))
        assert body(app)[0] == top
        assert "follow off" in text_at(app, "logs-title")
        assert "below (G: to the end)" in text_at(app, "logs-title")
        await pilot.press("G")
        await settled(app, pilot)
        assert any("line 101" in line for line in body(app))
        assert "follow on" in text_at(app, "logs-title")


class Grown:
    """A file's bytes as they are when they are read."""

    def __init__(self, data: bytearray) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, part: slice) -> bytes:
        return bytes(self._data[part])


async def tick(app: Any, pilot: Any, size: int) -> None:
    """The engine tells that the log has grown."""
    from dataclasses import replace

    live = replace(app.feed.live, log=LogTick("l001", "logs/l001.log", size))
    app.feed = replace(app.feed, live=live)
    app.screen.paint()
    await settled(app, pilot)


async def test_a_log_that_grows_faster_than_it_is_read_is_followed_at_its_end() -> None:
    data = bytearray(b"first\n")
    logs: dict[str, Any] = {"l001": Grown(data)}
    source = ScriptedSource(running_facts(), [LogTick("l001", "logs/l001.log", 6)], logs=logs)
    async with dashboard(source, show="logs") as (app, pilot):
        await settled(app, pilot)
        for turn in range(100):
            data += b"x" * 99_990 + b"\nend %d\n" % turn
            await tick(app, pilot, len(data))
        assert any("end 99" in line for line in body(app))
        assert len(model_of(app).window.lines) <= log_file.KEPT_LINES


async def test_a_large_log_is_read_where_one_looks() -> None:
    data = b"".join(b"0.01.000.000 I line %07d\n" % number for number in range(200_000))
    reads: list[int] = []

    class Counting(ScriptedSource):
        async def log(self, load: str, offset: int, size: int) -> LogPiece:
            reads.append(size)
            return await super().log(load, offset, size)

    async with dashboard(Counting(run_facts("l001"), logs={"l001": data}), show="logs") as (app, pilot):
        await settled(app, pilot)
        assert any("line 0000000" in line for line in body(app))
        await pilot.press("G")
        await settled(app, pilot)
        assert any("line 0199999" in line for line in body(app)), (screen_text(app), model_of(app).wanted())
        for _ in range(300):
            await pilot.press("pageup")
        await settled(app, pilot)
        assert len(model_of(app).window.lines) <= log_file.KEPT_LINES
        # 300 pages of its height less two, one row each.
        shown = int(body(app)[0].split()[-1])
        height = model_of(app).height
        assert abs(shown - (200_000 - height - 300 * (height - 2))) <= 3
        await pilot.press("g")
        await settled(app, pilot)
        assert any("line 0000000" in line for line in body(app))
        assert sum(reads) < 2 * 2**20


async def test_search_finds_in_the_whole_file_and_goes_around() -> None:
    lines = [b"0.01.000.000 I line %05d" % number for number in range(60_000)]
    for number in (40, 30_000, 59_000):
        lines[number] += b" Out of Memory"
    source = ScriptedSource(run_facts("l001"), logs={"l001": b"\n".join(lines) + b"\n"})
    async with dashboard(source, show="logs") as (app, pilot):
        await settled(app, pilot)
        await pilot.press("/", *"out of memory", "enter")
        await settled(app, pilot)
        assert "match 1 of 3" in text_at(app, "logs-note")
        for key, number, nth in (("n", 30_000, 2), ("n", 59_000, 3), ("n", 40, 1), ("N", 59_000, 3)):
            await pilot.press(key)
            await settled(app, pilot)
            assert f"match {nth} of 3" in text_at(app, "logs-note")
            hits = [line for line in body(app) if line.startswith(">")]
            assert len(hits) == 1
            assert f"line {number:05d} Out of Memory" in hits[0]
        highlighted = [span for line in app.screen.query_one("#logs-body", LinesWidget).lines for span in line]
        assert ("Out of Memory", "cursor") in highlighted
        await pilot.press("i")
        await settled(app, pilot)
        assert "not in this log" in text_at(app, "logs-note")
        await pilot.press("escape")
        assert text_at(app, "logs-note") == ""
        assert model_of(app).scan is None


async def test_a_search_can_be_stopped_and_never_holds_the_keys() -> None:
    class Endless(ScriptedSource):
        async def log(self, load: str, offset: int, size: int) -> LogPiece:
            start = max(0, offset)
            return LogPiece(start, 2**40, b"nothing here\n" * (size // 13))

    source = Endless(run_facts("l001"))
    async with dashboard(source, show="logs") as (app, pilot):
        await pilot.press("/", *"needle", "enter")
        await pilot.pause()
        assert model_of(app).is_scanning
        assert "esc stops" in text_at(app, "logs-note")
        await pilot.press("j")
        await pilot.press("escape")
        await settled(app, pilot)
        assert not model_of(app).is_scanning
        assert "stopped at" in text_at(app, "logs-note")


async def test_levels_wrap_and_pan() -> None:
    long = b"0.03.000.000 I " + b"0123456789" * 20 + b"\n"
    source = ScriptedSource(run_facts("l001"), logs={"l001": LOG + long})
    async with dashboard(source, show="logs") as (app, pilot):
        await settled(app, pilot)
        servers = [line for line in body(app) if line.startswith(" ")]
        assert len(servers) == 9
        assert servers[-1].endswith("…")
        await pilot.press("w")
        assert len([line for line in body(app) if line.startswith(" ")]) > 11
        assert not any(line.endswith("…") for line in body(app))
        await pilot.press("w", "l")
        assert any(line.startswith(" " + (long[16:40]).decode()) for line in body(app))
        await pilot.press("h", "v")
        assert [line[14] for line in body(app) if line.startswith(" ")] == ["W", "E"]
        assert "warnings and errors" in text_at(app, "logs-title")
        await pilot.press("v")
        assert [line[14] for line in body(app) if line.startswith(" ")] == ["E"]


async def test_brackets_switch_between_loads() -> None:
    logs = {"l001": b"the first\n", "l002": b"the second\n"}
    source = ScriptedSource(run_facts("l001", "l002"), logs=logs)
    async with dashboard(source, show="logs") as (app, pilot):
        await settled(app, pilot)
        assert any("the second" in line for line in body(app))
        await pilot.press("[")
        await settled(app, pilot)
        assert any("the first" in line for line in body(app))
        assert "load 1 of 2" in text_at(app, "logs-title")
        await pilot.press("[")
        await settled(app, pilot)
        assert any("the first" in line for line in body(app))
        await pilot.press("]", "]")
        await settled(app, pilot)
        assert any("the second" in line for line in body(app))


async def test_a_missing_log_is_a_sentence_and_the_others_can_be_read() -> None:
    source = ScriptedSource(run_facts("l001", "l002"), logs={"l001": b"the first\n"})
    async with dashboard(source, show="logs") as (app, pilot):
        await settled(app, pilot)
        assert "the log cannot be shown: l002 has no log" in "\n".join(body(app))
        await pilot.press("G", "/", "x", "enter", "n", "w", "w", "j", "k")
        await settled(app, pilot)
        assert "the log cannot be shown" in "\n".join(body(app))
        await pilot.press("escape", "[")
        await settled(app, pilot)
        assert any("the first" in line for line in body(app))


async def test_a_log_removed_while_it_is_read_is_said_in_place() -> None:
    logs = {"l001": b"here\n" * 10}
    source = ScriptedSource(running_facts(), [LogTick("l001", "logs/l001.log", 50)], logs=logs)
    async with dashboard(source, show="logs") as (app, pilot):
        await settled(app, pilot)
        del logs["l001"]
        await tick(app, pilot, 60)
        assert "the log cannot be shown" in "\n".join(body(app))
        logs["l001"] = b"back\n" * 20
        await tick(app, pilot, 100)
        assert any("back" in line for line in body(app))


async def test_a_log_that_became_another_file_is_read_anew() -> None:
    logs = {"l001": b"old line\n" * 100}
    source = ScriptedSource(run_facts("l001"), logs=logs)
    async with dashboard(source, show="logs") as (app, pilot):
        await settled(app, pilot)
        logs["l001"] = b"new line\n"
        await pilot.press("G")
        model_of(app).known_bytes = 10_000
        repaint(app)
        await settled(app, pilot)
        assert any("new line" in line for line in body(app))
        assert not any("old line" in line for line in body(app))


async def test_a_pasted_megabyte_is_cut_with_a_message_and_the_field_stays_usable() -> None:
    source = ScriptedSource(run_facts("l001"), logs={"l001": LOG})
    async with dashboard(source, show="logs") as (app, pilot):
        await settled(app, pilot)
        await pilot.press("/")
        field = app.screen.query_one("#logs-field")
        field.post_message(events.Paste("\x1b]52;c;x\x07" + "a" * 2**20))
        await pilot.pause()
        assert len(field.value) == 256  # type: ignore[attr-defined]
        assert field.value.startswith("<1b>]52;c;x<07>aaa")  # type: ignore[attr-defined]
        assert any("characters were pasted" in str(each.message) for each in app._notifications)
        await pilot.press("escape", "/", *"control", "enter")
        await settled(app, pilot)
        assert "match 1 of 1" in text_at(app, "logs-note")


async def test_without_a_load_it_says_what_will_be_here() -> None:
    async with dashboard(ScriptedSource([started([step()])]), show="logs") as (app, pilot):
        await settled(app, pilot)
        assert "no server was started yet" in "\n".join(body(app))
        await pilot.press("[", "]", "g", "G", "j", "k", "n", "v", "w", "pagedown", "l", "f", "f")
        assert app.is_running


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (20, 5), (40, 10), (119, 7), (240, 80)], ids=str)
async def test_every_size_draws(size: tuple[int, int]) -> None:
    source = ScriptedSource(run_facts("l001"), logs={"l001": LOG})
    async with dashboard(source, size=size, show="logs", terminal=Terminal(ASCII, "none")) as (app, pilot):
        await settled(app, pilot)
        await pilot.press("w", "G", "k", "/", "x", "enter", "escape")
        await settled(app, pilot)
        assert all(ord(character) < 128 for character in screen_text(app).replace("▁", ""))


async def test_a_source_error_while_searching_is_told() -> None:
    class Breaking(ScriptedSource):
        async def log(self, load: str, offset: int, size: int) -> LogPiece:
            if offset > 0:
                raise SourceError("the line broke")
            return LogPiece(0, 10**7, b"some text\n" * 1000)

    async with dashboard(Breaking(run_facts("l001")), show="logs") as (app, pilot):
        await pilot.press("/", "q", "enter")
        await settled(app, pilot)
        assert any("the line broke" in str(each.message) for each in app._notifications)
        assert app.is_running


# -- the keys that apply -----------------------------------------------------------------------------------------


def footer(app: Any) -> str:
    return screen_text(app).splitlines()[-1]


async def test_the_footer_has_the_keys_that_apply() -> None:
    source = ScriptedSource(run_facts("l001", "l002"), logs={"l002": LOG, "l001": LOG})
    async with dashboard(source, show="logs") as (app, pilot):
        await settled(app, pilot)
        assert "[ Earlier" in footer(app)
        assert "] Later" not in footer(app)
        assert "n Next" not in footer(app)
        await pilot.press("[")
        await settled(app, pilot)
        assert "[ Earlier" not in footer(app)
        assert "] Later" in footer(app)
        await pilot.press("/")
        await settled(app, pilot)
        typing = footer(app)
        assert "Accept" in typing
        assert "f1 Help" in typing
        for taken in ("Search", "Level", "Leave", "?"):
            assert taken not in typing
        await pilot.press(*"server", "enter")
        await settled(app, pilot)
        assert "n Next" in footer(app)


async def test_every_row_above_the_footer_is_the_log_s() -> None:
    source = ScriptedSource(run_facts("l001"), logs={"l001": b"0.01.000.000 I line\n" * 200})
    async with dashboard(source, show="logs") as (app, pilot):
        await settled(app, pilot)
        assert len(body(app)) == 24 - 5
