"""What a program has chosen between two forwards, as far as the ids show it that the rows go on with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from llmdbg.models.stages import SAMPLE

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.program.lane_view import LaneView
    from llmdbg.engine.program.lanes import Lanes
    from llmdbg.engine.program.program_stops import ProgramStops
    from llmdbg.engine.stage_event import ScoresTrail
    from llmdbg.models.stages import Stage


class Choosing:
    """Reports `sample`, once for each token."""

    def __init__(self, view: LaneView) -> None:
        self._view = view
        self._is_reported = False
        self.scores: Tensor | None = None
        """What the last forward scored (rows, vocabulary) float32, where someone will want to know."""

    def begin_token(self) -> None:
        """The next forward begins."""
        self._is_reported = False

    def report(self, stops: ProgramStops, logits: Stage, lanes: Lanes, ids: tuple[int | None, ...]) -> None:
        """Stop at `sample`, if anyone wants to: the rows go on with `ids`; none if they are not known.

        `logits` is the stage of the scores. Does nothing where it has been done for this token.
        """
        scores, self.scores = self.scores, None
        if self._is_reported or not (stops.watches(SAMPLE) or stops.interrupted):
            return
        self._is_reported = True
        row = self._view.row
        id = ids[row] if row < len(ids) else None
        if id is None:
            stops.leave(SAMPLE, (), {}, None)
            return
        trail: ScoresTrail = ()
        parents = lanes.parents()
        # A program may feed ids that the head does not score, such as those that stand for an image.
        if scores is not None and len(scores) == len(ids) and max(each or 0 for each in ids) < scores.shape[-1]:
            # A row's token was chosen by the scores of the row that it continues.
            scores = scores[list(parents)] if parents else scores
            trail = ((logits, scores[row][None]),)
            self._view.scored(row, lambda other: ((logits, scores[other][None]),), ids)
        stops.leave(SAMPLE, (), {}, torch.tensor([id]), trail, id, reordered=parents)
        self._view.scored_nothing()
