"""A table of numbers as shaded cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmdbg.frontends.pictures.canvas import caption, printable, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

_SHADES = "Blues"
_ROW, _CELL, _WRITTEN_CELL = 0.2, 0.16, 1.15  # inches
_MARGIN_WIDTH, _MARGIN_HEIGHT = 2.4, 1.6
_DARK = 0.55
_NO_VALUE = "#dddddd"


def draw_heatmap(
    values: ArrayLike | Sequence[Sequence[float | None]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[str]] | None = None,
    title: str,
    subtitle: str = "",
    format: str,
    low: float | None = None,
    high: float | None = None,
) -> bytes:
    """A table of numbers (rows, columns) as the bytes of a picture, from light (`low`) to dark (`high`).

    None and NaN are grey. `low` and `high` default to the least and greatest value. `cells` are texts to write into the
    cells. Labels and texts may be any text: they are sanitized.
    """
    numbers = np.array(
        [[np.nan if each is None else each for each in line] for line in np.asarray(values, dtype=object)]
    )
    numbers = numbers.astype(float).reshape(len(rows), len(columns))
    width = len(columns) * (_CELL if cells is None else _WRITTEN_CELL)
    width = _MARGIN_WIDTH + max(2.0, width)

    def fill(made: Figure, axes: Axes) -> None:
        _shade(made, axes, numbers, (low, high))
        axes.set_yticks(range(len(rows)), [printable(each) for each in rows])
        axes.set_xticks(range(len(columns)), [printable(each) for each in columns], rotation=0 if cells else 90)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        if cells is not None:
            _write(axes, numbers, cells)
        made.suptitle(caption(title, width), x=0.01, ha="left", fontsize=10)
        axes.set_xlabel(caption(subtitle, width), loc="left")

    return render(width, _MARGIN_HEIGHT + _ROW * len(rows), fill, format)


def _shade(made: Figure, axes: Axes, numbers: Any, limits: tuple[float | None, float | None]) -> None:
    image = axes.imshow(
        numbers,
        cmap=_shades(),
        vmin=limits[0],
        vmax=limits[1],
        aspect="auto",
        interpolation="nearest",
    )
    made.colorbar(image, ax=axes, shrink=0.6, pad=0.01)


def _shades() -> Any:
    from matplotlib import colormaps

    return colormaps[_SHADES].with_extremes(bad=_NO_VALUE)


def _write(axes: Axes, numbers: Any, cells: Sequence[Sequence[str]]) -> None:
    shade: Any = axes.images[0].norm
    for y, line in enumerate(cells):
        for x, text in enumerate(line):
            dark = bool(shade(numbers[y, x]) > _DARK) if np.isfinite(numbers[y, x]) else False
            axes.text(x, y, printable(text), ha="center", va="center", color="white" if dark else "black", fontsize=7)
