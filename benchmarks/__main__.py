"""`python -m benchmarks [--brief] [NAMES]`: runs benches in turn and prints one table of goals and figures.

NAMES are those of the modules; all by default. A figure that misses its goal changes no exit code: timings of a busy
machine are for reading, not for tests. `--brief` shows that every bench still works, and nothing else: it sets the
constants that a module's `BRIEF` names, so that all sizes are the smallest. A module without BRIEF takes minutes even
so, and is only imported.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType

from benchmarks.common import Row, print_table

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py") if path.stem != "common")


def main() -> int:
    """Run what the command line names; 1 when a bench could not run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed and size of specdash")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--brief", action="store_true", help="smallest sizes: whether each bench works, no figures")
    options = parser.parse_args()
    names = options.names or NAMES
    if unknown := sorted(set(names) - set(NAMES)):
        parser.error(f"no bench {', '.join(unknown)}; there are {', '.join(NAMES)}")
    rows: list[Row] = []
    failed = 0
    for name in names:
        begun_s = time.monotonic()
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            module = importlib.import_module(f"benchmarks.{name}")
            rows += brief_rows(module) if options.brief else module.main()
        except Exception as error:  # noqa: BLE001 - the other figures are wanted all the same
            failed += 1
            traceback.print_exc()
            rows.append(Row(f"{name} could not run", "", " ".join(str(error).split())[-160:] or repr(error), False))
        if options.brief:
            rows.append(Row(f"{name} took", "", f"{time.monotonic() - begun_s:.1f} s"))
    print_table(rows)
    return min(failed, 1)


def brief_rows(module: ModuleType) -> list[Row]:
    """Run a bench at its smallest size; the rows only show that there are some."""
    changes: dict[str, object] | None = getattr(module, "BRIEF", None)
    if changes is None:
        return []
    missing = changes.keys() - vars(module).keys()
    assert not missing, f"BRIEF names what {module.__name__} does not have: {missing}"
    vars(module).update(changes)
    with redirect_stdout(StringIO()):  # tables of figures that mean nothing here
        rows: list[Row] = module.main()
    assert rows, f"{module.__name__} has no figures"
    return []


if __name__ == "__main__":
    sys.exit(main())
