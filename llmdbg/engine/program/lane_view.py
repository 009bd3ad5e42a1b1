"""The row of a batch that the debugger shows, and stage events as that row has them.

A tensor whose first dimension is the batch is cut to the row, as a view: nothing is copied, and the positions stay
where they are, padding included. One that has no such dimension is left whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llmdbg.engine.program.lanes import Lane
from llmdbg.engine.stage_event import StageEvent
from llmdbg.models.attentions import KernelCall
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.engine.debuggee import FamilyStep, LaneFacts
    from llmdbg.engine.program.arguments import Reading
    from llmdbg.engine.program.lanes import Lanes
    from llmdbg.engine.program.request_rows import RequestRows

RowScores = Callable[[int], Tensor]
"""The scores (1, vocabulary) float32 of a row."""


class LaneView:
    """Which row is shown. `chosen` is None for all of them; then tokens and scores are those of row 0.

    `rows` and `length` are the size of the batch of the current forward, in sequences and positions. `fed` is its ids
    (rows, positions) at `tokenize`.
    """

    def __init__(self) -> None:
        self.chosen: int | None = None
        self.rows = 1
        self.length = 1
        self.fed: Tensor | None = None
        self._scores: tuple[int, RowScores] | None = None
        self._next: tuple[int | None, ...] = ()
        self._requests: tuple[RequestRows, ...] = ()

    def covers(self, reading: Reading) -> None:
        """Note the size of the batch of a forward that begins. A chosen request stays chosen until it has ended."""
        if self.chosen is not None and self.chosen < len(self._requests):
            names, chosen = [each.name for each in reading.requests], self._requests[self.chosen].name
            self.chosen = names.index(chosen) if chosen in names else None
        self.rows, self.length, self._requests = reading.rows, reading.length, reading.requests

    @property
    def is_mixed(self) -> bool:
        """Whether the rows of several requests are shown as they lie, which no one request's tokens belong to."""
        return len(self._requests) > 1 and (self.chosen is None or self.chosen >= self.rows)

    def span(self, of_forward: tuple[int, int] | None) -> tuple[int, int] | None:
        """The first position that the row in view covers and how many, in a forward that covers `of_forward`."""
        if len(self._requests) < 2 or self.is_mixed:
            return of_forward
        request = self._requests[self.row]
        return request.first, request.length

    @property
    def row(self) -> int:
        """The row whose tokens and scores are shown."""
        return self.chosen if self.chosen is not None and self.chosen < self.rows else 0

    def scored(self, row: int, scores: RowScores, following: tuple[int | None, ...] = ()) -> None:
        """Note how to read any row's scores at the event that comes, which has those of `row`.

        `following` are the ids by which the rows are made longer, at `sample`.
        """
        self._scores, self._next = (row, scores), following

    def scored_nothing(self) -> None:
        """Let go of the scores."""
        self._scores, self._next = None, ()

    def scores(self, row: int) -> Tensor | None:
        """A row's scores (1, vocabulary) float32 at the event that has them; None elsewhere."""
        return None if self._scores is None or row >= self.rows else self._scores[1](row)

    def seen(self, event: StageEvent) -> StageEvent:
        """The event as the row in view has it; itself where all rows are shown, or where there is one."""
        if event.stage.kind is StageKind.SAMPLE or event.trail:
            return self._choice(event)
        if self.chosen is None or self.chosen >= self.rows or self.rows < 2:
            return event
        if event.stage.kind is StageKind.TOKENIZE:
            if self._requests and self.fed is not None:
                return replace(event, output=self.fed[:, self._requests[self.chosen].rows])
            return event if self.fed is None else replace(event, output=self.fed[self.chosen][None])
        return replace(
            event,
            span=self.span(event.span),
            output=self._part(event.output),
            args=tuple(map(self._part, event.args)),
            kwargs={name: self._part(each) for name, each in event.kwargs.items()},
            kernel_calls=tuple(map(self._call, event.kernel_calls)),
        )

    def _choice(self, event: StageEvent) -> StageEvent:
        """Scores, and the token that follows, of the row in view. An event has those of one row alone."""
        is_whole = len(self._requests) > 1 and self.chosen is not None and event.chosen is None
        if self._scores is None or not event.trail or (self._scores[0] == self.row and not is_whole):
            return event
        [(stage, _)] = event.trail
        scores = self._scores[1](self.row)
        trail = ((stage, scores),)
        if event.chosen is None:
            return replace(event, output=scores, trail=trail)
        id = self._next[self.row] if self.row < len(self._next) else None
        return replace(event, output=None if id is None else torch.tensor([id]), trail=trail, chosen=id)

    def _part(self, value: Any) -> Any:
        """The row's part of what a module took or returned."""
        assert self.chosen is not None
        if isinstance(value, Tensor) and len(self._requests) > 1:
            return self._rows_of_request(value, self.chosen)
        if isinstance(value, Tensor):
            if value.dim() and len(value) == self.rows:
                return value[self.chosen : self.chosen + 1]
            if value.dim() == 2 and len(value) == self.rows * self.length:
                # Experts and their router see all positions of all rows in one dimension.
                return value[self.chosen * self.length : (self.chosen + 1) * self.length]
            return value
        if type(value) in (tuple, list):
            return type(value)(map(self._part, value))
        if isinstance(value, Mapping):
            return {name: self._part(each) for name, each in value.items()}
        return value

    def _rows_of_request(self, value: Tensor, at: int) -> Tensor:
        if value.dim() and len(value) == self._requests[-1].rows.stop:
            return value[self._requests[at].rows]
        return value[at : at + 1] if value.dim() and len(value) == self.rows else value

    def _call(self, call: KernelCall) -> KernelCall:
        return replace(call, **{each.name: self._part(getattr(call, each.name)) for each in fields(call)})


class InLanes:
    """What a program answers about the rows of its batch."""

    _lanes: Lanes
    _view: LaneView

    def family(self) -> tuple[FamilyStep, ...]:
        """Where the rows have come from. Waits for the device."""
        return self._lanes.family()

    def _lane_in_view(self) -> Lane:
        return Lane() if self._view.is_mixed else self._lanes.lane(self._view.row)

    def scores(self, lane: int) -> Tensor | None:
        """A row's scores at `logits` and at `sample`; None elsewhere."""
        return self._view.scores(lane)

    def lanes(self) -> tuple[LaneFacts, ...]:
        """The rows of the batch of the current forward. Waits for the device."""
        return self._lanes.facts()

    @property
    def batch(self) -> int:
        """How many rows the current forward has."""
        return self._view.rows

    @property
    def lane(self) -> int | None:
        """The chosen row; None for all of them, and where the current forward has no such row."""
        return self._view.chosen if self._view.chosen is not None and self._view.chosen < self._view.rows else None

    def choose_lane(self, lane: int | None) -> None:
        """Show one row of the batch from now on, or all of them."""
        self._view.chosen = lane

    def seen(self, event: StageEvent) -> StageEvent:
        """An event as the chosen row has it."""
        return self._view.seen(event)
