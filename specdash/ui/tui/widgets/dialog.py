"""Dialogs of lines over the screen below, answered by keys; they fill the whole terminal where that is small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Generic, Literal, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from specdash.ui.tui.context import DashboardPart
from specdash.ui.tui.keys import APP, ActionInfo, key_label
from specdash.ui.tui.lines import Line, LinesWidget, Span, fitted, width_of
from specdash.ui.tui.panes.header import one_line_status, run_name
from specdash.ui.tui.panes.pane import paragraph
from specdash.ui.tui.screen import RunScreen

Result = TypeVar("Result")
LeaveChoice = Literal["detach", "stop_after_load", "stop", "stay"]

BOX_LEAST = (44, 10)
READABLE = 72  # cells; longer lines are tiring to read
HELP_WIDTH = 60
HELP_KEYS = 16
LEAST_WIDTH = 40  # of a terminal that has room for a screen
LEAST_HEIGHT = 10


def key_hints(*hints: tuple[str, str], gap: str = "  ") -> Line:
    """Return the keys of a dialog in one line, each with what it does."""
    spans: list[Span] = []
    for key, words in hints:
        spans += [(gap if spans else "", ""), (key, "key"), (f" {words}", "")]
    return tuple(spans)


class LinesDialog(DashboardPart, ModalScreen[Result], Generic[Result]):
    """A dialog that is made of lines and answered by keys; it can be drawn at every size."""

    DEFAULT_CSS = """
    LinesDialog { align: center middle; }
    LinesDialog #box { width: 1fr; height: 1fr; background: $surface; }
    LinesDialog.-boxed #box { width: auto; height: auto; max-width: 95%; max-height: 95%; }
    LinesDialog.-boxed #box { border: ascii $foreground; padding: 0 1; }
    """
    FITS_ANYWHERE = True

    def compose(self) -> ComposeResult:
        """Yield the one widget."""
        yield LinesWidget(id="box")

    def content(self, width: int, height: int) -> list[Line]:
        """Return the lines for so much room."""
        raise NotImplementedError

    def paint(self) -> None:
        """Show the lines that fit the terminal."""
        box = next(iter(self.query("#box").results(LinesWidget)), None)
        if not self.is_mounted or box is None:  # it may have been answered before it was drawn
            return
        width, height = self.size
        boxed = width >= BOX_LEAST[0] and height >= BOX_LEAST[1]
        self.set_class(boxed, "-boxed")
        room = (int(width * 0.95) - 4, int(height * 0.95) - 2) if boxed else (width, height)
        lines = self.content(*room)
        if boxed:
            box.styles.width = min(room[0], max((width_of(line) for line in lines), default=1)) + 4
        else:
            box.styles.width = "1fr"
        box.show(lines)

    def fit(self, lines: Sequence[Line], width: int) -> list[Line]:
        """Return the lines in at most so many cells."""
        return [fitted(line, width, self.dashboard.terminal.glyphs.ellipsis) for line in lines]

    def action_answer(self, answer: Result) -> None:
        """Close the dialog with an answer."""
        self.dismiss(answer)

    def on_mount(self) -> None:
        """Paint once the dialog is laid out."""
        self.call_after_refresh(self.paint)

    def on_resize(self, event: events.Resize) -> None:
        """Paint for another size."""
        self.call_after_refresh(self.paint)


class Question(LinesDialog[bool]):
    """Asks something that is answered by y or n; Enter is no answer, so that nothing is stopped by mistake."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", id="question.yes"),
        Binding("n,escape,q", "answer(False)", "No", id="question.no"),
    ]

    def __init__(self, question: str, costs: Sequence[str]) -> None:
        super().__init__()
        self._question = question
        self._costs = tuple(costs)

    def content(self, width: int, height: int) -> list[Line]:
        """Return the question, what it costs, and the keys, which stand first where there is hardly any room."""
        keys = key_hints(("y", "yes"), ("n", "no"), gap="   ")
        room = max(1, min(width, READABLE))
        lines = list(paragraph(self._question, room, "title", 0))
        if height <= len(lines) + 1:
            return self.fit([keys, *lines], width)[: max(1, height)]
        for cost in self._costs:
            lines += paragraph(cost, room, "", 0)
        return [*lines[: height - 2], (), keys]


class LeaveMenu(LinesDialog[LeaveChoice]):
    """Asks what is to become of the run that goes on. Neither Enter nor a second q stops anything."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d,enter", "answer('detach')", "Detach, the sweep goes on", id="leave.detach"),
        Binding("s", "answer('stop_after_load')", "Stop after this load", id="leave.stop_after_load"),
        Binding("k", "answer('stop')", "Stop now", id="leave.stop"),
        Binding("escape,q", "answer('stay')", "Stay", id="leave.stay"),
    ]

    def content(self, width: int, height: int) -> list[Line]:
        """Return the choices, in words where there is room for them."""
        if height < 4 or width < 12:
            first = (("d", "detach"), ("s k", "stop")) if width >= 34 else (("d s k", "stop"),)
            return self.fit([key_hints(*first, ("esc", "stay"), gap=" ")], width)
        if width < 40:
            short = (("d", "detach"), ("s", "stop after load"), ("k", "stop now"), ("esc", "stay"))
            return self.fit([key_hints(each) for each in short], width)
        lines: list[Line] = [
            (("Leave: the sweep is running", "title"),),
            (),
            (("  d  ", "key"), ("detach, the sweep goes on (default)", "")),
            (("  s  ", "key"), ("stop once the steps of this server load are done", "")),
            (("  k  ", "key"), ("stop now: the request in flight is lost, samples are kept", "")),
            ((" esc ", "key"), ("stay", "")),
        ]
        return self.fit(lines, width)[-height:]


class ScrolledDialog(LinesDialog[None]):
    """Lines that can be longer than the dialog."""

    def __init__(self) -> None:
        super().__init__()
        self._top = 0

    def window(self, lines: Sequence[Line], rows: int) -> tuple[list[Line], int]:
        """Return the lines from where one has scrolled to, and how many are below."""
        self._top = max(0, min(self._top, len(lines) - rows))
        shown_lines = list(lines[self._top : self._top + rows])
        return shown_lines, len(lines) - self._top - len(shown_lines)

    def action_close(self) -> None:
        """Close the dialog."""
        self.dismiss(None)

    def action_scroll(self, by: int) -> None:
        """Show what is further down, or up."""
        self._top += by
        self.paint()

    def on_mouse_scroll_down(self) -> None:
        """Scroll by the wheel."""
        self.action_scroll(3)

    def on_mouse_scroll_up(self) -> None:
        """Scroll by the wheel."""
        self.action_scroll(-3)


def _scrolling(place: str, page: int) -> list[BindingType]:
    return [
        Binding("down,j", "scroll(1)", "Down", id=f"{place}.down"),
        Binding("up,k", "scroll(-1)", "Up", id=f"{place}.up"),
        Binding("pagedown,space", f"scroll({page})", "Page down", id=f"{place}.page_down"),
        Binding("pageup", f"scroll({-page})", "Page up", id=f"{place}.page_up"),
        Binding("home,g", "scroll(-1000000)", "First line", id=f"{place}.first"),
        Binding("end,G", "scroll(1000000)", "Last line", id=f"{place}.last"),
    ]


class StepWindow(ScrolledDialog):
    """Everything about one step; `lines_of` makes its lines for a width."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *_scrolling("step", 15),
        Binding("escape,enter,q", "close", "Back", id="step.close"),
    ]

    def __init__(self, lines_of: Callable[[int], Sequence[Line]]) -> None:
        super().__init__()
        self._lines_of = lines_of

    def content(self, width: int, height: int) -> list[Line]:
        """Return the lines from where one has scrolled to, and how to go on."""
        glyphs = self.dashboard.terminal.glyphs
        lines, more = self.window(self._lines_of(width), height - 1 if height > 2 else height)
        lines = self.fit(lines, width)
        if height <= 2:
            return lines
        keys = key_hints(("esc", "back"), (f"{glyphs.up}{glyphs.down}", ""), gap="   ")
        return [*lines, (*keys[:-1], (f" {more} more lines" if more > 0 else " end", "dim"))]


class HelpScreen(ScrolledDialog):
    """Lists keys: those of this screen, then of all of them. `here` is the screen that was in front."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1", "close", "Close", id="help.close"),
        Binding("tab", "all", "All screens, or this one", id="help.all"),
        *_scrolling("help", 10),
    ]

    def __init__(self, here: str, acts: Sequence[ActionInfo]) -> None:
        super().__init__()
        self._here = here
        self._acts = acts
        self._is_all = False

    def content(self, width: int, height: int) -> list[Line]:
        """Return a window on the list, with a line that tells how to go on."""
        lines, below = self.window(self._list(), max(1, height - 2))
        more = f"{below} more below (j)" if below else "end" if self._top else ""
        keys = key_hints(("tab", "this screen" if self._is_all else "all screens"), ("esc", "close"))
        last: Line = (*keys, ("  ", ""), (more, "dim"))
        return self.fit([*lines, (), last], max(min(HELP_WIDTH, width), 1))[: max(1, height)]

    def _list(self) -> list[Line]:
        places = list(dict.fromkeys(act.where for act in self._acts))
        order = [self._here, *(places if self._is_all else [APP])]
        is_ascii = self.dashboard.terminal.glyphs.is_ascii
        lines: list[Line] = []
        for place in dict.fromkeys(order):
            acts = [act for act in self._acts if act.where == place]
            if not acts:
                continue
            lines += [()] if lines else []
            lines.append(((place.capitalize(), "title"),))
            for act in acts:
                keys = " ".join(key_label(key, is_ascii=is_ascii) for key in act.keys.split(","))
                name = f"  {act.id}" if self._is_all else ""  # what [keys] in the settings calls it
                lines.append((("  ", ""), (f"{keys:<{HELP_KEYS}} ", "key"), (act.description, ""), (name, "dim")))
        return lines

    def action_all(self) -> None:
        """Show all keys, or only those of this screen."""
        self._is_all = not self._is_all
        self._top = 0
        self.paint()


def is_tiny(width: int, height: int) -> bool:
    """Return whether there is no room for a screen."""
    return width < LEAST_WIDTH or height < LEAST_HEIGHT


class TinyScreen(RunScreen, ModalScreen[None]):
    """One line; only leaving, detaching and help work, so that no key acts on what cannot be seen."""

    DEFAULT_CSS = "TinyScreen { background: $background; } TinyScreen #line { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "app.leave", "Leave", id="tiny.leave"),
        Binding("d", "app.detach", "Detach", id="tiny.detach"),
        Binding("question_mark,f1", "app.help", "Help", id="tiny.help"),
    ]

    def compose(self) -> ComposeResult:
        """Yield the one widget."""
        yield LinesWidget(id="line")

    def paint(self) -> None:
        """Show the line, and below it what there is room for."""
        app = self.dashboard
        width, height = self.size
        glyphs = app.terminal.glyphs
        lines = [one_line_status(app.feed, width, glyphs, app.time_left)]
        if height >= 3 and width >= 16:
            lines += [
                ((run_name(app.feed.view)[:width], "dim"),),
                (("q", "key"), (" leave ", ""), ("d", "key"), (" detach", "")),
            ]
        self.query_one("#line", LinesWidget).show(lines)
