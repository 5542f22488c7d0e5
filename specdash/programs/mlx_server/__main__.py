"""Runs the server from its folder, as a package of its own name: PYTHON need not have specdash, or may have another."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

NAME = "specdash_mlx"


def main() -> int:
    """Serves, and returns the exit code where it cannot."""
    folder = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    code: int = importlib.import_module(f"{NAME}.serving").main()
    return code


if __name__ == "__main__":
    sys.exit(main())
