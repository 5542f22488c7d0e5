"""The terminal as the dashboard uses it: output that never blocks, and a terminal that is always given back.

Textual's own driver waits for the terminal in the event loop, leaves it in the alternate screen with the mouse captured
when a signal ends the process, and spins at the end of its input. Here frames are dropped while the terminal does not
read (`is_backed_up`), TERM, HUP and INT restore it and end the process within two seconds whatever it is doing, and a
terminal that is gone ends the process too.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import termios
import threading
from codecs import getincrementaldecoder
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Protocol, cast

from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

from specdash.errors import Exit
from specdash.ui.output import LossyWriter

if TYPE_CHECKING:
    from textual.app import App

GRACE_S = 1.0  # what the application may take to end itself after a signal
DRAIN_S = 0.5  # what the terminal may take to read the rest
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_READ_BYTES = 65_536

MOUSE_OFF = "\x1b[?1016l\x1b[?1015l\x1b[?1006l\x1b[?1003l\x1b[?1002l\x1b[?1000l"
# Synchronised output, mouse, in-band resize, bracketed paste, focus, line wrap, Kitty keys, attributes, alternate
# screen, cursor. Kitty's flags belong to the alternate screen, so they are popped before it is left.
RESTORE = f"\x1b[?2026l{MOUSE_OFF}\x1b[?2048l\x1b[?2004l\x1b[?1004l\x1b[?7h\x1b[<u\x1b[0m\x1b[?1049l\x1b[?25h"
# What ctrl+l and a return from suspension set again: some programs that share the terminal leave it otherwise.
REENTER = "\x1b[0m\x1b[?1049h\x1b[2J\x1b[?25l\x1b[?1004h\x1b[?2004h\x1b[?7l"


class Host(Protocol):
    """What a driver asks of its application, from the event loop's thread."""

    def leave_with(self, code: int) -> None:
        """End the application with this exit code."""

    def repaint_all(self) -> None:
        """Draw everything again."""


class TerminalDriver(LinuxDriver):
    """Textual's driver for Linux and macOS, with output of our own."""

    def __init__(
        self, app: App[object], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self.dropped = 0
        self.gave_back = True  # whether the terminal took everything, its restoration too
        self._host = cast("Host", app)
        self._output: LossyWriter | None = None
        self._is_active = False
        self._is_ending = False
        self._was_signalled = False
        terminal = getattr(app, "terminal", None)
        self._encoding = "utf-8" if terminal is None or terminal.utf8 else "ascii"

    # -- output ------------------------------------------------------------------------------------------------

    @property
    def is_backed_up(self) -> bool:
        """Return whether a frame would wait behind others; a full repaint follows by itself once it would not."""
        return self._output is not None and self._output.is_backed_up

    def write(self, data: str) -> None:
        """Take `data` for the terminal; never waits."""
        if self._output is not None:
            self._output.write(data.encode(self._encoding, "replace"))

    def flush(self) -> None:
        """Nothing to do: the writer does not hold anything back."""

    def set_mouse(self, *, on: bool) -> None:
        """Capture the mouse or leave it to the terminal, so that text can be selected."""
        self._mouse = on
        if on:
            self._enable_mouse_support()
        else:
            self.write(MOUSE_OFF)

    def reenter(self, *, mouse: bool) -> None:
        """Set the modes of the terminal again, in case another program has changed them."""
        self.write(REENTER)
        self.set_mouse(on=mouse)

    # -- beginning and end -------------------------------------------------------------------------------------

    def start_application_mode(self) -> None:
        """Take the terminal over, and the signals that may end us."""
        assert sys.__stdout__ is not None
        self._output = LossyWriter(
            sys.__stdout__.fileno(),
            on_drained=lambda: self._ask(self._host.repaint_all),
            on_lost=self._terminal_is_gone,
        )
        self._output.start()
        self._is_active = True
        for number in ENDING:
            signal.signal(number, self._on_signal)
        super().start_application_mode()  # type: ignore[no-untyped-call]

    def stop_application_mode(self) -> None:
        """Give the terminal back, as it was."""
        self.disable_input()
        self._restore_attributes()
        self.write(RESTORE)

    def close(self) -> None:
        """Wait a moment for the terminal to read the rest; what it does not read is lost."""
        super().close()
        output, self._output = self._output, None
        if output is not None:
            self.gave_back = output.stop(DRAIN_S)
            if not self.gave_back:
                output.force(RESTORE.encode("ascii"))
            output.close()
        self._is_active = False

    def _restore_attributes(self) -> None:
        if self.attrs_before is not None:
            with suppress(termios.error, OSError):
                termios.tcsetattr(self.fileno, termios.TCSANOW, self.attrs_before)

    # -- the end that was not asked for ------------------------------------------------------------------------

    def _ask(self, what: object) -> None:
        """Have the event loop call something, from any thread; nothing happens once it has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(what)  # type: ignore[arg-type]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._was_signalled or not self._is_active:
            self._die(128 + number)
        self._was_signalled = True
        self._end(128 + number)

    def _terminal_is_gone(self) -> None:
        self._end(Exit.HANGUP)

    def _end(self, code: int) -> None:
        """End the application; the process with it when the application does not manage in time."""
        if self._is_ending:
            return
        self._is_ending = True
        watchdog = threading.Timer(GRACE_S, self._die, (code,))
        watchdog.daemon = True
        watchdog.start()
        self._ask(lambda: self._host.leave_with(code))

    def _die(self, code: int) -> None:
        """Restore what can be restored at once and end the process."""
        self._restore_attributes()
        if self._is_active and self._output is not None:
            self._output.force(RESTORE.encode("ascii"))
        os._exit(code)

    # -- input -------------------------------------------------------------------------------------------------

    def _get_terminal_size(self) -> tuple[int, int]:
        """Return the terminal's own size: COLUMNS and LINES, where a shell exports them, may be out of date."""
        try:
            width, height = os.get_terminal_size(self.fileno)
        except OSError:
            width = height = 0
        return (width, height) if width and height else super()._get_terminal_size()

    def _run_input_thread(self) -> None:
        try:
            self.run_input_thread()
        except OSError:
            if not self.exit_event.is_set():
                self._terminal_is_gone()
        except Exception as error:  # noqa: BLE001 - a thread's exception is for the application to end with
            found = error
            self._ask(lambda: self._app._handle_exception(found))

    def run_input_thread(self) -> None:
        """Read keys until it is told to stop; the end of the input is the end of the terminal."""
        decode = getincrementaldecoder("utf-8")("replace").decode
        parser, pastes = XTermParser(self._debug), Pastes()
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if selector.select(0.1):
                    data = os.read(self.fileno, _READ_BYTES)
                    if not data:
                        raise OSError("the terminal was closed")
                    for message in parser.feed(text) if (text := pastes.cleaned(decode(data))) else ():
                        self.process_message(message)
                for message in parser.tick():
                    self.process_message(message)


BEGIN = "\x1b[200~"
END = "\x1b[201~"
ESCAPE_PICTURE = "\u241b"  # "symbol for escape": what stood there is seen, and does nothing


class Pastes:
    """A filter for what comes from a terminal, in pieces cut anywhere."""

    def __init__(self) -> None:
        self._inside = False
        self._last = ""  # outside: what may be the beginning of BEGIN; it was handed on already
        self._held = ""  # inside: what may be the beginning of END

    def cleaned(self, text: str) -> str:
        """Return the next piece, with a picture in place of every escape character that is pasted."""
        found: list[str] = []
        while text:
            text = self._pasted(text, found) if self._inside else self._typed(text, found)
        return "".join(found)

    def _typed(self, text: str, found: list[str]) -> str:
        """Hand on what is typed at once, since a lone escape is a key; what is left after a paste has begun."""
        seen = self._last + text
        at = seen.find(BEGIN)
        if at < 0:
            self._last = seen[1 - len(BEGIN) :]
            found.append(text)
            return ""
        cut = at + len(BEGIN) - len(self._last)
        self._last, self._inside = "", True
        found.append(text[:cut])
        return text[cut:]

    def _pasted(self, text: str, found: list[str]) -> str:
        """Hand on what is pasted but for a possible end mark; what is left after the paste has ended."""
        text, self._held = self._held + text, ""
        at = text.find(END)
        if at >= 0:
            self._inside = False
            found += [text[:at].replace("\x1b", ESCAPE_PICTURE), END]
            return text[at + len(END) :]
        keep = next((size for size in range(len(END) - 1, 0, -1) if text.endswith(END[:size])), 0)
        self._held = text[len(text) - keep :]
        found.append(text[: len(text) - keep].replace("\x1b", ESCAPE_PICTURE))
        return ""
