"""`python -m benchmarks [NAMES]`: runs the benches in turn and prints one table of goals and figures.

NAMES are those of the modules without `bench_`; all by default. A figure that misses its goal changes no exit code:
timings of a busy machine are for reading, not for tests.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Runs what the command line names; 1 when a bench could not run."""
    sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]
    from benchmarks.common import Row, print_table

    known = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed and size of specdash")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; default: all")
    names = parser.parse_args().names or known
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"no bench {', '.join(unknown)}; there are {', '.join(known)}")
    rows: list[Row] = []
    failed = 0
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            rows += importlib.import_module(f"bench_{name}").main()
        except Exception as error:  # noqa: BLE001 - the other figures are wanted all the same
            failed += 1
            rows.append(Row(f"{name} could not run", "", " ".join(str(error).split())[-160:] or repr(error), False))
    print_table(rows)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
