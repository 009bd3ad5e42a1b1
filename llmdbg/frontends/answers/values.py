"""A tensor's values, exactly, as lines of text and as tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from llmdbg.formatting import counted
from llmdbg.frontends.answers.number_grid import NumberGrid
from llmdbg.frontends.answers.tables import Column, Table
from llmdbg.frontends.heat_glyphs import INFINITE, LEGEND, NAN, NEGATIVE, NEGATIVE_INFINITE, POSITIVE, shade
from llmdbg.frontends.sanitize import sanitize
from llmdbg.probes.digits import digits

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.values_answer import Values
    from llmdbg.probes.axes import Index
    from llmdbg.probes.heat import Heatmap
    from llmdbg.probes.values import LocatedNumber, ValueSummary

_WIDTH = 96
_MOST_NAMED = 4


def _heading(value: Values) -> str:
    """What is shown: `12.mlp[0, 25] output of token 0: 576 values of float32[1, 26, 576] on cpu`."""
    part = f"{value.part} {sanitize(value.value)}" if value.value else value.part
    of = part if value.token is None else f"{part} of token {value.token}"
    shape = ", ".join(map(str, value.shape))
    later = f", from number {value.offset:,} on" if value.offset and value.summary is None else ""
    name = f"{sanitize(value.address)}{value.slice} {of}"
    return f"{name}: {counted(value.size, 'value')} of {value.dtype}[{shape}] on {value.device}{later}"


def _summary_lines(value: Values) -> list[str]:
    """What stands out, in a line each: extremes, what is not finite, outlier dimensions."""
    found = value.summary
    if found is None or not found.size:
        return [] if found is None else ["it is empty"]
    return [extremes_line(found, value.dtype), *nonfinite_lines(found), *_outlier_lines(found, value.dtype)]


def extremes_line(found: ValueSummary, dtype: str) -> str:
    """The minimum, the maximum and the largest magnitudes, each with its index."""
    if found.min is None or found.max is None:
        return f"all {found.size:,} are NaN"
    of = " by magnitude" if dtype.startswith("complex") else ""
    ends = f"min{of} {_found_text(found.min, dtype)} · max{of} {_found_text(found.max, dtype)}"
    return f"{ends} · largest {_largest_text(found, dtype)}"


def _largest_text(found: ValueSummary, dtype: str, most: int = 3) -> str:
    return ", ".join(_found_text(each, dtype) for each in found.largest[:most])


def _found_text(found: LocatedNumber, dtype: str) -> str:
    """`-3.25 at [0, 25, 12]`."""
    return f"{digits(found.value, dtype)} at {_index_text(found.index)}"


def _index_text(index: Index) -> str:
    return f"[{', '.join(map(str, index))}]"


def nonfinite_lines(found: ValueSummary) -> list[str]:
    """How many values are NaN or infinite and where the first ones are; no lines if all are finite."""
    kinds = (
        ("NaN", found.nan, found.first_nan),
        ("inf", found.inf, found.first_inf),
        ("-inf", found.negative_inf, found.first_negative_inf),
    )
    return [f"{count:,} {name}, first at {_places(first, count)}" for name, count, first in kinds if count]


def _outlier_lines(found: ValueSummary, dtype: str) -> list[str]:
    """The outlier dimensions and the rule that defines them; no lines if they were not looked for."""
    if found.outlier_count is None:
        return []
    if not found.outlier_count:
        return [f"no outlier dimension ({found.outlier_rule})"]
    named = ", ".join(f"{each.dimension} ({digits(each.absmax, dtype)})" for each in found.outliers)
    more = ", …" if found.outlier_count > len(found.outliers) else ""
    return [f"{found.outlier_count} outlier dimensions: {named}{more} ({found.outlier_rule})"]


def _places(first: Iterable[Index], count: int) -> str:
    named = list(map(_index_text, first))[:_MOST_NAMED]
    return ", ".join(named) + (", …" if count > len(named) else "")


def _heat_lines(picture: Heatmap) -> list[str]:
    """The heat map and its legend."""
    rows = ["".join(shade(cell, picture.scale) for cell in line) for line in picture.cells.tolist()]
    return [*(f"│{each}│" for each in rows), *heat_legend(picture)]


def heat_legend(picture: Heatmap) -> list[str]:
    """What the characters mean, and what a cell stands for."""
    scale = f"{picture.scale:.4g}"
    of = "mean" if picture.of == "mean" else "number of the largest magnitude"
    matrix = f"{counted(picture.width, 'value')}, wrapped from line to line" if picture.folded else (
        f"{picture.height:,} rows (down) x {picture.width:,} (across)"
    )  # fmt: skip
    beyond = f"{picture.beyond:,} cells are beyond that, up to {picture.largest:.4g}" if picture.beyond else ""
    return [
        f"{POSITIVE} {LEGEND} of {scale}, {NEGATIVE} of -{scale}; {NAN} NaN, {INFINITE} inf, {NEGATIVE_INFINITE} -inf",
        *([beyond] if beyond else []),
        f"a cell is the {of} of its part of {matrix}",
    ]


def values_lines(value: Values) -> list[str]:
    """What stands out in the tensor, then its values, or a heat map of them."""
    lines = [_heading(value), *([f"note: {sanitize(value.note)}"] if value.note else []), *_summary_lines(value)]
    if value.heat is not None:
        return [*lines, *_heat_lines(value.heat)]
    lines += _magnitude_lines(value) if value.how == "magnitude" else _number_lines(value)
    # NaN has no magnitude, so it does not come up later in the list.
    unranked = value.summary.nan if value.how == "magnitude" and value.summary is not None else 0
    left = value.size - unranked - value.offset - len(value.numbers)
    return [*lines, f"{left:,} more: `x` goes on"] if left > 0 else lines


def _magnitude_lines(value: Values) -> list[str]:
    texts = [digits(each, value.dtype) for each in value.numbers]
    width = max(map(len, texts), default=0)
    numbered = enumerate(zip(texts, value.indices, strict=True), value.offset + 1)
    return [f"{rank:5}  {text:>{width}}  {_index_text(index)}" for rank, (text, index) in numbered]


def _number_lines(value: Values) -> list[str]:
    if not value.numbers:
        return []
    texts = [digits(each, value.dtype) for each in value.numbers]
    first, end = value.offset, value.offset + len(texts)
    width = max(map(len, texts)) + 2
    gutter = max(len(_index_text(value.index(n))) for n in (first, end - 1))
    grid = NumberGrid(value.size, value.sliced[-1] if value.sliced else 1, max(1, (_WIDTH - gutter) // width))
    lines = []
    for y in range(grid.line_of(first), grid.line_of(end - 1) + 1):
        places = [n for n in grid.places(y) if first <= n < end]
        numbers = "".join(f"{texts[n - first]:>{width}}" for n in places)
        lines.append(f"{_index_text(value.index(places[0])):>{gutter}}{numbers}")
    return lines


def values_tables(value: Values) -> list[Table]:
    """A row for each value with its index, or for each cell of a heat map."""
    axes = tuple(Column(f"index {n}") for n in range(len(value.shape)))
    indices = value.indices or tuple(value.index(value.offset + n) for n in range(len(value.numbers)))
    if value.heat is not None:
        cells = value.heat.cells
        rows = tuple((r, c, float(cells[r, c])) for r in range(cells.shape[0]) for c in range(cells.shape[1]))
        return [Table((Column("row"), Column("column"), Column(value.heat.of)), rows)]
    return [Table((*axes, Column("value")), tuple((*i, n) for i, n in zip(indices, value.numbers, strict=True)))]
