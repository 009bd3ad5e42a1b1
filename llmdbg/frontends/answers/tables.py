"""A table as a value: told as aligned text, or as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len

from llmdbg.frontends.sanitize import sanitize


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, and how a value of it is written for people. Numbers stand to the right."""

    title: str
    told: Callable[[Any], str] = str
    left: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of plain values under columns; `title` is empty for a table that needs none."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    title: str = ""


def aligned(table: Table) -> list[str]:
    """A table as lines of text. None is left empty."""
    cells = [[column.title for column in table.columns]]
    for values in table.rows:
        told = zip(table.columns, values, strict=True)
        cells.append(["" if value is None else sanitize(column.told(value)) for column, value in told])
    widths = [max(map(cell_len, each)) for each in zip(*cells, strict=True)]
    lines = [sanitize(table.title)] if table.title else []
    for line in cells:
        placed = zip(line, widths, table.columns, strict=True)
        lines.append("  ".join(_placed(text, width, column) for text, width, column in placed).rstrip())
    return lines


def _placed(text: str, width: int, column: Column) -> str:
    space = " " * (width - cell_len(text))
    return text + space if column.left else space + text


def as_csv(tables: Sequence[Table]) -> str:
    """Tables as CSV (RFC 4180), numbers in full. Several are parted by an empty line."""
    out = io.StringIO()
    for index, table in enumerate(tables):
        if index:
            out.write("\r\n")
        writer = csv.writer(out)
        writer.writerow([column.title for column in table.columns])
        writer.writerows(table.rows)
    return out.getvalue()
