"""Reads a TOML file that a person wrote: what is wrong with it is filed with its line, and nothing is raised."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from specdash.config.lines import key_lines
from specdash.config.problems import Findings, escaped
from specdash.errors import Problem

_LARGEST_FILE_BYTES = 1_000_000


def read_toml(file: Path, findings: Findings, what: str) -> dict[str, Any] | None:
    """The TOML of the file, its lines noted; None with the reason filed. `what` it is to be: "a profile"."""
    text = _text(file, findings, what)
    return _parsed(text, findings, what) if text is not None else None


def _text(file: Path, findings: Findings, what: str) -> str | None:
    try:
        if (size := file.stat().st_size) > _LARGEST_FILE_BYTES:
            findings.problem((), f"is too large for {what}: {size} bytes", "Is it the right file?")
            return None
        raw = file.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        findings.problem((), f"cannot be read: {reason}")
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        complaint = f"is not UTF-8 text: byte 0x{raw[error.start]:02x}"
        findings.problems.append(Problem(findings.where, line, "", complaint, "Save it as UTF-8"))
        return None


def _parsed(text: str, findings: Findings, what: str) -> dict[str, Any] | None:
    try:
        raw = tomllib.loads(text)
        findings.lines = key_lines(text)
    except ValueError as error:  # TOMLDecodeError, and int() on numbers with thousands of digits
        complaint, line = escaped(str(error)), text.rstrip().count("\n") + 1
        if found := re.search(r" \(at line (\d+), column \d+\)$", complaint):
            complaint, line = complaint[: found.start()], int(found[1])
        todo = 'Text goes in quotes: key = "text"' if complaint == "Invalid value" else ""
        findings.problems.append(Problem(findings.where, line, "", f"not TOML: {complaint}", todo))
    except RecursionError:
        findings.problem((), f"is nested too deeply for {what}")
    else:
        return raw
    return None
