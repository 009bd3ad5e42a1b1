"""How a value shows itself: by `repr` in a REPL, by `print`, and in a notebook.

A value is made in a room that knows nothing of text or HTML. It inherits `Displayed`, which asks two open functions;
`frontends/answers/writers.py` registers there what it writes for terminals and files, so that nothing is written twice.
"""

from __future__ import annotations

import reprlib
from dataclasses import fields
from enum import Enum
from functools import singledispatch
from typing import Any

_LONGEST = 240  # characters


@singledispatch
def text(value: object) -> str:
    """A value as lines of text, safe to print. Its `repr` if no writer is registered."""
    return repr(value)


@singledispatch
def html(_value: object) -> str | None:
    """A value as a fragment of HTML, safe to show. None if no writer is registered."""
    return None


class Displayed:
    """A data class that shows itself: short in a `repr`, whole when it is printed, as a table in a notebook.

    Make it with `@dataclass(repr=False)`, or its `repr` is the one that data classes have.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """One line. A subclass may say more in it than the names of its fields and what fits of their values."""
        return summary(self)

    def __str__(self) -> str:
        """What a terminal is given."""
        return text(self)

    def _repr_html_(self) -> str | None:
        """What IPython asks for."""
        return html(self)


def summary(value: Any) -> str:
    """The type of a data class and its fields, cut short: `LensTable(position=4, rows=<31 LensRow>, first='22')`."""
    shown = (field.name for field in fields(value) if field.repr)
    named = ", ".join(f"{name}={short(getattr(value, name))}" for name in shown)
    line = f"{type(value).__name__}({named})"
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 2]}…)"


def short(value: object) -> str:
    """The `repr` of a value in a few words: texts are cut, collections counted, arrays are their dtype and shape."""
    return _SHORT.repr(value)


class _Short(reprlib.Repr):
    """The methods are called by the name of a value's type."""

    def repr_float(self, value: float, _level: int) -> str:
        return f"{value:.4g}"

    def repr_ndarray(self, value: Any, _level: int) -> str:
        return f"{value.dtype}[{', '.join(map(str, value.shape))}]"

    def repr_tuple(self, value: tuple[Any, ...], level: int) -> str:
        plain = all(isinstance(each, str | int | float | None) for each in value)
        return super().repr_tuple(value, level) if plain else f"<{len(value)} {type(value[0]).__name__}>"

    def repr_instance(self, value: object, level: int) -> str:
        if isinstance(value, Displayed):
            return repr(value)
        return repr(value.value) if isinstance(value, Enum) else super().repr_instance(value, level)


_SHORT = _Short()
_SHORT.maxstring, _SHORT.maxother = 60, 40
_SHORT.maxtuple = _SHORT.maxfrozenset = _SHORT.maxdict = 4
