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

from llmdbg.engine.lanes import LanePart
from llmdbg.engine.program.request_rows import cache_of
from llmdbg.engine.stage_event import ScoresTrail, StageEvent, main_tensor
from llmdbg.models.stages import Phase, StageKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.engine.debuggee import PagedCache
    from llmdbg.engine.program.arguments import Reading
    from llmdbg.engine.program.request_rows import RequestRows

RowTrail = Callable[[int], ScoresTrail]
"""The scores (1, vocabulary) float32 of a row, after each stage so far."""


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
        self._scores: tuple[int, RowTrail] | None = None
        self._next: Sequence[int | None] = ()
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

    def blocks(self) -> PagedCache | None:
        """Where an engine keeps the keys and values of the requests in view; None outside of requests."""
        return cache_of(self._requests, None if self.is_mixed else self.row)

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

    def scored(self, row: int, trail: RowTrail, following: Sequence[int | None] = ()) -> None:
        """Note how to read any row's scores at the event that comes, which has those of `row`.

        `following` are the ids by which the rows are made longer, at `sample`.
        """
        self._scores, self._next = (row, trail), following

    def scored_nothing(self) -> None:
        """Let go of the scores."""
        self._scores, self._next = None, ()

    def scores(self, event: StageEvent, row: int) -> Tensor | None:
        """A row's scores (1, vocabulary) float32 at an event that has them; None elsewhere."""
        if self._scores is None or row >= self.rows:
            return None
        return event.output[row][None] if self._has_all_rows(event) else self._scores[1](row)[-1][1]

    def _has_all_rows(self, event: StageEvent) -> bool:
        """Whether an event's output are the scores of all requests (requests, vocabulary), and not of one row alone."""
        is_choice = event.stage.kind is StageKind.SAMPLE
        return len(self._requests) > 1 and self._scores is not None and bool(event.trail) and not is_choice

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
        return self._cut(event, self.chosen)

    def request_in_view(self) -> str | None:
        """The id of the chosen one of several requests; None elsewhere."""
        return None if len(self._requests) < 2 or self.is_mixed else self._requests[self.row].name

    def part_of(self, request: str, event: StageEvent) -> LanePart | None:
        """A request's part of an event; None where it is not in this forward, or the tensor has no rows of its own."""
        at = next((at for at, each in enumerate(self._requests) if each.name == request), None)
        tensor = main_tensor(event.output)
        if at is None or tensor is None or not tensor.dim():
            return None
        found, everything = self._requests[at], slice(None)
        if len(self._requests) == 1:
            return LanePart(event, everything, len(found.prompt))
        if self._has_all_rows(event):
            return LanePart(self._choice_of(event, at), slice(at, at + 1), len(found.prompt))
        rows = self._slice_of(tensor, at)
        return None if rows is None else LanePart(self._cut(event, at), rows, len(found.prompt))

    def _cut(self, event: StageEvent, row: int) -> StageEvent:
        """What a module took and returned, of one row."""

        def part(value: Any) -> Any:
            return self._part(value, row)

        return replace(
            self._placed(event, row),
            output=part(event.output),
            args=tuple(map(part, event.args)),
            kwargs={name: part(each) for name, each in event.kwargs.items()},
            kernel_calls=tuple(
                replace(call, **{each.name: part(getattr(call, each.name)) for each in fields(call)})
                for call in event.kernel_calls
            ),
        )

    def _placed(self, event: StageEvent, row: int) -> StageEvent:
        """The event with the positions that a row runs over: one may be in its prompt, and another behind its own."""
        if len(self._requests) < 2:
            return event
        first, length = self._requests[row].first, self._requests[row].length
        return replace(event, span=(first, length), phase=Phase.DECODE if first and length == 1 else Phase.PREFILL)

    def _choice(self, event: StageEvent) -> StageEvent:
        """Scores, and the token that follows, of the row in view. An event has those of one row alone."""
        is_whole = self._has_all_rows(event)
        if self._scores is None or not event.trail or (self._scores[0] == self.row and not is_whole):
            return event
        return self._choice_of(event, self.row, whole=is_whole and self.chosen is None)

    def _choice_of(self, event: StageEvent, row: int, *, whole: bool = False) -> StageEvent:
        """The scores of a row, and the token that follows; with the output of all rows if `whole`."""
        assert self._scores is not None
        trail = self._scores[1](row)
        event = event if self.is_mixed else self._placed(event, row)
        if event.stage.kind is StageKind.SAMPLE:
            id = self._next[row] if row < len(self._next) else None
            return replace(event, output=None if id is None else torch.tensor([id]), trail=trail, chosen=id)
        if self._has_all_rows(event):
            # As an edit may have left them.
            trail = (*trail[:-1], (event.stage, event.output[row][None]))
        args = (None, trail[-2][1]) if len(trail) > 1 else event.args
        return replace(event, output=event.output if whole else trail[-1][1], args=args, trail=trail)

    def _part(self, value: Any, row: int) -> Any:
        """A row's part of what a module took or returned."""
        if isinstance(value, Tensor) and len(self._requests) > 1:
            rows = self._slice_of(value, row)
            return value if rows is None else value[rows]
        if isinstance(value, Tensor):
            if value.dim() and len(value) == self.rows:
                return value[row : row + 1]
            if value.dim() == 2 and len(value) == self.rows * self.length:
                # Experts and their router see all positions of all rows in one dimension.
                return value[row * self.length : (row + 1) * self.length]
            return value
        if type(value) in (tuple, list):
            return type(value)(self._part(each, row) for each in value)
        if isinstance(value, Mapping):
            return {name: self._part(each, row) for name, each in value.items()}
        return value

    def _slice_of(self, value: Tensor, at: int) -> slice | None:
        """Which rows of a tensor are a request's: its positions, or the one that it has; None of one without rows."""
        if value.dim() and len(value) == self._requests[-1].rows.stop:
            return self._requests[at].rows
        return slice(at, at + 1) if value.dim() and len(value) == self.rows else None
