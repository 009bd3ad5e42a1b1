"""A table as a value, which can be written as aligned text, as CSV or as HTML."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len

from llmdbg.frontends.answers.json_values import json_value
from llmdbg.frontends.sanitize import sanitize


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    """The heading, in text and in CSV."""
    shown: Callable[[Any], str] = str
    """How a value is written in aligned text. CSV gets the values themselves."""
    left: bool = False
    """Whether the text is aligned to the left, as words are; numbers are aligned to the right."""
    width: int = 0
    """The least width in aligned text, in cells of a terminal, so that one answer lines up with the next."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of plain values under columns."""

    columns: tuple[Column, ...]
    """From left to right."""
    rows: tuple[tuple[Any, ...], ...]
    """One value for each column; None is an empty cell."""
    title: str = ""
    """A line above the table, in text only; empty for none."""


Block = str | Table
"""What an answer is made of, from top to bottom: lines of text that are safe to show, and tables."""


def as_lines(blocks: Iterable[Block]) -> list[str]:
    """Text and tables as lines, safe to print."""
    return [line for each in blocks for line in (aligned(each) if isinstance(each, Table) else (each,))]


def shown_cells(table: Table, rows: Iterable[tuple[Any, ...]]) -> list[list[str]]:
    """Rows of a table as text, safe to show."""
    return [
        ["" if value is None else sanitize(each.shown(value)) for each, value in zip(table.columns, row, strict=True)]
        for row in rows
    ]


def aligned(table: Table) -> list[str]:
    """A table as lines of text, safe to print."""
    cells = [[column.title for column in table.columns], *shown_cells(table, table.rows)]
    least = [column.width for column in table.columns]
    widths = [max(width, *map(cell_len, each)) for width, each in zip(least, zip(*cells, strict=True), strict=True)]
    lines = [sanitize(table.title)] if table.title else []
    for line in cells:
        placed = zip(line, widths, table.columns, strict=True)
        lines.append("  ".join(_padded(text, width, column) for text, width, column in placed).rstrip())
    return lines


def _padded(text: str, width: int, column: Column) -> str:
    space = " " * (width - cell_len(text))
    return text + space if column.left else space + text


def with_columns(table: Table, kept: Iterable[int]) -> Table:
    """The same table with only some of its columns, given by number."""
    kept = list(kept)
    columns = tuple(table.columns[index] for index in kept)
    return Table(columns, tuple(tuple(row[index] for index in kept) for row in table.rows), table.title)


def record_table(records: Sequence[object]) -> Table:
    """Data classes as a table: a column for each field, those of a record inside another as `outer.inner`."""
    flat = [_flat(json_value(each)) for each in records]
    names = list(dict.fromkeys(name for each in flat for name in each))
    return Table(tuple(map(Column, names)), tuple(tuple(each.get(name) for name in names) for each in flat))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    found: dict[str, Any] = {}
    for name, each in value.items():
        if isinstance(each, dict):
            found |= _flat(each, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = json.dumps(each, ensure_ascii=False) if isinstance(each, list) else each
    return found


def as_csv(tables: Sequence[Table]) -> str:
    """Tables as CSV (RFC 4180), with numbers in full. An empty line separates one table from the next."""
    out = io.StringIO()
    for index, table in enumerate(tables):
        if index:
            out.write("\r\n")
        writer = csv.writer(out)
        writer.writerow([column.title for column in table.columns])
        writer.writerows(table.rows)
    return out.getvalue()
