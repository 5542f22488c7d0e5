"""`python -m tests.tools.report_shots OUT [NAMES…] [--result result.json]`: reports as pictures, by a real browser.

For each report, from its top down: NAME-light-N.png, NAME-dark-N.png, NAME-phone-N.png (390 px wide), and
NAME-print.pdf, with its pages as NAME-print-N.png where pdftoppm is installed. Console errors are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from specdash.store.disk import write_atomic
from tests.support.browser import Browser, Page, browser_program
from tests.support.rendering import to_html

TALL_PX = 16_000  # of a page that is taken
SLICE_PX = 1600


def documents() -> dict[str, Callable[[], dict[str, Any]]]:
    """The reports to look at by name."""
    from tests.support import report_documents as made

    return {
        "pair": made.run_document,
        "large": made.large_document,
        "failed": made.failed_document,
        "single": made.single_sample_document,
        "evil": made.evil_document,
        "imported": made.draftbench_document,
    }


async def shoot(page: Page, path: Path) -> dict[str, bytes]:
    """The pictures of one report by file name."""
    found: dict[str, bytes] = {}
    for name, width, scheme in (("light", 1280, "light"), ("dark", 1280, "dark"), ("phone", 390, "light")):
        await page.emulate(width, 900, scheme)
        await page.open(path)
        height = min(TALL_PX, await page.evaluate("Math.ceil(document.documentElement.scrollHeight)"))
        for number, top in enumerate(range(0, height, SLICE_PX), start=1):
            picture = await page.picture(width, min(SLICE_PX, height - top), top)
            found[f"{path.stem}-{name}-{number}.png"] = picture
    await page.emulate(1280, 900, "dark")
    await page.open(path)
    found[f"{path.stem}-print.pdf"] = await page.print()
    for error in page.errors:
        print(f"{path.stem}: {error}", file=sys.stderr)
    return found


async def shoot_all(program: str, paths: Sequence[Path]) -> dict[str, bytes]:
    """The pictures of all reports, in one browser."""
    found: dict[str, bytes] = {}
    async with Browser.start(program) as browser:
        for path in paths:
            async with browser.page() as page:
                found |= await shoot(page, path)
    return found


def main() -> None:
    """Writes and photographs what the command line names."""
    known = documents()
    parser = argparse.ArgumentParser(description="Reports as pictures")
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(known)}; default: all")
    parser.add_argument("--result", type=Path, help="a result.json to render")
    options = parser.parse_args()
    program = browser_program()
    if program is None:
        raise SystemExit("no Chromium on PATH")
    options.out = options.out.absolute()
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = {name: known[name] for name in options.names or ([] if options.result else known)}
    if options.result:
        wanted["result"] = lambda: dict(json.loads(options.result.read_text(encoding="utf-8")))
    paths = []
    for name, make in wanted.items():
        paths.append(options.out / f"{name}.html")
        write_atomic(paths[-1], to_html(make()))
        print(f"{paths[-1]} ({paths[-1].stat().st_size / 1e6:.2f} MB)")
    for name, content in asyncio.run(shoot_all(program, paths)).items():
        (options.out / name).write_bytes(content)
        if name.endswith(".pdf") and shutil.which("pdftoppm"):
            stem = options.out / name.removesuffix(".pdf")
            subprocess.run(["pdftoppm", "-r", "60", "-png", f"{stem}.pdf", stem], check=True)


if __name__ == "__main__":
    main()
