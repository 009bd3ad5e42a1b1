"""All values of a tensor: what stands out, then every value, the largest by magnitude, or a heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.formatting import counted
from llmdbg.frontends.answers.number_grid import NumberGrid
from llmdbg.frontends.answers.values import extremes_line, heat_legend, nonfinite_lines
from llmdbg.frontends.heat_glyphs import NEGATIVE, POSITIVE, shade, shade_style
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.widgets.fetched_rows import FetchedRows
from llmdbg.frontends.tui.widgets.rows import LazyRows, Row, fitted, row, wrapped
from llmdbg.probes.digits import digits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.debugger.inspection.values_answer import Values
    from llmdbg.frontends.tui.state.screen_state import ScreenState
    from llmdbg.probes.axes import Index
    from llmdbg.probes.heat import Heatmap
    from llmdbg.probes.values import LocatedNumber, PlainNumber, ValueSummary

_CELLS = {"float64": 24, "float32": 15, "float16": 11, "bfloat16": 11, "bool": 6}
_SMALL_FLOAT_CELL, _UNKNOWN_CELL = 10, 24
_LEAST_LINES = 4


def _draw(state: ScreenState, width: int, height: int) -> Sequence[Row]:
    found: Values | str | None = state.asked("values")
    if found is None:
        return []
    if isinstance(found, str):
        return [row((line, "dim")) for line in wrapped(sanitize(found), width)]
    head, about = _head(found, width), (found.asked, found.how)
    if found.heat is not None:
        rows = [*head, *_heat_rows(found.heat, width, max(_LEAST_LINES, height - len(head) - 1))]
        return LazyRows(len(rows), rows.__getitem__, about)
    if found.how == "magnitude":
        count = len(head) + len(found.numbers)
        return LazyRows(count, lambda y: head[y] if y < len(head) else _ranked(found, y - len(head), width), about)
    return _numbers(found, head, width)


def _head(found: Values, width: int) -> list[Row]:
    """What is shown, and what stands out in it."""
    name = f"{sanitize(found.address)}{'.in' if found.part == 'input' else ''}{found.slice}"
    shape = f" {found.dtype}[{', '.join(map(str, found.shape))}]"
    rows = [
        row((fitted(name, min(width, len(name))), "accent"), (fitted(shape, max(0, width - len(name))).rstrip(), "dim"))
    ]
    if found.note:
        rows += [row((line, "warn")) for line in wrapped(sanitize(found.note), width)]
    known = found.summary
    size = counted(found.size, "value")
    if known is None or not known.size:
        return [*rows, row((size, "dim"))]
    rows += [row((line, "dim")) for line in wrapped(f"{size}, {_extremes(found, known, width - len(size) - 2)}", width)]
    rows += [row((line, "bad")) for text in nonfinite_lines(known) for line in wrapped(text, width)]
    return [*rows, *_outliers(known, width)]


def _extremes(found: Values, known: ValueSummary, width: int) -> str:
    """The minimum, the maximum and the largest magnitude, with as many of their indices as fit."""
    if known.min is None or known.max is None:
        return extremes_line(known, found.dtype)
    least, greatest, top = (_at(found, each) for each in (known.min, known.max, known.largest[0]))
    both = f"min {least}, max {greatest}"
    return both if len(both) <= width else f"top {top}"


def _at(found: Values, number: LocatedNumber) -> str:
    where = _varying(found, number.index)
    return digits(number.value, found.dtype) + (f" at {where}" if where else "")


def _outliers(known: ValueSummary, width: int) -> list[Row]:
    if not known.outlier_count:
        return []
    named = " ".join(f"{each.dimension} ({each.absmax:.4g})" for each in known.outliers)
    count = f"{counted(known.outlier_count, 'outlier dimension')} "
    return [row((count, "warn"), fitted(named, max(0, width - len(count))))]


def _numbers(found: Values, head: list[Row], width: int) -> Sequence[Row]:
    """Every value; `…` for those not fetched yet."""
    gutter, cell = len(_short_index(found, found.size - 1)) + 1 if found.size else 0, _cell(found)
    length = found.sliced[-1] if found.sliced else 1
    grid = NumberGrid(found.size, length, max(1, (width - gutter) // cell))
    end = found.offset + len(found.numbers)

    def line(y: int) -> Row:
        if y < len(head):
            return head[y]
        places = grid.places(y - len(head))
        texts = [
            _number_text(found.numbers[n - found.offset], found.dtype, cell) if found.offset <= n < end else "…"
            for n in places
        ]
        return row(
            (f"{_short_index(found, places.start):>{gutter}}", "dim"), "".join(f"{each:>{cell}}" for each in texts)
        )

    def lacks(lines: range) -> tuple[int, int] | None:
        shown = range(max(0, lines.start - len(head)), lines.stop - len(head))
        if not shown:
            return None
        first, last = grid.places(shown.start).start, grid.places(shown.stop - 1).stop
        if found.offset <= first and last <= end:
            return None
        # The lines just above and below are fetched too, so that scrolling a little does not wait.
        return max(0, first - (last - first)), 3 * (last - first)

    return FetchedRows(len(head) + grid.lines, line, lacks, (found.asked, found.how))


def _ranked(found: Values, rank: int, width: int) -> Row:
    number = digits(found.numbers[rank], found.dtype)
    index = ", ".join(map(str, found.indices[rank]))
    return row(
        (f"{rank + 1:4} ", "dim"), f"{number:>{_cell(found)}}", (fitted(f"  [{index}]", max(0, width - 20)), "dim")
    )


def _heat_rows(picture: Heatmap, width: int, height: int) -> list[Row]:
    from llmdbg.probes.heat import coarser

    seen = coarser(picture, height, width)
    rows = [row((fitted(f"{POSITIVE} to {seen.scale:.4g}  {NEGATIVE} to -{seen.scale:.4g}", width), "dim"))]
    for line in seen.cells.tolist():
        rows.append(row(*((sign, shade_style(sign)) for sign in (shade(each, seen.scale) for each in line))))
    return [*rows, *(row((line, "dim")) for text in heat_legend(seen) for line in wrapped(text, width))]


def _short_index(found: Values, place: int) -> str:
    return _varying(found, found.index(place))


def _varying(found: Values, index: Index) -> str:
    """An index without the dimensions that the slice fixes."""
    pairs = zip(index, found.axes(), strict=True)
    return ",".join(str(at) for at, axis in pairs if isinstance(axis, range) and len(axis) > 1)


def _cell(found: Values) -> int:
    """The width of a number's cell, including a space before it; the same for the whole slice."""
    if found.dtype in _CELLS:
        return _CELLS[found.dtype]
    if found.dtype.startswith("float8"):
        return _SMALL_FLOAT_CELL
    known = found.summary
    if known is None or known.min is None or known.max is None or found.dtype.startswith("complex"):
        return _UNKNOWN_CELL
    return max(3, *(len(str(each.value)) + 2 for each in (known.min, known.max)))


def _number_text(value: PlainNumber, dtype: str, cell: int) -> str:
    """A number that fits its cell; the rare one that is wider loses its last digits."""
    text = digits(value, dtype)
    return text if len(text) < cell else f"{value:.{max(1, cell - 8)}g}"


PANE = Pane(
    "values",
    "7",
    PaneSlot.TAB,
    _draw,
    question="values",
    about="the values themselves",
)
