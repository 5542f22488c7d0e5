"""How long short commands take from the shell's point of view, and which libraries they load."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from benchmarks.common import Place, Row, place, spread
from tests.support.paths import ROOT

TIMES = 15
HELP_GOAL_MS = 150
HEAVY = ("aiohttp", "gguf", "msgspec", "numpy", "plotext", "psutil", "rich", "textual", "xllamacpp")
SCREENS_AND_HTTP = {"aiohttp", "textual"}
# Exits like the command itself; the modules are told on stderr whatever happens.
LOADED = """
import sys
from specdash.cli import main
try:
    main()
finally:
    print("loaded", len(sys.modules), *(name for name in {heavy!r} if name in sys.modules), file=sys.stderr)
"""


def main() -> list[Row]:
    """Bare Python first, since all else stands on it."""
    with place() as here:
        profile = here.profile("short", here.fake_server(), (2, 4, 8), 'categories = ["coding"]')
        absent = ROOT / "profiles" / "moe-480b-server-mode.toml"
        rows = [Row("python -c pass", "", spread(timed(here, [sys.executable, "-c", "pass"]), "{:.0f}", " ms"))]
        for words in (("--help",), ("--version",), ("check", profile), ("plan", profile), ("plan", absent)):
            times = timed(here, here.command(*words))
            heavy, modules = loaded(here, *map(str, words))
            name = f"specdash {' '.join(getattr(word, 'name', str(word)) for word in words)}"
            is_help = words == ("--help",)
            goal, met = (f"< {HELP_GOAL_MS} ms", median(times) < HELP_GOAL_MS) if is_help else ("", None)
            rows.append(Row(name, goal, spread(times, "{:.0f}", " ms"), met))
            rows.append(
                Row(
                    f"{name}: heavy libraries loaded",
                    "none" if is_help else "no screen, no HTTP",
                    f"{', '.join(heavy) or 'none'} ({modules} modules)",
                    not heavy if is_help else not SCREENS_AND_HTTP & set(heavy),
                )
            )
    return rows


def timed(here: Place, command: list[str]) -> list[float]:
    """Wall times of a command, milliseconds, without its first run, which may compile."""
    times = []
    for _ in range(TIMES + 1):
        start_s = time.perf_counter()
        subprocess.run(command, cwd=here.folder, env=here.environment, capture_output=True)
        times.append(1000 * (time.perf_counter() - start_s))
    return times[1:]


def loaded(here: Place, *words: str) -> tuple[list[str], int]:
    """The heavy libraries that a command has loaded when it ends, and the number of all modules."""
    code = LOADED.format(heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=here.folder, env=here.environment, capture_output=True, text=True
    )
    _, modules, *heavy = done.stderr.splitlines()[-1].split()
    return heavy, int(modules)
