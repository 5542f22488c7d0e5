"""The dialog that writes results to a file, and the writing itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from textual import on
from textual.app import ComposeResult
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from specdash.analysis.build_result import result_of
from specdash.core.state import RunState
from specdash.errors import StoreError
from specdash.session.reports import REPORTS
from specdash.store.disk import write_atomic
from specdash.ui.tui.lines import LinesWidget
from specdash.ui.tui.widgets.form import Field, FormDialog

Format = Literal["md", "html", "csv", "json", "svg"]
FORMATS: Mapping[Format, str] = {
    "md": "Markdown: tables to paste where machines are compared",
    "html": "HTML: the whole report with charts, one file that opens offline",
    "csv": "CSV: one row for each sample",
    "json": "JSON: everything, schema specdash.result/1",
    "svg": "SVG: a picture of this screen",
}
NAME = "specdash-results"
HINT = "Enter chooses, then writes; Esc closes"


def text_of_export(kind: Format, view: RunState, picture: str) -> str:
    """Return the file's content. Raises StoreError where nothing was measured, or a number is not finite."""
    if kind == "svg":
        return picture
    _, write = REPORTS[kind]
    try:
        return write(result_of(view))
    except ValueError as error:
        raise StoreError(
            f"the results cannot be summed up: {error}", "PaintContext at the samples for NaN or infinity."
        ) from error


def save_export(kind: Format, view: RunState, picture: str, written: str, *, replace: bool) -> Path:
    """Write an export to the path that a person wrote; return the absolute path.

    Raises FileExistsError rather than replacing a file unasked, StoreError, and what a path may raise.
    """
    path = Path(written.strip()).expanduser().absolute()
    if os.path.isdir(path):
        raise StoreError(f"{path} is a folder", "Name a file in it.")
    if os.path.exists(path) and not replace:
        raise FileExistsError(str(path))
    write_atomic(path.resolve() if path.is_symlink() else path, text_of_export(kind, view, picture))
    return path


class ExportDialog(FormDialog[Path]):
    """Asks for a format and a path, writes, and closes with the path; an error is shown in place.

    `view`: the run to write; `picture`: the screen as SVG, taken before this dialog covered it.
    """

    WIDTH = 76
    KEYS = ()
    MESSAGE_ROWS = 6
    CSS = """
    ExportDialog #form { border: round $primary; }
    ExportDialog OptionList, ExportDialog OptionList:focus { height: auto; max-height: 6; border: none; padding: 0; }
    ExportDialog OptionList, ExportDialog Field { margin: 0 1; }
    ExportDialog Field, ExportDialog Field:focus { padding: 0; background: $boost; }
    """

    def __init__(self, view: RunState, folder: Path, picture: str) -> None:
        super().__init__("Export results")
        self._view = view
        self._folder = folder
        self._picture = picture
        self._kind: Format = "md"
        self._agreed: str | None = None  # the path that may be replaced
        self._is_writing = False
        self._said = ""

    def compose_fields(self) -> ComposeResult:
        """Yield the formats and the path."""
        yield OptionList(*(Option(text, id=kind) for kind, text in FORMATS.items()), id="export-format", markup=False)
        yield LinesWidget(id="export-where")
        yield Field("export-path", value=self._default("md"), limit=4096)

    def on_mount(self) -> None:
        """Focus the formats."""
        self.query_one("#export-where", LinesWidget).show([((" to the file", ""),)])
        self.query_one(OptionList).focus()

    def evaluate(self) -> tuple[Path, str]:
        """Return the folder, and what came of the last attempt."""
        return self._folder, self._said or HINT

    def _default(self, kind: Format) -> str:
        return str(self._folder / f"{NAME}.{kind}")

    @on(OptionList.OptionHighlighted)
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Another format: the path follows, unless it was written by hand."""
        path = self.query_one(Field)
        if event.option.id not in FORMATS:
            return
        if path.value == self._default(self._kind):
            path.value = self._default(event.option.id)  # type: ignore[arg-type]
        self._kind = event.option.id  # type: ignore[assignment]

    @on(OptionList.OptionSelected)
    def action_accept(self) -> None:
        """Go from the formats to the path; there, write. An existing file takes a second Enter."""
        path = self.query_one(Field)
        if not path.has_focus:
            path.focus()
        elif not path.value.strip():
            self._say("Name a file.")
        elif not self._is_writing:
            self._is_writing = True
            self._say("writing...")
            self.run_worker(self._write(path.value), exclusive=True, group="export")

    async def _write(self, written: str) -> None:
        """Build and write beside the screen: a long run takes seconds."""
        try:
            agreed = self._agreed == written
            path = await asyncio.to_thread(save_export, self._kind, self._view, self._picture, written, replace=agreed)
        except FileExistsError:
            self._agreed = written
            self._say("This file exists. Enter again replaces it; or name another one.")
        except StoreError as error:
            self._say(" ".join(part for part in (error.what, error.todo) if part))
        except (OSError, RuntimeError, ValueError) as error:  # a home that is unknown, a name with a NUL in it
            self._say(f"This file cannot be written: {error}")
        else:
            self.dismiss(path)
        finally:
            self._is_writing = False

    def on_field_cut(self, event: Field.Cut) -> None:
        """Say that more was pasted than fits."""
        self._say(event.sentence)

    def _say(self, text: str) -> None:
        self._said = text
        self.update()
