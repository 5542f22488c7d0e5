"""Escaping, and the few elements that every section is made of.

A plain string is text from anywhere and is escaped wherever it meets a page; only `Markup` is taken for HTML. Closing
tags of cells and rows are left out, as HTML allows: long tables are half as long.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from specdash.core.text import one_line, plain

TEXT_CHARS = 2000
LABEL_CHARS = 64
TITLE_CHARS = 600
COMMAND_CHARS = 8000
SHORT_CHARS = 24  # what a cell of a table keeps on one line


class Markup(str):
    """HTML that was made here."""

    __slots__ = ()


def esc(text: object, limit: int = TEXT_CHARS) -> Markup:
    """Text as HTML: on one line, nothing in it is markup, controls and bidi marks are visible. Markup stays.

    A blank at either end stays too, since texts are joined.
    """
    if isinstance(text, Markup):
        return text
    whole = str(text)
    shown = escape(one_line(whole, limit))
    return Markup(f"{' ' * whole[:1].isspace()}{shown}{' ' * (bool(shown) and whole[-1:].isspace())}")


def label(text: object, limit: int = LABEL_CHARS) -> Markup:
    """A name from outside: its direction stays its own, a long one is cut and whole in the tooltip."""
    whole, cut = one_line(str(text), TITLE_CHARS), one_line(str(text), limit)
    title = f' title="{escape(whole)}"' if whole != cut else ""
    short = " class=s" if len(cut) <= SHORT_CHARS else ""
    return Markup(f"<bdi{short}{title}>{escape(cut)}</bdi>")


def join(parts: Iterable[str], between: str = "") -> Markup:
    """Markup joined; text among it is escaped."""
    return Markup(between.join(esc(part) for part in parts))


def paragraph(text: object, kind: str = "") -> Markup:
    """A paragraph of the class `kind`."""
    return Markup(f"<p{f' class={kind}' if kind else ''}>{esc(text)}</p>")


def items(texts: Iterable[object]) -> Markup:
    """A bulleted list; nothing for no texts."""
    found = "".join(f"<li>{esc(text)}" for text in texts)
    return Markup(f"<ul>{found}</ul>" if found else "")


def section(name: str, title: str, *parts: str) -> Markup:
    """A section with a heading that can be linked to."""
    return Markup(f'<section id="{name}"><h2>{esc(title)}</h2>{join(parts)}</section>')


def details(summary: str, body: str, *, is_open: bool = False, kind: str = "") -> Markup:
    """Something folded away."""
    attributes = (f' class="{kind}"' if kind else "") + (" open" if is_open else "")
    return Markup(f"<details{attributes}><summary>{esc(summary)}</summary>{esc(body)}</details>")


def code(text: str) -> Markup:
    """A command line as it has to be typed: its blanks stay, what could not be typed is visible."""
    return Markup(escape(plain(text, COMMAND_CHARS)))


def command(text: str) -> Markup:
    """A command line with a button that copies it."""
    return Markup(
        f'<div class="command"><pre tabindex="0"><code>{code(text)}</code></pre>'
        '<button type="button" class="copy">Copy</button></div>'
    )


@dataclass(frozen=True, slots=True)
class Column:
    """A column's title; `is_number` aligns it to the right, with digits of one width; `is_wide` lets text wrap."""

    title: str
    is_number: bool = True
    is_wide: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of a row, text or Markup; the first `heads` of them name it. `span`: text in place of the cells left.

    `kind` is a CSS class.
    """

    cells: Sequence[str]
    heads: int = 1
    span: str | None = None
    kind: str = ""


def table(caption: str, columns: Sequence[Column], rows: Iterable[Row]) -> Markup:
    """A table in a box of its own, in which it scrolls when it is too long or too wide."""
    head = "".join(f'<th scope="col"{_class(column)}>{esc(column.title)}' for column in columns)
    body = "".join(_row(row, columns) for row in rows)
    return Markup(
        f'<div class="box" tabindex="0" role="region" aria-label="{escape(one_line(caption))}"><table>'
        f"<caption>{esc(caption)}</caption><thead><tr>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: Row, columns: Sequence[Column]) -> str:
    cells = []
    for number, (cell, column) in enumerate(zip(row.cells, columns, strict=False)):
        tag = 'th scope="row"' if number < row.heads else "td"
        cells.append(f"<{tag}{_class(column)}>{esc(cell)}")
    if row.span is not None:
        cells.append(f'<td class="wide why" colspan="{len(columns) - len(row.cells)}">{esc(row.span)}')
    return f"<tr{f' class={row.kind}' if row.kind else ''}>{''.join(cells)}"


def _class(column: Column) -> str:
    return " class=n" if column.is_number else " class=wide" if column.is_wide else ""


def script_json(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in, nor open a comment in it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
