"""A result from a file of whatever origin, told by its shape: our own result.json, draftbench's or velollm's."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from specdash.analysis.build_result import concluded
from specdash.analysis.result import SCHEMA, Note, Result
from specdash.core.axes import ARM, AXES
from specdash.core.numbers import finite
from specdash.core.text import human_bytes, one_line
from specdash.errors import SpecdashError
from specdash.report.importers.draftbench import from_draftbench, is_draftbench
from specdash.report.importers.velollm import from_velollm, is_velollm
from specdash.store.result_json import from_document

Json = dict[str, Any]

MOST_BYTES = 64 * 2**20
KNOWN = (
    f"There are: result.json of specdash (schema {SCHEMA}), draftbench's results (a list `results` of target, draft,"
    " mean_tps), and velollm's (`config`, `vanilla`, `speculative`)."
)
AGAIN = "If it was changed by hand, make it again from the run: specdash report RUN --format json."
MOST_LEVELS = 50
MOST_SHOWN = 3
_TABLES = ("run", "engine", "settings")
_LISTS = ("models", "loads", "measurements", "unfinished", "overall")
_ARM = (*(name for name in ARM if AXES[name].is_required), "summary", "speedup")
_STEP = (*_ARM, "category", "status", "samples", "verdicts")
_NEEDED = {"measurements": _STEP, "unfinished": _STEP, "overall": (*_ARM, "categories")}
"""The fields that every row of these lists has."""
_NEVER_NULL = ("summary", "samples", "verdicts", "categories")
_KINDS = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "array": "list",
          "object": "table"}  # fmt: skip
"""What a field is, by the decoder's word for it."""


def read_result_file(path: Path) -> Result:
    """The result in a file. Raises SpecdashError: what is wrong, where, and what is known here."""
    try:
        return _read(path)
    except (ArithmeticError, RecursionError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise unusable(path, error) from error


def unusable(path: Path, error: Exception) -> SpecdashError:
    """What to say of a file that is broken deeper than it was looked at: by the field, never in Python's words."""
    name = one_line(str(path))
    if isinstance(error, ArithmeticError):
        return SpecdashError(
            f"{name}: figures in it are too large or too small to calculate with", "Mend them, or leave their rows out."
        )
    if isinstance(error, RecursionError):
        return SpecdashError(f"{name}: it is nested deeper than a result is", KNOWN)
    what = f"`{one_line(str(error.args[0]), 60)}` is missing" if isinstance(error, KeyError) else "a field is broken"
    return SpecdashError(f"{name}: it is no specdash result ({what})", AGAIN)


def _read(path: Path) -> Result:
    content = _parsed(path)
    name = one_line(path.name)
    if is_draftbench(content):
        return from_draftbench(content, name)
    if is_velollm(content):
        return from_velollm(content, name)
    if not isinstance(content, dict) or "schema" not in content:
        raise SpecdashError(f"{one_line(str(path))}: this is the result of no tool that is known here", KNOWN)
    if content["schema"] != SCHEMA:
        found = one_line(str(content["schema"]), 60)
        raise SpecdashError(
            f"{one_line(str(path))}: its schema is {found}, this version reads {SCHEMA}",
            "Use the version of specdash that wrote it, or name the run's folder.",
        )
    return _completed(content, path)


def _parsed(path: Path) -> Any:
    """The JSON value of a file; NaN and infinity, which are none of JSON's, are taken as the floats they name."""
    shown = one_line(str(path))
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise SpecdashError(
                f"{shown}: {human_bytes(size)} is more than a result has ({human_bytes(MOST_BYTES)} at most)",
                "Name the run's folder instead: its journal may be of any size.",
            )
        content = path.read_bytes()
    except OSError as error:
        raise SpecdashError(f"{shown} cannot be read: {error.strerror}", "Name a file that you may read.") from error
    if not content.strip():
        raise SpecdashError(f"{shown}: the file is empty", "Let the tool that writes it finish first.")
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SpecdashError(f"{shown}: it is not UTF-8 text (byte {error.start})", KNOWN) from error
    except json.JSONDecodeError as error:
        raise SpecdashError(
            f"{shown}:{error.lineno}: it is not JSON: {error.msg} (column {error.colno})",
            "A file that was cut short is not JSON any more; else name a result file.",
        ) from error
    except (ValueError, RecursionError) as error:
        raise SpecdashError(f"{shown}: it cannot be read as JSON: {one_line(str(error), 80)}", KNOWN) from error


def _completed(written: Json, path: Path) -> Result:
    """Our own result, of this version or an earlier one; raises SpecdashError where a part is missing or broken."""
    too_large: list[str] = []
    content: Json = _finite(written, "", too_large, 0)
    wrong = _missing(content)
    try:
        result = from_document(content) if not wrong else None
    except ValueError as error:
        result, wrong = None, [_broken(str(error))]
    if result is None:
        said = one_line("; ".join(wrong[:MOST_SHOWN]), 400)
        raise SpecdashError(f"{one_line(str(path))}: this is no whole result: {said}", AGAIN)
    if "pairs" not in content:
        result = replace(result, pairs=concluded(result).pairs)
    if too_large:
        told = one_line(", ".join(too_large[:MOST_SHOWN]), 200)
        text = f"whole numbers in the file that are too large to calculate with are taken as unknown: {told}"
        result = replace(result, notes=(*result.notes, Note("warning", text)))
    return result


def _missing(content: Json) -> list[str]:
    """What a result has in every version and is not there."""
    wrong = [f"`{name}` is no table" for name in _TABLES if not isinstance(content.get(name), dict)]
    wrong += [f"`{name}` is no list of tables" for name in _LISTS if not _is_list_of_tables(content.get(name))]
    if wrong:
        return wrong
    for part, names in _NEEDED.items():
        for place, row in enumerate(content[part]):
            lacks = (name for name in names if name not in row or (row[name] is None and name in _NEVER_NULL))
            wrong += [f"{part}[{place}].{name} is missing or broken" for name in lacks]
    rows = content.get("recommendations")
    for place, row in enumerate(rows if isinstance(rows, list) and _is_list_of_tables(rows) else ()):
        if not _is_list_of_tables(row.get("tied", [])):
            wrong.append(f"`recommendations[{place}].tied` is no list of tables")
    return wrong


def _broken(message: str) -> str:
    """A message of the decoder as a sentence about the field: "`loads[0].argv` is no list"."""
    found = re.search(r"^Expected `(\w+)[^`]*`.* at `([^`]+)`", message)
    return f"`{found[2]}` is no {_KINDS.get(found[1], found[1])}" if found is not None else message


def _is_list_of_tables(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _finite(value: Any, place: str, too_large: list[str], level: int) -> Any:
    """A JSON value with null for NaN and infinity, which a result never has, and for whole numbers beyond any float.

    The places of the latter are added to `too_large`. Raises RecursionError for what is nested too deep.
    """
    if level > MOST_LEVELS:
        raise RecursionError
    if isinstance(value, dict):
        return {
            name: _finite(each, f"{place}.{name}".lstrip("."), too_large, level + 1) for name, each in value.items()
        }
    if isinstance(value, list):
        return [_finite(each, f"{place}[{index}]", too_large, level + 1) for index, each in enumerate(value)]
    if isinstance(value, int | float) and not isinstance(value, bool) and finite(value) is None:
        if isinstance(value, int):
            too_large.append(place)
        return None
    return value
