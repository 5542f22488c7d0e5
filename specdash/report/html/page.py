"""The document around the sections: one file without a reference to any other.

A Content-Security-Policy forbids every request, and every script but the two that are written here, which it names by
their hashes: whatever a label holds, nothing of it can run.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from specdash.core.text import one_line
from specdash.errors import StoreError
from specdash.report.html.markup import Markup, script_json

ASSETS = Path(__file__).parents[1] / "assets"


def document(title: str, body: str, figures: Sequence[dict[str, Any]]) -> str:
    """The whole file; plotly is part of it only where there is a figure. Raises StoreError where it is missing."""
    scripts = [_plotly(), _asset("report.js")] if figures else [_asset("report.js")]
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n',
            '<link rel="icon" href="data:,">\n',
            f"<title>{escape(one_line(title))}</title>\n<style>{_asset('report.css')}</style>\n</head>\n<body>\n",
            body,
            f'\n<script type="application/json" id="figures">{script_json(list(figures))}</script>\n',
            *(f"<script>{script}</script>\n" for script in scripts),
            "</body>\n</html>\n",
        )
    )


def _digest(script: str) -> str:
    """The hash by which a policy names an inline script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _asset(name: str) -> str:
    """A style sheet or script of this package."""
    return Markup((ASSETS / name).read_text(encoding="utf-8"))


def _plotly() -> str:
    """plotly.js as the plotly package brings it. That package is found, not imported, which would cost 40 ms."""
    found = importlib.util.find_spec("plotly")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        path = Path(folder) / "package_data" / "plotly.min.js"
        if os.path.isfile(path):
            return path.read_text(encoding="utf-8")
    raise StoreError("report.html needs the plotly package", "Install specdash again, or write another format.")
