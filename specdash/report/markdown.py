"""A report as Markdown that can be pasted where people compare machines.

Tables stay under 120 columns, text from outside can neither end a cell nor become markup, and the last section says
what a figure needs to mean something: build, hardware, settings, commands. Only measurements that count are in tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from specdash.analysis.result import Result
from specdash.core.text import markdown_cell, plain, squeezed
from specdash.report.blocks import (
    MARKDOWN,
    Answer,
    Badge,
    Below,
    Block,
    Bullets,
    Code,
    Commands,
    Heading,
    Name,
    Paragraph,
    Report,
    ReportTable,
    Strong,
    Words,
    blocks_for,
)
from specdash.report.sections import report_of

MAX_COLUMNS = 119
SENTENCE_CHARS = 400
COMMAND_CHARS = 8000
MAX_COMMANDS = 12


def to_markdown(result: Result) -> str:
    """The report of a result as Markdown text."""
    report = report_of(result)
    lines = [f"# Speculative decoding: {_safe(report.title)}", ""]
    lines += [f"Run {_safe(report.run)}, {_safe(report.state)}.", "", *_warnings(report)]
    for section in report.sections:
        blocks = blocks_for(MARKDOWN, section.blocks) if section.kind in ("", MARKDOWN) else []
        if not blocks:
            continue
        lines += [f"## {_safe(section.markdown_title or section.title)}", ""]
        if section.name == "recommendations":
            lines += [line for each in report.answers for line in _answer(each)]
        for block in blocks:
            lines += [*_block(block), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _warnings(report: Report) -> list[str]:
    """What a reader has to know before believing a number."""
    return [line for each in report.warnings for line in (f"**{_safe(each)}**", "")]


def _answer(each: Answer) -> list[str]:
    """What to use for a target, with its command."""
    said = " ".join(filter(None, (each.said, each.remark)))
    choice = _words(each.choice).replace("\u00a0", " ")
    lines = [f"**{_safe(each.subject)}: {choice}.** {_safe(said, 2 * SENTENCE_CHARS)}", ""]
    lines += [f"Not told apart from: {_safe(each.tied)}.", ""] if each.tied else []
    return [*lines, *_code([each.command]), ""] if each.command else lines


def _block(block: Block) -> list[str]:
    match block:
        case Paragraph(words, _):
            return [_words(words)]
        case Heading(words):
            return [f"### {_words(words)}"]
        case Bullets(items):
            return [f"- {_words(each)}" for each in items]
        case ReportTable():
            return _table(block)
        case Commands(lines, _):
            more = len(lines) - MAX_COMMANDS
            rest = ["", f"and {more} more, which result.json lists."] if more > 0 else []
            return [*_code(lines[:MAX_COMMANDS]), *rest]
        case _:
            raise TypeError(f"a block that Markdown has no form for: {block!r}")


def _words(words: Words) -> str:
    match words:
        case tuple():
            return "".join(map(_words, words))
        case Name(text, _) | Below(text) | Badge(text, _) | Strong(text):
            return _words(text)
        case Code(text):
            return f"`{text}`"
        case _:
            # A blank at either end stays, since texts are joined.
            before, behind = " " * words[:1].isspace(), " " * (len(words) > 1 and words[-1:].isspace())
            return f"{before}{_safe(words, 2 * SENTENCE_CHARS)}{behind}"


def _safe(text: object, limit: int = SENTENCE_CHARS) -> str:
    """Text that is neither markup nor HTML."""
    return markdown_cell(str(text), limit)


def _code(commands: Iterable[str]) -> list[str]:
    """Lines of an indented code block: unlike a fence, no content can end it."""
    return [f"    {' '.join(plain(command, COMMAND_CHARS).splitlines())}" for command in commands]


def _table(table: ReportTable) -> list[str]:
    """A table with aligned columns; cells are made safe, and names cut until a line fits."""
    header = [column.title for column in table.columns]
    right = [column.is_number for column in table.columns]
    limit = 60
    while True:
        cells = [
            [
                _cell(cell, SENTENCE_CHARS if is_number else limit)
                for cell, is_number in zip(row.cells, right, strict=False)
            ]
            for row in table.rows
        ]
        widths = [max(3, *(len(row[column]) for row in (header, *cells))) for column in range(len(header))]
        if sum(widths) + 3 * len(widths) + 1 <= MAX_COLUMNS or limit <= 8:
            break
        limit -= 1
    ruler = [
        "-" * (width - 1) + ":" if at_right else "-" * width for at_right, width in zip(right, widths, strict=True)
    ]
    return [f"| {' | '.join(row)} |" for row in (_padded(header, widths, right), ruler,
                                                 *(_padded(row, widths, right) for row in cells))]  # fmt: skip


def _padded(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    return [
        cell.rjust(width) if at_right else cell.ljust(width)
        for cell, width, at_right in zip(row, widths, right, strict=True)
    ]


def _cell(words: Words, limit: int) -> str:
    """A cell as plain text, cut to `limit` characters and made safe."""
    return _safe(squeezed(_plain(words), limit), limit)


def _plain(words: Words) -> str:
    match words:
        case tuple():
            return "".join(map(_plain, words))
        case Name(text, _) | Below(text) | Badge(text, _) | Strong(text):
            return _plain(text)
        case Code(text):
            return text
        case _:
            return words
