"""The user's own settings: keys, theme, notifications, repaint rate, glyphs, mouse, model folders.

They live in `config.toml` in the platform's configuration folder, never in the working folder, and `SPECDASH_CONFIG`
names another file. A mistake in it never stops a dashboard: the setting keeps its default and the problem is said, with
its line and the nearest spelling. `save_setting` changes one line and leaves the rest of the file, comments included.
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specdash.config.fields import TomlTable, unknown_keys
from specdash.config.lines import key_lines
from specdash.config.problems import Findings, escaped, guess
from specdash.config.toml_file import read_toml
from specdash.errors import Problem, SpecdashError

FILE_VARIABLE = "SPECDASH_CONFIG"
NOTIFICATIONS = ("bell", "osc9", "off")
GLYPHS = ("auto", "unicode", "ascii")
RATES_HZ = (5.0, 2.0, 1.0, 0.5, 0.2)
DEFAULT_RATE_HZ = 2.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user wants everywhere. `theme` None: the terminal decides; `keys` maps binding ids to "key,key".

    `rate_hz`: repaints a second. `warnings` are the problems of the file; what they are about has its default.
    """

    path: Path
    theme: str | None = None
    notifications: str = "bell"
    rate_hz: float = DEFAULT_RATE_HZ
    glyphs: str = "auto"
    mouse: bool = True
    model_dirs: tuple[Path, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()


def settings_path(environment: Mapping[str, str] | None = None) -> Path:
    """Where the settings are: `SPECDASH_CONFIG`, else `config.toml` in the platform's configuration folder."""
    named = (os.environ if environment is None else environment).get(FILE_VARIABLE)
    if named:
        return Path(named).expanduser()
    from platformdirs import user_config_path

    return user_config_path("specdash") / "config.toml"


def load_settings(path: Path | None = None, binding_ids: Collection[str] = ()) -> Settings:
    """The settings in the file at `path`; the defaults where there is none. Nothing is raised.

    `binding_ids` are the ids that `[keys]` may have; none given: they are not checked.
    """
    file = path if path is not None else settings_path()
    findings = Findings(escaped(str(file)))
    if not os.path.lexists(file):
        return Settings(file)
    raw = read_toml(file, findings, "settings")
    if raw is None:
        return Settings(file, warnings=tuple(findings.problems))
    return _settings(TomlTable(findings, (), raw), file, findings, binding_ids)


def _settings(top: TomlTable, file: Path, findings: Findings, binding_ids: Collection[str]) -> Settings:
    theme = top.text("theme", "") or None
    notifications = top.choice("notifications", "bell", NOTIFICATIONS)
    rates = ", ".join(f"{rate:g}" for rate in RATES_HZ)
    rate_hz = top.get("fps", DEFAULT_RATE_HZ, f"one of {rates} (repaints a second)", _rate)
    glyphs = top.choice("glyphs", "auto", GLYPHS)
    mouse = top.boolean("mouse", default=True)
    model_dirs = tuple(_folder(each, file) for each in top.strings("model_dirs") if "\0" not in each)
    keys = _keys(top.table("keys"), binding_ids)
    unknown_keys(top.family)
    findings.problems.sort(key=lambda problem: problem.line or 0)
    warnings = tuple(findings.problems)
    return Settings(file, theme, notifications, rate_hz, glyphs, mouse, model_dirs, keys, warnings)


def _rate(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if float(value) in RATES_HZ else None


def _folder(text: str, file: Path) -> Path:
    """A model folder; a relative one starts at the settings file."""
    return file.absolute().parent / Path(text).expanduser()


def _keys(table: TomlTable, binding_ids: Collection[str]) -> dict[str, str]:
    """`[keys]`, with ids as quoted keys ("main.skip" = "x") or as the dotted keys that TOML makes tables of."""
    found: dict[str, str] = {}
    _gather(table, "", table.raw, binding_ids, found)
    return found


def _gather(
    table: TomlTable, prefix: str, raw: Mapping[str, Any], binding_ids: Collection[str], found: dict[str, str]
) -> None:
    path = (*table.path, *(part for part in prefix.split(".") if part))
    for name, value in raw.items():
        binding = f"{prefix}{name}"
        where = (*path, name)
        if not prefix:
            table.ask(name)
        if isinstance(value, dict):
            _gather(table, f"{binding}.", value, binding_ids, found)
        elif binding_ids and binding not in binding_ids:
            table.findings.problem(where, "no such action", guess(binding, sorted(binding_ids)))
        elif not isinstance(value, str) or not value.strip() or not value.isprintable():
            table.findings.problem(where, 'must be keys in a string, as "x" or "x,ctrl+x"')
        else:
            found[binding] = ",".join(part.strip() for part in value.split(",") if part.strip())


def save_setting(path: Path, key: str, value: str | bool | float) -> None:
    """Writes one setting of the top of the file; everything else in it, comments too, stays as it is.

    Raises SpecdashError when the file cannot be written, or is not TOML, which would make the rest of it be lost.
    """
    import tomli_w

    file = Path(os.path.realpath(path))
    try:
        text = file.read_text(encoding="utf-8-sig") if os.path.exists(file) else ""
        raw = tomllib.loads(text)
        line = key_lines(text).get((key,))
        entry = tomli_w.dumps({key: value})
        lines = text.splitlines(keepends=True)
        if key in raw and line is not None:
            comment = lines[line - 1].partition("#")[2] if '"' not in lines[line - 1].partition("#")[2] else ""
            lines[line - 1] = entry if not comment else f"{entry.rstrip()}  #{comment.rstrip()}\n"
        else:
            lines.insert(0, entry)
        changed = "".join(lines)
        if tomllib.loads(changed) != {**raw, key: value}:
            raise SpecdashError(f"{path}: {key} cannot be written there without changing other settings")
        _replace(file, changed)
    except (OSError, ValueError) as error:
        raise SpecdashError(f"{path}: {key} was not saved: {error}") from error


def _replace(file: Path, text: str) -> None:
    """Puts `text` in the place of the file in one go, so that no reader finds a half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".config-", suffix=".toml")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        os.replace(name, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
