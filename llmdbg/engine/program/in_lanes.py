"""What a program answers about the rows of its batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.engine.program.given import Given
from llmdbg.engine.program.lanes import Lane
from llmdbg.engine.program.single_runs import runs_of
from llmdbg.errors import UnableError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmdbg.engine.lanes import FamilyStep, LaneFacts, LanePart
    from llmdbg.engine.program.arguments import Reading
    from llmdbg.engine.program.known_model import KnownModel
    from llmdbg.engine.program.lane_view import LaneView
    from llmdbg.engine.program.lanes import Lanes
    from llmdbg.engine.single_runs import SingleRuns
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.models.spec import LoadedModel


class InLanes:
    """The chosen row and all others, and what runs one of them by itself."""

    loaded: LoadedModel | None
    _lanes: Lanes
    _view: LaneView
    _given: Given | None = None

    def alone(self, lane: int) -> SingleRuns:
        """What runs a row by itself, at a stop. Waits for the device.

        Raises UnableError where it is not known what the row was fed.
        """
        if self._given is None:
            raise UnableError("no forward of the program has begun, so no row has been fed anything")
        return runs_of(self._given, lane, None if self.loaded is None else self.loaded.tokenizer)

    def _take(self, known: KnownModel, module: nn.Module, reading: Reading) -> None:
        """Note what a forward that begins is given. Does not wait for the device."""
        self._given = Given(known, module, reading)
        self._lanes = self._given.lanes
        if reading.read is not None:
            known.read.feed(reading.read[0], 0, reading.read[1])
        self._lanes.take(reading)
        self._view.covers(reading)

    def family(self) -> tuple[FamilyStep, ...]:
        """Where the rows have come from. Waits for the device."""
        return self._lanes.family()

    def _lane_in_view(self) -> Lane:
        return Lane() if self._view.is_mixed else self._lanes.lane(self._view.row)

    @property
    def is_mixed(self) -> bool:
        """Whether the rows of several requests are shown as they lie."""
        return self._view.is_mixed

    def request_in_view(self) -> str | None:
        """The engine's id of the chosen row; None where it is not one of several requests."""
        return self._view.request_in_view()

    def part_of(self, request: str, event: StageEvent) -> LanePart | None:
        """A request's part of an event; None where it has none."""
        return self._view.part_of(request, event)

    def scores(self, event: StageEvent, lane: int) -> Tensor | None:
        """A row's scores from `logits` to `sample`; None elsewhere."""
        return self._view.scores(event, lane)

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
