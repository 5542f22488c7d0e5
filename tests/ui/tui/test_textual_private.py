"""The private parts of Textual (and Rich) that specdash uses: all are in `ui/tui/terminal`, and all are as expected.

When Textual is upgraded, a failure here names the part that has changed and what it is used for.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.color import ColorSystem
from rich.console import Console
from textual import _compositor, _xterm_parser, keys
from textual.app import App
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message
from textual.message_pump import MessagePump
from textual.strip import Strip

import specdash.ui.tui

TUI = Path(specdash.ui.tui.__file__).parent
WALLED = TUI / "terminal"


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def sets(kind: type, name: str) -> bool:
    """Whether a class sets an attribute of its instances."""
    return re.search(rf"self\.{name}\b\s*(:[^=\n]*)?=[^=]", inspect.getsource(kind)) is not None


# What is overridden: the base class calls it, with these parameters.
OVERRIDDEN = [
    (App, "_display", ["self", "screen", "renderable"], "a frame is dropped or written with few bytes"),
    (App, "_on_resize", ["self", "event"], "a window that is dragged is drawn once, at its last size"),
    (App, "_handle_exception", ["self", "error"], "the exception that ended the dashboard is kept"),
    (App, "_fatal_error", ["self"], "no traceback on the terminal"),
    (App, "_print_error_renderables", ["self"], "no traceback on the terminal"),
    (LinuxDriver, "_get_terminal_size", ["self"], "the size of the terminal, not of COLUMNS and LINES"),
    (LinuxDriver, "_run_input_thread", ["self"], "the end of the input is the end of the terminal"),
]
# What is called.
CALLED = [
    (App, "_check_resize", ["self"], "the size that has settled is passed on"),
    (App, "_close_messages_no_wait", ["self"], "a crash ends the application"),
    (LinuxDriver, "_enable_mouse_support", ["self"], "the key M"),
]
# What is read or written.
ATTRIBUTES = [
    (App, "_driver", "control sequences are sent to it"),
    (App, "_filters", "no colours where there are none"),
    (App, "_keymap", "the keys that the user chose"),
    (App, "_resize_event", "the size to pass on"),
    (App, "_resize_timer", "whether a size is about to be taken"),
    (App, "_size", "the size as it was told last"),
    (App, "_exit", "whether it was told to end"),
    (App, "_return_code", "the exit code of a crash"),
    (App, "_exit_renderables", "no traceback on the terminal"),
    (MessagePump, "_running", "whether there are screens to paint"),
    (Driver, "_app", "told of an exception of the input thread"),
    (Driver, "_debug", "given to the parser of keys"),
    (Driver, "_mouse", "whether the mouse is captured when the terminal is entered again"),
    (Driver, "_loop", "asked from signals and threads"),
]


@pytest.mark.parametrize(("kind", "name", "expected", "use"), [*OVERRIDDEN, *CALLED])
def test_a_private_method_has_its_parameters(kind: type, name: str, expected: list[str], use: str) -> None:
    method = getattr(kind, name, None)
    assert method is not None, f"Textual's {kind.__name__}.{name} is gone: {use}"
    assert parameters(method) == expected, f"Textual's {kind.__name__}.{name} has changed: {use}"


@pytest.mark.parametrize(("kind", "name", "use"), ATTRIBUTES)
def test_a_private_attribute_is_set_by_its_class(kind: type, name: str, use: str) -> None:
    assert sets(kind, name), f"Textual's {kind.__name__} has no {name} any more: {use}"


def test_coroutines_and_functions_are_what_they_were() -> None:
    assert inspect.iscoroutinefunction(App._on_resize)
    for kind, name in ((App, "_display"), (App, "_check_resize"), (LinuxDriver, "_run_input_thread")):
        assert not inspect.iscoroutinefunction(getattr(kind, name))


def test_a_base_class_calls_what_is_overridden() -> None:
    """Renamed on one side only, an override would silently do nothing."""
    callers = {
        "_display": "textual.screen",
        "_handle_exception": "textual.message_pump",
        "_fatal_error": "textual.app",
        "_print_error_renderables": "textual.app",
        "_get_terminal_size": "textual.drivers.linux_driver",
        "_run_input_thread": "textual.drivers.linux_driver",
    }
    for name, module in callers.items():
        source = inspect.getsource(__import__(module, fromlist=["_"]))
        assert re.search(rf"\.{name}\b", source), f"{module} does not call {name} any more"


def test_a_partial_update_has_the_cells_that_have_changed() -> None:
    """`diff_update` writes them anew."""
    strip = Strip.blank(3)
    update = _compositor.ChopsUpdate([{0: strip}], [(0, 0, 3)], [[3]])
    assert (update.chops, list(update.spans), update.chop_ends) == ([{0: strip}], [(0, 0, 3)], [[3]])
    assert isinstance(update, _compositor.CompositorUpdate)
    assert parameters(_compositor.CompositorUpdate.render_segments) == ["self", "console"]


def test_a_console_knows_its_colours() -> None:
    """Colours are written with the codes of this system."""
    assert Console(color_system="256", force_terminal=True, file=None)._color_system == ColorSystem.EIGHT_BIT


def test_the_parser_takes_text_and_gives_messages() -> None:
    """The driver reads the terminal itself."""
    parser = _xterm_parser.XTermParser(False)
    assert all(isinstance(message, Message) for message in parser.feed("a"))
    assert list(parser.tick()) == []


def test_characters_have_names() -> None:
    """Keys of settings are compared by them."""
    assert [keys._character_to_key(each) for each in "?a+"] == ["question_mark", "a", "plus"]


# -- nothing outside of the folder ----------------------------------------------------------------------------------


def private_names(kind: type) -> set[str]:
    """The private attributes and methods that a class has from Textual."""
    names: set[str] = set()
    for base in kind.__mro__:
        if base.__module__.split(".")[0] == "textual":
            names |= set(vars(base)) | set(re.findall(r"self\.(\w+)\s*(?::[^=\n]*)?=[^=]", inspect.getsource(base)))
    return {name for name in names if re.match(r"_[a-z]", name)}


def outside() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(TUI.rglob("*.py")):
        if WALLED not in path.parents:
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def test_nothing_private_is_imported_outside() -> None:
    found = [
        f"{path.name}:{node.lineno}"
        for path, tree in outside()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom | ast.Import) and re.search(r"\b(textual|rich)\b.*[. ]_", ast.unparse(node))
    ]
    assert found == []


def test_no_private_attribute_of_another_object_is_used_outside() -> None:
    found = [
        f"{path.name}:{node.lineno} {ast.unparse(node)}"
        for path, tree in outside()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and re.match(r"_[a-z]", node.attr)
        and ast.unparse(node.value) not in ("self", "cls")
    ]
    assert found == []


def test_no_class_outside_uses_or_hides_a_private_part_of_its_base() -> None:
    """Neither on purpose nor by a name of its own that Textual has too."""
    found = []
    for path, tree in outside():
        module = ".".join(("specdash.ui.tui", *path.relative_to(TUI).with_suffix("").parts)).removesuffix(".__init__")
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                theirs = private_names(getattr(__import__(module, fromlist=["_"]), node.name))
                for inner in ast.walk(node):
                    name = getattr(inner, "attr", getattr(inner, "name", None))
                    if name in theirs:
                        found.append(f"{path.name}: {node.name} uses {name}")
    assert found == []


def test_the_check_knows_what_is_private() -> None:
    assert {"_size", "_driver", "_display", "_running"} <= private_names(App)
