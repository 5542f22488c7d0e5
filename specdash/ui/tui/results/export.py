"""The dialog that writes results to a file, and the writing itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Literal

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from specdash.analysis.result import build_result
from specdash.core.text import one_line
from specdash.core.view import View
from specdash.errors import StoreError
from specdash.store.disk import write_atomic
from specdash.store.export import to_csv, to_json, to_markdown
from specdash.store.html import to_html
from specdash.ui.tui.fields import Field

Format = Literal["md", "html", "csv", "json", "svg"]
FORMATS: Mapping[Format, str] = {
    "md": "Markdown: tables to paste where machines are compared",
    "html": "HTML: the whole report with charts, one file that opens offline",
    "csv": "CSV: one row for each sample",
    "json": "JSON: everything, schema specdash.result/1",
    "svg": "SVG: a picture of this screen",
}
NAME = "specdash-results"


def text_of_export(kind: Format, view: View, picture: str) -> str:
    """The file's content. Raises StoreError for a run in which nothing was measured, or whose numbers are none."""
    if kind == "svg":
        return picture
    write: Mapping[Format, Callable[[dict[str, object]], str]] = {
        "md": to_markdown,
        "html": to_html,
        "csv": to_csv,
        "json": to_json,
    }
    try:
        return write[kind](build_result(view))
    except ValueError as error:
        raise StoreError(
            f"the results cannot be summed up: {error}", "PaintContext at the samples for NaN or infinity."
        ) from error


def save(kind: Format, view: View, picture: str, written: str, *, replace: bool) -> Path:
    """Writes an export to the path that a person wrote, and says which that is.

    Raises FileExistsError rather than replacing a file unasked, StoreError, and what a path may raise.
    """
    path = Path(written.strip()).expanduser().absolute()
    if os.path.isdir(path):
        raise StoreError(f"{path} is a folder", "Name a file in it.")
    if os.path.exists(path) and not replace:
        raise FileExistsError(str(path))
    write_atomic(path.resolve() if path.is_symlink() else path, text_of_export(kind, view, picture))
    return path


class ExportDialog(ModalScreen[Path | None]):
    """Asks for a format and a path, writes, and closes with the path; an error is shown in place.

    `view`: the run to write; `picture`: the screen as SVG, taken before this dialog covered it.
    """

    DEFAULT_CSS = """
    ExportDialog { align: center middle; }
    ExportDialog > Vertical {
        width: 76; max-width: 100%; height: auto; max-height: 100%; border: round $primary; padding: 0 1;
        background: $surface;
    }
    ExportDialog OptionList, ExportDialog OptionList:focus { height: auto; max-height: 6; border: none; padding: 0; }
    ExportDialog Field, ExportDialog Field:focus { padding: 0; background: $boost; }
    ExportDialog Static { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "cancel", "Cancel", id="export.cancel"),
        Binding("tab", "app.focus_next", "Next field", id="export.next"),
    ]

    def __init__(self, view: View, folder: Path, picture: str) -> None:
        super().__init__()
        self._view = view
        self._folder = folder
        self._picture = picture
        self._kind: Format = "md"
        self._agreed: str | None = None  # the path that may be replaced
        self._is_writing = False

    def compose(self) -> ComposeResult:
        """Formats, the path, and a line that says what came of it."""
        with Vertical():
            yield Static("Export results", id="export-title", markup=False)
            yield OptionList(
                *(Option(text, id=kind) for kind, text in FORMATS.items()), id="export-format", markup=False
            )
            yield Static("to the file", markup=False)
            yield Field("export-path", value=self._default("md"), limit=4096)
            yield Static("Enter chooses, then writes; Esc closes", id="export-note", markup=False)

    def on_mount(self) -> None:
        """The formats first."""
        self.query_one(OptionList).focus()

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
    def _selected(self) -> None:
        self.query_one(Field).focus()

    @on(Field.Submitted)
    def _submitted(self, event: Field.Submitted) -> None:
        """Enter in the path writes; an existing file takes a second one."""
        event.stop()
        if self._is_writing:
            return
        if not event.value.strip():
            self._say("Name a file.")
            return
        self._is_writing = True
        self._say("writing...")
        self.run_worker(self._write(event.value), exclusive=True, group="export")

    async def _write(self, written: str) -> None:
        """Builds and writes beside the screen: a long run takes seconds."""
        try:
            agreed = self._agreed == written
            path = await asyncio.to_thread(save, self._kind, self._view, self._picture, written, replace=agreed)
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
        """More was pasted than a path has."""
        self._say(event.sentence)

    def _say(self, text: str) -> None:
        self.query_one("#export-note", Static).update(one_line(text, 400))

    def action_cancel(self) -> None:
        """Closes without writing."""
        self.dismiss(None)
