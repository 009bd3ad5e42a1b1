"""Values that are looked into step by step: a tensor is its shape until somebody expands it, and then a page of it.

What is held is live and belongs to the stop: `forget` lets go of it before the run resumes. No class's own code runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count as counting
from itertools import islice
from typing import Any

from torch import Tensor, nn

from llmdbg.debugger.inspection.described import described, tensor_line
from llmdbg.errors import CommandError
from llmdbg.formatting import counted
from llmdbg.probes.statistics import Statistics, device_name, dtype_name, measure, read
from llmdbg.probes.values import unreadable, window

MOST_ROWS = 1000
"""How many rows are made at once, whatever is asked for."""
OUT = "out"
"""What the stage's main tensor is called, as in `print` and `edit`."""


@dataclass(frozen=True, slots=True)
class Text:
    """A value that is a text already, and cannot be expanded."""

    text: str


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are made when somebody looks."""

    text: str
    """What stands for them until then."""
    make: Callable[[], Sequence[tuple[str, Any, str]]]
    """Makes them: the name, the value and the expression of each."""
    size: int = 0
    """How many there are, if they can be asked for page by page; else 0."""


@dataclass(frozen=True, slots=True)
class ValueRow:
    """A value in one line."""

    name: str
    """Its name, `[3]` for an element."""
    text: str
    """The value in a line, unsanitized; of a tensor the shape, dtype and device."""
    kind: str
    """The name of its class; empty for what is no value of the program's."""
    reference: int
    """What to expand it by; 0 if there is nothing in it."""
    named: int
    """How many named parts it has."""
    indexed: int
    """How many parts with an index it has, which can be asked for page by page."""
    expression: str
    """What `print` shows it by; empty if nothing does."""


@dataclass(frozen=True, slots=True)
class _Held:
    value: Any
    expression: str
    index: tuple[int, ...] | None
    """Where it lies in the stage's main tensor; None if it is no part of that."""


class LazyValues:
    """The values that have been shown at this stop. `addresses()` names modules, by their `id`."""

    def __init__(self, addresses: Callable[[], Mapping[int, str]]) -> None:
        self._addresses = addresses
        self._held: dict[int, _Held] = {}
        # A number is never used again, so that one of an earlier stop is known to be that.
        self._numbers = counting(1)

    def forget(self) -> None:
        """Let go of every value: the run resumes."""
        self._held.clear()

    def hold(self, value: Any, expression: str = "", index: tuple[int, ...] | None = None) -> int:
        """Hold a value, and return the reference to expand it by."""
        number = next(self._numbers)
        self._held[number] = _Held(value, expression, index)
        return number

    def row(self, name: str, value: Any, expression: str = "", index: tuple[int, ...] | None = None) -> ValueRow:
        """A value in one line."""
        if isinstance(value, Text):
            return ValueRow(name, value.text, "", 0, 0, 0, expression)
        if expression == OUT and isinstance(value, Tensor):
            index = ()
        text, (named, indexed) = self._text(value), _parts(value)
        reference = self.hold(value, expression, index) if named or indexed else 0
        kind = "" if isinstance(value, Group) else type(value).__name__
        return ValueRow(name, text, kind, reference, named, indexed, expression)

    def rows(
        self, reference: int, first: int = 0, count: int = 0, *, named: bool = True, indexed: bool = True
    ) -> tuple[ValueRow, ...]:
        """What is in a value: its named parts, and `count` of the others from number `first` on; 0 for all.

        At most 1000 of them, and a row that says so. Raises CommandError for a reference of an earlier stop.
        """
        held = self._known(reference)
        count = count or _parts(held.value)[1]
        rows = [*self._named(held)] if named else []
        if indexed:
            rows += self._indexed(held, first, min(count, MOST_ROWS))
            left = _parts(held.value)[1] - first - MOST_ROWS
            if count > MOST_ROWS and left > 0:
                rows.append(self.row("…", Text(f"{left:,} more")))
        return tuple(rows)

    def value(self, reference: int, name: str) -> tuple[Any, tuple[int, ...] | None]:
        """The value that holds a row, and the row's place in the stage's main tensor; None if it has none there."""
        held = self._known(reference)
        if held.index is None or not (name.startswith("[") and name[1:-1].isdecimal()):
            return held.value, None
        return held.value, (*held.index, int(name[1:-1]))

    def _known(self, reference: int) -> _Held:
        if reference not in self._held:
            raise CommandError("that value belongs to an earlier stop: ask for the scopes of this one")
        return self._held[reference]

    def _text(self, value: Any) -> str:
        if isinstance(value, Group):
            return value.text
        if isinstance(value, Tensor) and value.dim() == 0 and not unreadable(value):
            return f"{number_text(window(value, 0, 1)[0])}  {tensor_line(value)}"
        return described(value, self._addresses())

    def _named(self, held: _Held) -> Iterator[ValueRow]:
        value = held.value
        if isinstance(value, Group) and not value.size:
            for name, each, expression in value.make()[:MOST_ROWS]:
                yield self.row(name, each, expression)
        elif isinstance(value, Tensor):
            yield self.row("statistics", Text(_statistics(value)))
        elif isinstance(value, dict):
            for key, each in islice(dict.items(value), MOST_ROWS):
                name = key if isinstance(key, str) else described(key, self._addresses())
                plain = isinstance(key, str | int) and held.expression
                yield self.row(name, each, f"{held.expression}[{key!r}]" if plain else "")
        elif isinstance(value, nn.Module):
            for name, each in _of_module(value):
                yield self.row(name, each, f"{held.expression}.{name}" if held.expression else "")

    def _indexed(self, held: _Held, first: int, count: int) -> Iterator[ValueRow]:
        value = held.value
        if isinstance(value, Group) and value.size:
            for name, each, expression in value.make()[first : first + count]:
                yield self.row(name, each, expression)
        elif isinstance(value, Tensor):
            yield from self._of_tensor(held, value, first, count)
        elif isinstance(value, tuple | list):
            parts = tuple.__iter__(value) if isinstance(value, tuple) else list.__iter__(value)
            for place, each in enumerate(islice(parts, first, first + count), first):
                yield self.row(f"[{place}]", each, f"{held.expression}[{place}]" if held.expression else "")

    def _of_tensor(self, held: _Held, tensor: Tensor, first: int, count: int) -> Iterator[ValueRow]:
        last = min(first + count, tensor.shape[0])
        # Of a row of numbers one copy for the page; of anything larger nothing is copied, and nothing computed.
        numbers = window(tensor, first, last - first) if tensor.dim() == 1 else ()
        for place in range(first, last):
            each: Any = Text(number_text(numbers[place - first])) if numbers else tensor[place]
            index = None if held.index is None else (*held.index, place)
            yield self.row(f"[{place}]", each, f"{held.expression}[{place}]" if held.expression else "", index)


def number_text(value: complex) -> str:
    """A tensor's number with as many digits as float32 has."""
    return f"{value:.7g}" if isinstance(value, float | complex) else str(value)


def _parts(value: Any) -> tuple[int, int]:
    """How many named parts and how many with an index a value has."""
    if isinstance(value, Group):
        return (0, value.size) if value.size else (1, 0)
    if isinstance(value, Tensor):
        return (1, value.shape[0]) if value.dim() and value.numel() and not unreadable(value) else (0, 0)
    if isinstance(value, dict):
        return dict.__len__(value), 0
    if isinstance(value, tuple):
        return 0, tuple.__len__(value)
    if isinstance(value, list):
        return 0, list.__len__(value)
    return (len(_of_module(value)), 0) if isinstance(value, nn.Module) else (0, 0)


def _of_module(module: nn.Module) -> list[tuple[str, Any]]:
    return [
        *module.named_parameters(recurse=False),
        *module.named_buffers(recurse=False),
        *((name, each) for name, each in module.named_children() if each is not None),
    ]


def _statistics(tensor: Tensor) -> str:
    numbers = read([measure(tensor)])[0]
    line = Statistics(tuple(tensor.shape), dtype_name(tensor.dtype), device_name(tensor.device), numbers).line()
    return f"{line}  {counted(tensor.numel(), 'value')}"
