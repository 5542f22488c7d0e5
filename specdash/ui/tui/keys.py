"""Every action of the dashboard with its keys: what help lists, what the palette offers, what settings may rename.

The bindings themselves stand where their actions are, in the application and its screens; this only reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from textual.binding import Binding, BindingType, Keymap
from textual.keys import KEY_ALIASES, Keys, format_key

from specdash.config.problems import nearest, toml_text
from specdash.ui.tui.terminal.terminal_app import key_of_character

MODIFIERS = ("ctrl", "shift", "alt", "super", "meta", "hyper")
APP = "everywhere"
EXTRA_NAMES = ("space", "enter", "escape", "tab", "backspace", "delete", "insert", "home", "end", "pageup", "pagedown")


@dataclass(frozen=True, slots=True)
class ActionInfo:
    """One action: where it is to be found ("everywhere" or a screen's name), its binding's id, keys and words."""

    where: str
    id: str
    keys: str
    action: str
    description: str


def acts_of(where: str, bindings: Iterable[BindingType]) -> list[ActionInfo]:
    """Return the actions of a class's BINDINGS, in order, without those that have no id and cannot be renamed."""
    found: list[ActionInfo] = []
    for binding in bindings:
        if isinstance(binding, Binding):
            keys, action, words, name = binding.key, binding.action, binding.description, binding.id
        else:
            keys, action, words = (*binding, "")[:3]
            name = None
        if name and words:
            found.append(ActionInfo(where, name, keys, action, words))
    return found


def with_keymap(acts: Iterable[ActionInfo], keymap: Mapping[str, str]) -> list[ActionInfo]:
    """Return the actions with the keys that the user gave them."""
    return [
        ActionInfo(each.where, each.id, keymap.get(each.id, each.keys), each.action, each.description) for each in acts
    ]


def movement(place: str) -> list[BindingType]:
    """Return the keys that move a cursor or a window of rows, by the actions `move` and `page`; `?` lists them."""
    return [
        Binding("j,down", "move(1)", "Down", id=f"{place}.down", show=False),
        Binding("k,up", "move(-1)", "Up", id=f"{place}.up", show=False),
        Binding("pagedown", "page(1)", "Page down", id=f"{place}.page_down", show=False),
        Binding("pageup", "page(-1)", "Page up", id=f"{place}.page_up", show=False),
        Binding("g,home", "move(-1000000)", "First", id=f"{place}.first", show=False),
        Binding("G,end", "move(1000000)", "Last", id=f"{place}.last", show=False),
    ]


def long_name(key: str) -> str:
    """Return a key as Textual names it: "?" is "question_mark", "ctrl+?" stays what it is."""
    return key_of_character(key) if len(key) == 1 else key.lower() if "+" in key else key


def key_label(key: str, *, is_ascii: bool = False) -> str:
    """Return a key as a person reads it: "?", "^p", "space"; in letters where the terminal may lack the sign for it."""
    *modifiers, last = key.split("+") if len(key) > 1 else [key]
    name = format_key(last)
    if is_ascii and not name.isascii():
        name = last
    rest = "".join(f"{each}+" for each in modifiers if each != "ctrl")
    return f"{rest}{'^' if 'ctrl' in modifiers else ''}{name}"


def usable(acts: Iterable[ActionInfo], wanted: Mapping[str, str]) -> tuple[Keymap, list[str]]:
    """Return which of the user's keys can be had, and what is wrong with the others, as sentences.

    A key that is none is left out, and so is one that another action of the same screen has already.
    """
    known = list(acts)
    keymap: dict[str, str] = {}
    problems: list[str] = []
    for name, keys in wanted.items():
        good = []
        for key in keys.split(","):
            if (complaint := _complaint(key)) is None:
                good.append(long_name(key))
            else:
                problems.append(f"keys: {name}: {complaint}")
        if good:
            keymap[name] = ",".join(good)
    while (clash := _clash(with_keymap(known, keymap), keymap)) is not None:
        mine, other, key = clash
        problems.append(f"keys: {mine.id}: {toml_text(key)} is the key of {other.id} already; {mine.id} keeps its own")
        del keymap[mine.id]
    return keymap, problems


def _clash(acts: list[ActionInfo], changed: Mapping[str, str]) -> tuple[ActionInfo, ActionInfo, str] | None:
    """Return an action with a new key that another one in the same place has too, the other one, and the key."""
    for mine in acts:
        if mine.id not in changed:
            continue
        for other in acts:
            if other.id == mine.id or not (mine.where == other.where or APP in (mine.where, other.where)):
                continue
            shared = {long_name(key) for key in mine.keys.split(",")} & {
                long_name(key) for key in other.keys.split(",")
            }
            if shared:
                return mine, other, min(shared)
    return None


def _complaint(key: str) -> str | None:
    """Return what is wrong with a key's name; None when nothing is."""
    *modifiers, last = key.split("+") if len(key) > 1 else [key]
    names = {each.value for each in Keys} | set(KEY_ALIASES) | set(EXTRA_NAMES)
    plain = {each.rpartition("+")[2] for each in names}
    unknown = next((each for each in modifiers if each not in MODIFIERS), None)
    if unknown is not None:
        return f"{toml_text(unknown)} is no modifier; there are {', '.join(MODIFIERS)}"
    if len(last) == 1 and last.isprintable():
        return None
    if last.lower() in plain or _is_character_name(last):
        return None
    close = nearest(last, sorted(plain))
    return f"{toml_text(key)} is no key" + (f"; did you mean {toml_text(close)}?" if close is not None else "")


def _is_character_name(name: str) -> bool:
    """Return whether it is the name of a character as Textual writes them, as "question_mark"."""
    import unicodedata

    for known in (name, name.replace("_", " "), name.replace("_", "-")):
        try:
            unicodedata.lookup(known.upper())
        except KeyError:
            continue
        return True
    return name in ("plus", "minus", "slash", "underscore")
