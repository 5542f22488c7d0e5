"""Write the JSON Schemas of profiles and results into specdash/schemas (make docs): by their reader and their types."""

from __future__ import annotations

import json

from specdash.config.schema import profile_schema
from specdash.store.result_schema import result_schema
from tests.support.paths import ROOT

FOLDER = ROOT / "specdash" / "schemas"
SCHEMAS = {"profile.schema.json": profile_schema, "result.schema.json": result_schema}


def main() -> None:
    """Write each file."""
    for name, make in SCHEMAS.items():
        (FOLDER / name).write_text(json.dumps(make(), indent=1) + "\n")


if __name__ == "__main__":
    main()
