"""What reaches the terminal, byte for byte: nothing of what servers and models say, and no colours where none are."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.pty_program import PtyProgram, colour_codes, left_behind
from tests.support.terminal_machine import Place, ends

# Clipboard, title, 8-bit CSI, a blink, markup that closes nothing and markup that would act.
EVIL = "\x1b]52;c;aGFja2Vk\x07\x1b]0;hacked\x07\u009b5m\x1b[5;38;5;199m[/foo] [@click=app.quit]x[/] \u202e"
RAW = (b"\x1b]52", b"\x1b]0;hacked", b"\xc2\x9b", b"\x9b5m", b"\x1b[5;38;5;199m", b"\xe2\x80\xae")

# Only cells that differ are sent: a word of characters that no other line has comes whole.
LAST = "ZQXJZQXJ"


def send(program: PtyProgram, key: str, wanted: bytes) -> None:
    program.send(key)
    program.read_until(wanted)


def look_at_the_log(program: PtyProgram) -> None:
    """Opens the log at its end: between two loads it opens at its beginning."""
    send(program, "4", b"follow")
    program.send("G")
    program.read_until(lambda _: LAST.encode() in program.output)


def test_what_a_server_and_its_model_say_is_only_text(place: Place) -> None:
    behaviour = json.dumps({"speed": 60, "tokens_text": EVIL})
    log = place.folder / "evil.log"
    log.write_text("".join(f"line {number} {EVIL}\n" for number in range(30)) + f"{LAST} {EVIL}\n")
    server = place.folder / "evil-server"
    server.write_text(f'#!/bin/sh\ncase "$*" in *--port*) cat "{log}" >&2;; esac\nexec "{place.fake}" "$@"\n')
    server.chmod(0o755)
    engine = {"program": str(server), "env": {"FAKE_SERVER": behaviour}}
    profile = place.profile(drafts=["D[@click=app.quit]x[]"], engine=engine, measure={"iterations": 40})
    with place.pty(profile.name, size=(120, 40)) as program:
        program.read_until(b"RUN")
        program.read_until(b"[/foo]")
        look_at_the_log(program)
        send(program, "2", b"On/off")
        send(program, "3", b"Measure")
        send(program, "5", b"STATE")
        send(program, "1", b"[/foo]")
        program.send("d")
        assert program.wait(20, reads=True) == 0
        output = bytes(program.output)
    assert [raw for raw in RAW if raw in output] == []
    assert left_behind(output) == []
    stop = place.start("stop", place.run_path().name)
    assert stop.end(place.run_path()).code == 0
    assert ends(place.run_path())
    with place.pty("attach", place.run_path().name, size=(120, 40)) as program:
        program.read_until(b"STOPPED")
        look_at_the_log(program)
        program.send("q")
        assert program.wait(20, reads=True) == 0
        output = bytes(program.output)
    assert [raw for raw in RAW if raw in output] == []


@pytest.mark.parametrize(
    ("environment", "is_ascii", "is_colourless"),
    [({"NO_COLOR": "1"}, False, True), ({"TERM": "linux"}, True, False), ({"LANG": "C", "TERM": "vt100"}, True, True)],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else None,
)
def test_plain_terminals(old: Place, environment: dict[str, str], is_ascii: bool, is_colourless: bool) -> None:
    path = old.over
    with old.pty("attach", path.name, size=(80, 24), **environment) as program:
        program.read_until(b"DONE")
        for key, wanted in (("2", b"On/off"), ("3", b"best K"), ("4", b"Search"), ("5", b"known"), ("?", b"close")):
            send(program, key, wanted)
        send(program, "\x1b", b"known")
        send(program, "1", b"Details")
        program.send("q")
        assert program.wait(20, reads=True) == 0
        output = bytes(program.output)
    assert left_behind(output) == []
    shown = output.split(b"\x1b[?1049l")[0]
    found = sorted(set(re.findall(rb"[\x80-\xff]+", shown)))
    assert (not found) == is_ascii, found
    assert (not colour_codes(shown)) == is_colourless, colour_codes(shown)[:5]
