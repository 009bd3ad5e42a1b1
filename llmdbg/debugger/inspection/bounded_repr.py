"""The `repr` of a value up to a length, at the cost of that length: `repr` of a gigabyte of text makes another one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

_TEXTS = (str, bytes, bytearray)
_BRACKETS: dict[type, tuple[str, str]] = {list: ("[", "]"), tuple: ("(", ")"), set: ("{", "}"), dict: ("{", "}")}


def bounded_repr(value: Any, most: int) -> str:
    """The first `most` characters of `repr(value)`, and `…` if there are more.

    Plain texts and containers are read only as far as they are shown. A class of its own may do in its `__repr__` what
    it likes.
    """
    pieces: list[str] = []
    length = 0
    for piece in _pieces(value, most, ()):
        pieces.append(piece)
        length += len(piece)
        if length > most:
            return "".join(pieces)[:most] + "…"
    return "".join(pieces)


def _pieces(value: Any, most: int, around: tuple[int, ...]) -> Iterator[str]:
    kind = type(value)
    if kind in _TEXTS:
        yield repr(value[: most + 1])
    elif kind in _BRACKETS and value:
        first, last = _BRACKETS[kind]
        if id(value) in around:
            yield f"{first}...{last}"
            return
        inside = (*around, id(value))
        yield first
        parts = (_entry(each, most, inside) for each in value.items()) if kind is dict else _each(value, most, inside)
        for number, part in enumerate(parts):
            yield from chain(", " if number else "", part)
        yield f",{last}" if kind is tuple and len(value) == 1 else last
    else:
        shown = repr(value)
        # A plain string even where `repr` gave one of the user's own kind.
        yield str.__getitem__(shown, slice(most + 1)) if str.__len__(shown) > most else str.__str__(shown)


def _each(values: Iterable[Any], most: int, around: tuple[int, ...]) -> Iterator[Iterator[str]]:
    return (_pieces(each, most, around) for each in values)


def _entry(entry: tuple[Any, Any], most: int, around: tuple[int, ...]) -> Iterator[str]:
    key, value = entry
    return chain(_pieces(key, most, around), (": ",), _pieces(value, most, around))
