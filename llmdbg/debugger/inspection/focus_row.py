"""Which of the positions that a stage ran over is the focus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.positions import positions

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.engine.stage_event import StageEvent


def focus_row(inspector: Inspector, event: StageEvent, ran: int | None) -> tuple[int, int]:
    """The row of the focus among the positions a stage ran over, and how many these are: `ran`, if that is known.

    They may be more than the token's own, in a model that runs over the whole sequence every time for want of a cache,
    and fewer where a long prompt is fed in pieces: then the row is negative if the last piece has not got it.
    """
    first, length = positions(event, len(inspector.prompt.ids))
    inside = inspector.focus.position is not None and first <= inspector.focus.position < first + length
    from_the_end = first + length - inspector.focus.position if inside and inspector.focus.position is not None else 1
    ran = length if ran is None else ran
    return ran - from_the_end, ran
