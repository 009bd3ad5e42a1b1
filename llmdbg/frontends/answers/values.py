"""Numbers, exactly, as lines of text and as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from llmdbg.formatting import counted
from llmdbg.frontends.answers.number_grid import Grid
from llmdbg.frontends.answers.tables import Column, Table
from llmdbg.frontends.heat_glyphs import INFINITE, LEGEND, NAN, NEGATIVE, NEGATIVE_INFINITE, POSITIVE, shade
from llmdbg.frontends.sanitize import sanitize
from llmdbg.probes.digits import digits

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.values import Values
    from llmdbg.probes.axes import Index
    from llmdbg.probes.heat import Heat
    from llmdbg.probes.values import LocatedNumber, Summary

_WIDTH = 96
_MOST_NAMED = 4


def head_line(value: Values) -> str:
    """What is shown: `12.mlp[0, 25] output of token 0: 576 values of float32[1, 26, 576] on cpu`."""
    of = value.part if value.token is None else f"{value.part} of token {value.token}"
    shape = ", ".join(map(str, value.shape))
    later = f", from number {value.offset:,} on" if value.offset and value.summary is None else ""
    name = f"{sanitize(value.address)}{value.slice} {of}"
    return f"{name}: {counted(value.size, 'value')} of {value.dtype}[{shape}] on {value.device}{later}"


def summary_lines(value: Values) -> list[str]:
    """What stands out, in a line each: extremes, what is not finite, outlier dimensions."""
    found = value.summary
    if found is None or not found.size:
        return [] if found is None else ["there is nothing in it"]
    return [extremes_line(found, value.dtype), *nonfinite_lines(found), *outlier_lines(found, value.dtype)]


def extremes_line(found: Summary, dtype: str) -> str:
    """The least, the greatest, and the largest magnitude."""
    if found.min is None or found.max is None:
        return f"all {found.size:,} are NaN"
    of = " by magnitude" if dtype.startswith("complex") else ""
    ends = f"min{of} {found_text(found.min, dtype)} · max{of} {found_text(found.max, dtype)}"
    return f"{ends} · largest {largest_text(found, dtype)}"


def largest_text(found: Summary, dtype: str, most: int = 3) -> str:
    """The first few by magnitude."""
    return ", ".join(found_text(each, dtype) for each in found.largest[:most])


def found_text(found: LocatedNumber, dtype: str) -> str:
    """`-3.25 at [0, 25, 12]`."""
    return f"{digits(found.value, dtype)} at {index_text(found.index)}"


def index_text(index: Index) -> str:
    """`[0, 25, 12]`."""
    return f"[{', '.join(map(str, index))}]"


def nonfinite_lines(found: Summary) -> list[str]:
    """How much is NaN or infinite and where it begins; nothing where all is finite."""
    kinds = (
        ("NaN", found.nan, found.first_nan),
        ("inf", found.inf, found.first_inf),
        ("-inf", found.negative_inf, found.first_negative_inf),
    )
    return [f"{count:,} {name}, first at {_places(first, count)}" for name, count, first in kinds if count]


def outlier_lines(found: Summary, dtype: str) -> list[str]:
    """Outlier dimensions and the rule they are found by; nothing where they were not looked for."""
    if found.outlier_count is None:
        return []
    if not found.outlier_count:
        return [f"no outlier dimension ({found.outlier_rule})"]
    named = ", ".join(f"{each.dimension} ({digits(each.absmax, dtype)})" for each in found.outliers)
    more = ", …" if found.outlier_count > len(found.outliers) else ""
    return [f"{found.outlier_count} outlier dimensions: {named}{more} ({found.outlier_rule})"]


def _places(first: Iterable[Index], count: int) -> str:
    named = list(map(index_text, first))[:_MOST_NAMED]
    return ", ".join(named) + (", …" if count > len(named) else "")


def heat_lines(picture: Heat) -> list[str]:
    """The picture and its legend."""
    rows = ["".join(shade(cell, picture.scale) for cell in line) for line in picture.cells.tolist()]
    return [*(f"│{each}│" for each in rows), *heat_legend(picture)]


def heat_legend(picture: Heat) -> list[str]:
    """What the signs mean, and what a cell is."""
    scale = f"{picture.scale:.4g}"
    of = "mean" if picture.of == "mean" else "number of the largest magnitude"
    matrix = f"{counted(picture.width, 'value')}, read on from line to line" if picture.folded else (
        f"{picture.height:,} rows (down) x {picture.width:,} (across)"
    )  # fmt: skip
    beyond = f"{picture.beyond:,} cells are beyond it, up to {picture.largest:.4g}" if picture.beyond else ""
    return [
        f"{POSITIVE} {LEGEND} of {scale}, {NEGATIVE} of -{scale}; {NAN} NaN, {INFINITE} inf, {NEGATIVE_INFINITE} -inf",
        *([beyond] if beyond else []),
        f"a cell is the {of} of its part of {matrix}",
    ]


def _lines(value: Values) -> list[str]:
    lines = [head_line(value), *([f"note: {sanitize(value.note)}"] if value.note else []), *summary_lines(value)]
    if value.heat is not None:
        return [*lines, *heat_lines(value.heat)]
    lines += _magnitude_lines(value) if value.how == "magnitude" else _number_lines(value)
    # What is no number has no magnitude, and is not among those that follow.
    unranked = value.summary.nan if value.how == "magnitude" and value.summary is not None else 0
    left = value.size - unranked - value.offset - len(value.numbers)
    return [*lines, f"{left:,} more: `x` goes on"] if left > 0 else lines


def _magnitude_lines(value: Values) -> list[str]:
    told = [digits(each, value.dtype) for each in value.numbers]
    width = max(map(len, told), default=0)
    numbered = enumerate(zip(told, value.indices, strict=True), value.offset + 1)
    return [f"{rank:5}  {text:>{width}}  {index_text(index)}" for rank, (text, index) in numbered]


def _number_lines(value: Values) -> list[str]:
    if not value.numbers:
        return []
    told = [digits(each, value.dtype) for each in value.numbers]
    first, end = value.offset, value.offset + len(told)
    width = max(map(len, told)) + 2
    gutter = max(len(index_text(value.index(n))) for n in (first, end - 1))
    grid = Grid(value.size, value.sliced[-1] if value.sliced else 1, max(1, (_WIDTH - gutter) // width))
    lines = []
    for y in range(grid.line_of(first), grid.line_of(end - 1) + 1):
        places = [n for n in grid.places(y) if first <= n < end]
        numbers = "".join(f"{told[n - first]:>{width}}" for n in places)
        lines.append(f"{index_text(value.index(places[0])):>{gutter}}{numbers}")
    return lines


def _tables(value: Values) -> list[Table]:
    axes = tuple(Column(f"index {n}") for n in range(len(value.shape)))
    indices = value.indices or tuple(value.index(value.offset + n) for n in range(len(value.numbers)))
    if value.heat is not None:
        cells = value.heat.cells
        rows = tuple((r, c, float(cells[r, c])) for r in range(cells.shape[0]) for c in range(cells.shape[1]))
        return [Table((Column("row"), Column("column"), Column(value.heat.of)), rows)]
    return [Table((*axes, Column("value")), tuple((*i, n) for i, n in zip(indices, value.numbers, strict=True)))]


WRITERS: dict[str, Callable[[Any], list[str]]] = {"Values": _lines}
TABLES: dict[str, Callable[[Any], Sequence[Table]]] = {"Values": _tables}
