"""Journals with right checksums and wrong types: told with their line, never a bug of specdash."""

from __future__ import annotations

import copy
import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from specdash.analysis.build_result import result_of
from specdash.cli import guarded
from specdash.core import events as ev
from specdash.core.reduce import fold_all
from specdash.errors import Exit, StoreError
from specdash.store.journal import line_of, parse_line
from specdash.store.result_json import to_document
from tests.support.recorded_run import loaded, measured, started, step
from tests.support.rendering import to_csv, to_html, to_json, to_markdown

WRONG: tuple[object, ...] = ("banana", "", -1, 0, 1e308, 10**400, True, None, [], {}, ["x"], {"a": 1}, 3.7)
CASES = 250


def run() -> list[ev.Recorded]:
    """A short run with a baseline and a draft."""
    base, k4 = step(), step(4)
    facts: list[ev.Fact] = [started([base, k4]), *loaded("l001"), *measured(base, [10.0, 10.2, 9.9])]
    facts += [*loaded("l002", 4), *measured(k4, [15.0, 15.1, 15.3], load="l002")]
    facts += [ev.Noted("info", "said"), ev.RunFinished("finished", 0)]
    return [ev.Recorded(seq, 1795255200.0 + seq, fact) for seq, fact in enumerate(facts, start=1)]


def with_checksum(body: dict[str, Any]) -> bytes:
    """The line of these members, as one who means well would write it."""
    content = json.dumps({name: value for name, value in body.items() if name != "crc"}, separators=(",", ":")).encode()
    return content[:-1] + b',"crc":"%08x"}' % zlib.crc32(content)


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value within a line."""
    inside = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for name, each in inside:
        yield from places(each, (*before, name))
    if before and before[0] not in ("v", "seq", "t", "type", "crc"):
        yield before


def test_a_value_of_another_type_is_told_or_does_no_harm() -> None:
    good = run()
    lines = [json.loads(line_of(recorded)) for recorded in good]
    cases = [(at, place, value) for at, line in enumerate(lines) for place in places(line) for value in WRONG]
    refused = 0
    for at, place, value in random.Random(5).sample(cases, CASES):
        line = copy.deepcopy(lines[at])
        inner = line
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = value
        try:
            recorded = parse_line(with_checksum(line))
            assert recorded is not None
            view = fold_all([*good[:at], recorded, *good[at + 1 :]])
            result = result_of(view)
            for write in (to_json, to_csv):
                write(result)
            for render in (to_markdown, to_html):
                render(to_document(result))
        except StoreError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"{line['type']} with {place} = {value!r}") from error
    assert refused > CASES / 3


@pytest.mark.parametrize("command", ["report", "compare"])
def test_a_command_tells_the_line_and_the_field(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line_of(recorded).rstrip(b"\n") for recorded in run()]
    at = next(at for at, line in enumerate(lines) if b"sample_taken" in line)
    body = json.loads(lines[at])
    body["sample"]["generated_tokens"] = "a hundred"
    lines[at] = with_checksum(body)
    journal = tmp_path / "run" / "journal.jsonl"
    journal.parent.mkdir()
    journal.write_bytes(b"\n".join(lines) + b"\n")
    code = guarded([command, *([str(journal.parent)] * (2 if command == "compare" else 1))])
    told = capsys.readouterr().err
    assert code == Exit.UNSAFE, told
    assert f"journal.jsonl:{at + 1}: this record is damaged" in told
    assert "$.sample.generated_tokens" in told
