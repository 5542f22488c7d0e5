"""A mapping that never changes: one with an entry more shares everything else with the one that it was made from.

A run of 50,000 steps has some 400,000 facts, and each of them makes a new view. With plain dictionaries each would copy
50,000 entries. Here a change costs a path through a tree of 32 branches a level, whatever the size.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import Any, Generic, Self, TypeVar, overload

V = TypeVar("V")
D = TypeVar("D")

_BITS = 5
_WIDTH = 1 << _BITS
_MASK = _WIDTH - 1

_NONE = object()

Node = tuple[Any, ...]  # up to 32 values, or up to 32 nodes


class _Names:
    """The keys of mappings that were made from each other, in order; a mapping of n entries has the first n of them."""

    __slots__ = ("at", "names")

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.at = {name: place for place, name in enumerate(names)}


class PersistentMap(Mapping[str, V], Generic[V]):
    """Values by name in the order in which they came; `with_entry` gives another mapping and leaves this as it is."""

    __slots__ = ("_depth", "_names", "_root", "_size")

    def __init__(self, entries: Mapping[str, V] | None = None) -> None:
        entries = {} if entries is None else entries
        self._names = _Names(list(entries))
        self._size = len(self._names.names)
        nodes: list[Any] = list(entries.values())
        self._depth = 0  # how many levels of nodes lie above the leaves
        nodes = [tuple(nodes[at : at + _WIDTH]) for at in range(0, len(nodes), _WIDTH)]
        while len(nodes) > 1:
            nodes = [tuple(nodes[at : at + _WIDTH]) for at in range(0, len(nodes), _WIDTH)]
            self._depth += 1
        self._root: Node = nodes[0] if nodes else ()

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[str]:
        names = self._names.names
        return iter(names) if len(names) == self._size else iter(names[: self._size])

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._names.names[: self._size])

    def __contains__(self, key: object) -> bool:
        place = self._names.at.get(key) if isinstance(key, str) else None
        return place is not None and place < self._size

    def __getitem__(self, key: str) -> V:
        place = self._names.at[key]
        if place >= self._size:
            raise KeyError(key)
        return self._value(place)

    @overload
    def get(self, key: str, default: None = None, /) -> V | None: ...
    @overload
    def get(self, key: str, default: V | D, /) -> V | D: ...
    def get(self, key: str, default: Any = None, /) -> Any:
        """The value of a name, or `default`."""
        place = self._names.at.get(key)
        return default if place is None or place >= self._size else self._value(place)

    def values(self) -> ValuesView[V]:
        """The values in order; can be gone through backwards too."""
        return _Values(self)

    def items(self) -> ItemsView[str, V]:
        """The entries in order."""
        return _Items(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)!r})"

    def with_entry(self, key: str, value: V) -> Self:
        """Another mapping with an entry changed, at its place, or one more, at the end."""
        place = self._names.at.get(key)
        if place is None or place >= self._size:
            return self._appended(key, value)
        made = self._like()
        made._root = _replaced(self._root, self._depth, place, value)
        return made

    def changed_since(self, before: Mapping[str, V]) -> Iterator[tuple[str, V]]:
        """The entries that are not those of `before`: quick where this one was made from that by few changes."""
        if not isinstance(before, PersistentMap) or before._names is not self._names or before._depth != self._depth:
            for name, value in self.items():
                if before.get(name) is not value:
                    yield name, value
            return
        names = self._names.names
        for place, value in _differing(self._root, before._root, self._depth, 0):
            yield names[place], value

    def _value(self, place: int) -> V:
        node = self._root
        for level in range(self._depth, 0, -1):
            node = node[(place >> (_BITS * level)) & _MASK]
        found: V = node[place & _MASK]
        return found

    def _like(self) -> Self:
        """Another mapping with the same entries, to be changed before anybody sees it."""
        made = type(self).__new__(type(self))
        made._names, made._size, made._depth, made._root = self._names, self._size, self._depth, self._root
        return made

    def _appended(self, key: str, value: V) -> Self:
        made = self._like()
        names = self._names
        if len(names.names) != self._size:  # a mapping with other entries was made from this one before
            names = made._names = _Names(names.names[: self._size])
        names.at[key] = self._size
        names.names.append(key)
        if self._size == _WIDTH << (_BITS * self._depth):
            made._root = (self._root,)
            made._depth += 1
        made._root = _added(made._root, made._depth, self._size, value)
        made._size += 1
        return made

    def leaves(self, *, backwards: bool = False) -> Iterator[Node]:
        """The values in groups of up to 32, in order."""
        return _leaves(self._root, self._depth, backwards=backwards)


class _Values(ValuesView[V]):
    """The values of a persistent map."""

    _mapping: PersistentMap[V]

    def __iter__(self) -> Iterator[V]:
        for leaf in self._mapping.leaves():
            yield from leaf

    def __reversed__(self) -> Iterator[V]:
        for leaf in self._mapping.leaves(backwards=True):
            yield from reversed(leaf)


class _Items(ItemsView[str, V]):
    """The entries of a persistent map."""

    _mapping: PersistentMap[V]

    def __iter__(self) -> Iterator[tuple[str, V]]:
        return zip(self._mapping, self._mapping.values(), strict=True)


def backwards(mapping: Mapping[str, V]) -> Iterator[V]:
    """The values of a mapping, the last one first."""
    if isinstance(mapping, PersistentMap):
        return reversed(_Values(mapping))
    return reversed(list(mapping.values()))


def changed_since(mapping: Mapping[str, V], before: Mapping[str, V]) -> Iterator[tuple[str, V]]:
    """The entries of a mapping that are not those of an earlier one."""
    if isinstance(mapping, PersistentMap):
        return mapping.changed_since(before)
    return ((name, value) for name, value in mapping.items() if before.get(name) is not value)


def _replaced(node: Node, depth: int, place: int, value: Any) -> Node:
    """A node with another value at a place."""
    at = (place >> (_BITS * depth)) & _MASK
    inside = _replaced(node[at], depth - 1, place, value) if depth else value
    return (*node[:at], inside, *node[at + 1 :])


def _added(node: Node, depth: int, place: int, value: Any) -> Node:
    """A node with one value more, at the place behind its last."""
    if not depth:
        return (*node, value)
    at = (place >> (_BITS * depth)) & _MASK
    inside = _added(node[at] if at < len(node) else (), depth - 1, place, value)
    return (*node[:at], inside)


def _leaves(node: Node, depth: int, *, backwards: bool) -> Iterator[Node]:
    if not depth:
        yield node
        return
    for each in reversed(node) if backwards else node:
        yield from _leaves(each, depth - 1, backwards=backwards)


def _differing(node: Node, before: Node, depth: int, first: int) -> Iterator[tuple[int, Any]]:
    """The values of `node` that are not at the same place of `before`; what both share is not gone through."""
    for at, each in enumerate(node):
        other = before[at] if at < len(before) else _NONE
        place = first + (at << (_BITS * depth))
        if each is other:
            continue
        if depth:
            yield from _differing(each, other if isinstance(other, tuple) else (), depth - 1, place)
        else:
            yield place, each
