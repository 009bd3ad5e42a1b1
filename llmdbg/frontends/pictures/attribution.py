"""The picture of an attribution: a bar for each part, to the right if it raises the logit, else to the left."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmdbg.frontends.pictures.canvas import caption, printable, render
from llmdbg.frontends.sanitize import quoted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from llmdbg.probes.attribution import Attribution

_BAR, _MARGIN, _WIDTH = 0.16, 1.4, 8.0  # inches
_COLOURS = {"attention": "#1f77b4", "mlp": "#ff7f0e", "embedding": "#2ca02c", "constant": "#7f7f7f"}
_OTHER = "#9467bd"


def draw_attribution(value: Attribution, format: str) -> bytes:
    """Every term as a horizontal bar, in the order the parts run, top to bottom."""
    return render(_WIDTH, _MARGIN + _BAR * len(value.terms), lambda made, axes: _fill(value, made, axes), format)


def _fill(value: Attribution, made: Figure, axes: Axes) -> None:
    terms = list(reversed(value.terms))
    # A value that is not finite has no bar.
    values = [each.value if math.isfinite(each.value) else 0.0 for each in terms]
    axes.barh(range(len(terms)), values, color=[_colour(each.what) for each in terms])
    axes.set_yticks(range(len(terms)), [printable(each.address) for each in terms])
    axes.set_ylim(-0.7, len(terms) - 0.3)
    axes.axvline(0, color="black", linewidth=0.6)
    lowest, highest = min([0.0, *values]), max([0.0, *values])
    room = 0.05 * (highest - lowest) or 1.0
    axes.set_xlim(lowest - room, highest + room)
    kinds = list(dict.fromkeys(each.what for each in value.terms))
    for what in kinds:
        axes.barh([0], [0], color=_colour(what), label=what)
    if kinds:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(kinds), frameon=False, borderaxespad=0.2)
    title = f"what each part adds to the logit of {quoted(value.text)}"
    made.suptitle(caption(title, _WIDTH), x=0.01, ha="left", fontsize=10)
    below = f"position {value.position}, read after {value.after}: the sum is {value.sum:.3f}"
    axes.set_xlabel(caption(below, _WIDTH), loc="left")


def _colour(what: str) -> str:
    return _COLOURS.get(what, _OTHER)
