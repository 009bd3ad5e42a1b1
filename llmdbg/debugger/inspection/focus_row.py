"""Which row of a stage's tensor is the focus position."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.positions import positions

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.engine.stage_event import StageEvent


def focus_row(inspector: Inspector, event: StageEvent, ran: int | None) -> tuple[int, int]:
    """The focus position's row among the positions a stage ran over, and their number: `ran`, if known.

    A model without a cache runs over the whole sequence for every token, so there may be more positions than the
    token's own. A long prompt fed in pieces gives fewer: the row is negative if the last piece does not include it.
    """
    first, length = positions(event, len(inspector.prompt.ids))
    inside = inspector.focus.position is not None and first <= inspector.focus.position < first + length
    from_the_end = first + length - inspector.focus.position if inside and inspector.focus.position is not None else 1
    ran = length if ran is None else ran
    return ran - from_the_end, ran
