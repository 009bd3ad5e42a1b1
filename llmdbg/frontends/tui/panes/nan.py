"""Whether this stage's output is finite and how near to overflow it is; and the latest answer of `info nonfinite`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.inspection.standing_questions import FinitenessView
from llmdbg.formatting import percent_of_many
from llmdbg.frontends.answers.nonfinite import causes, headroom, number_name, where
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.widgets.rows import Row, row, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.debugger.inspection.nonfinite import NonfiniteHunt
    from llmdbg.frontends.tui.state.screen_state import ScreenState
    from llmdbg.probes.finiteness import TensorExtent

_HUNTS = "`:info nonfinite` reruns this token to find the first"


def _draw(state: ScreenState, width: int, _height: int) -> Sequence[Row]:
    found: FinitenessView | None = state.asked("finiteness")
    rows = [line for name, extent in found.outputs for line in _output(name, extent, found, width)] if found else []
    if not rows:
        rows.append(row(("this stage returns no numbers", "dim")))
    rows += _seen(state, width)
    if found is None or found.hunt is None:
        return [*rows, *(row((line, "dim")) for line in wrapped(_HUNTS, width))]
    return [*rows, *_hunt(found.hunt, width), *(row((line, "dim")) for line in wrapped(_HUNTS, width))]


def _output(name: str, extent: TensorExtent, here: FinitenessView, width: int) -> list[Row]:
    bad = extent.nan + (extent.plus_inf if here.cuts_scores else extent.inf)
    cut = f", {extent.minus_inf:,} cut" if here.cuts_scores else ""
    said = f"{extent.nan:,} NaN, {extent.plus_inf if here.cuts_scores else extent.inf:,} infinite{cut}"
    lines = [(f"{name} {said}", "bad" if bad else "good")]
    lines.append((f"absmax {extent.absmax:.4g} · {headroom(extent.headroom)} of {extent.dtype} max", ""))
    if extent.subnormal:
        lines.append((f"{percent_of_many(extent.subnormal / extent.size)} are subnormal", "warn"))
    return [row((line, style)) for text, style in lines for line in wrapped(text, width)]


def _seen(state: ScreenState, width: int) -> list[Row]:
    """The first stop of this token with a non-finite value, not counting the -inf of cut tokens."""
    shown = state.snapshot
    first = next((address for address, each in shown.seen.items() if each.not_finite), None)
    if first is None:
        return []
    return [
        row((line, "warn")) for line in wrapped(f"first seen not finite during this token: {sanitize(first)}", width)
    ]


def _hunt(hunt: NonfiniteHunt, width: int) -> list[Row]:
    if hunt.found is None:
        nearest = hunt.nearest[0] if hunt.nearest else None
        said = [f"last search: all {hunt.stages} stage outputs of token {hunt.token} ({hunt.phase}) are finite"]
        if nearest is not None and nearest.headroom is not None:
            said.append(f"nearest to overflow: {sanitize(nearest.address)}, {headroom(nearest.headroom)}")
        return [row((line, "dim")) for each in said for line in wrapped(each, width)]
    head = f"last search: {number_name(hunt.found.value)} first at {where(hunt.found)}"
    rows = [row((line, "bad")) for line in wrapped(head, width)]
    return [*rows, *(row((line, "dim")) for each in causes(hunt.found) for line in wrapped(each, width))]


PANE = Pane(
    "nan", "exclamation_mark", PaneSlot.TAB, _draw, question="finiteness", about="NaN, infinity, and how near they are"
)
