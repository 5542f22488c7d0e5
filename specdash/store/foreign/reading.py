"""A result from a file of whatever origin, told by its shape: our own result.json, draftbench's or velollm's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from specdash.analysis.pairs import target_pairs
from specdash.analysis.result import SCHEMA
from specdash.core.axes import AXES, SETTING
from specdash.core.numbers import finite
from specdash.core.text import human_bytes, one_line
from specdash.errors import SpecdashError
from specdash.store.foreign.draftbench import from_draftbench, is_draftbench
from specdash.store.foreign.shapes import wrong_shapes
from specdash.store.foreign.velollm import from_velollm, is_velollm

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
_LATER: Mapping[str, Any] = {
    "curves": [],
    "recommendations": [],
    "rules": [],
    "bandwidth": None,
    "anchors": [],
    "plan": [],
    "effort": {
        "loads": None,
        "load_time_s": None,
        "measuring_s": None,
        "step_by_step_loads": None,
        "taken_again": None,
    },
    "notes": [],
    "imported": None,
}
"""What results written by earlier versions do not have."""
_LATER_OF_MEASUREMENTS = ("lossless", "roofline", "speedup_reason", "drift")
_TEXTS = ("target", "method", "workload", "status")
_MAYBE_TEXTS = ("draft", "config", "category")
_MAYBE_NUMBERS = ("k", *(name for name in SETTING if AXES[name].kind is not str))


def read_result_file(path: Path) -> Json:
    """The result document in a file. Raises SpecdashError: what is wrong, where, and what is known here."""
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


def _read(path: Path) -> Json:
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


def _completed(written: Json, path: Path) -> Json:
    """Our own result, with what a later version added; raises SpecdashError where a part is missing or broken."""
    too_large: list[str] = []
    result: Json = _finite(written, "", too_large, 0)
    wrong = [f"`{name}` is no table" for name in _TABLES if not isinstance(result.get(name), dict)]
    wrong += [f"`{name}` is no list of tables" for name in _LISTS if not _is_list_of_tables(result.get(name))]
    if not wrong:
        wrong = _wrong_in(result) or list(islice(wrong_shapes(result), MOST_SHOWN))
    if wrong:
        raise SpecdashError(
            f"{one_line(str(path))}: this is no whole result: {one_line('; '.join(wrong[:MOST_SHOWN]), 400)}", AGAIN
        )
    for part in ("measurements", "unfinished"):
        result[part] = [{**dict.fromkeys(_LATER_OF_MEASUREMENTS), **each} for each in result[part]]
    result.setdefault("pairs", target_pairs(result["overall"], result["measurements"]))
    whole = {**_LATER, **result}
    if too_large:
        told = one_line(", ".join(too_large[:MOST_SHOWN]), 200)
        text = f"whole numbers in the file that are too large to calculate with are taken as unknown: {told}"
        whole["notes"] = [*whole["notes"], {"level": "warning", "text": text}]
    return whole


def _is_list_of_tables(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _wrong_in(result: Json) -> list[str]:
    """What is wrong inside of a result whose outer parts are there."""
    wrong = [] if isinstance(result["run"].get("hardware"), dict) else ["`run.hardware` is no table"]
    if not isinstance(result["engine"].get("capabilities"), dict):
        wrong.append("`engine.capabilities` is no table")
    imported = result.get("imported")
    if imported is not None and not (isinstance(imported, dict) and isinstance(imported.get("tool"), str)):
        wrong.append("`imported` names no tool")
    for part in ("measurements", "unfinished", "overall"):
        for place, each in enumerate(result[part]):
            wrong += [f"{part}[{place}].{name} is missing or broken" for name in _broken(each, part)]
    return wrong


def _broken(each: Json, part: str) -> list[str]:
    """The fields of a measurement or arm that are not what they have to be."""
    texts = [name for name in _TEXTS if part != "overall" or name != "status"]
    maybe = [name for name in _MAYBE_TEXTS if part != "overall" or name != "category"]
    found = [name for name in texts if not isinstance(each.get(name), str)]
    found += [name for name in maybe if name not in each or not isinstance(each[name], str | None)]
    found += [name for name in _MAYBE_NUMBERS if name not in each or not isinstance(each[name], int | None)]
    found += [] if isinstance(each.get("depth"), int) else ["depth"]
    found += [] if _is_summary(each.get("summary")) else ["summary"]
    found += [] if "speedup" in each and _is_speedup(each["speedup"]) else ["speedup"]
    if part == "overall":
        return found if isinstance(each.get("categories"), list) else [*found, "categories"]
    found += [] if _is_list_of_tables(each.get("samples")) else ["samples"]
    return found if isinstance(each.get("verdicts"), list) else [*found, "verdicts"]


def _is_summary(value: object) -> bool:
    """Whether it is a table of summaries, each with a mean."""
    return isinstance(value, dict) and all(
        isinstance(each, dict) and finite(each.get("mean")) is not None for each in value.values()
    )


def _is_speedup(value: object) -> bool:
    """Whether it is null, or a factor with its interval or none."""
    if value is None:
        return True
    if not isinstance(value, dict) or finite(value.get("value")) is None:
        return False
    interval = value.get("ci95")
    return interval is None or (isinstance(interval, list) and len(interval) == 2)


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
