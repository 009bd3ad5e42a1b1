"""The lane: the row of a batch that stops, conditions, panes and answers describe."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from llmdbg.debugger.editing.of_request import OfRequest
from llmdbg.engine.lanes import HasLanes
from llmdbg.errors import CommandError, UnableError
from llmdbg.formatting import printable

if TYPE_CHECKING:
    from llmdbg.debugger.editing.edits import Draft
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.lanes import LaneFacts
    from llmdbg.engine.stage_event import StageEvent


class Lane:
    """The chosen lane of a debuggee that has several."""

    def __init__(self, debuggee: Debuggee) -> None:
        self._name = debuggee.name
        self._lanes = debuggee if isinstance(debuggee, HasLanes) else None

    @property
    def chosen(self) -> int | None:
        """Its row of the batch, from 0; None where all rows are described."""
        return None if self._lanes is None else self._lanes.lane

    @property
    def count(self) -> int:
        """How many lanes the current forward has; 0 where one sequence runs."""
        return self._lanes.batch if self._lanes is not None and self._lanes.batch > 1 else 0

    @property
    def of_choice(self) -> int | None:
        """The lane whose scores and tokens are shown: row 0 until one is chosen; None where one sequence runs."""
        if self._lanes is None or self._lanes.batch < 2:
            return None
        return self._lanes.lane or 0

    def seen(self, event: StageEvent) -> StageEvent:
        """An event as the chosen lane has it: its part of every tensor, its scores and its token."""
        return event if self._lanes is None else self._lanes.seen(event)

    def require_one(self) -> None:
        """Raise UnableError where several requests are in view, of which no one sequence of tokens is."""
        if self._lanes is not None and self._lanes.is_mixed:
            raise UnableError(
                f"this forward is for {self._lanes.batch} requests, each with tokens of its own: `lane 0` chooses one"
            )

    def edited(self, event: StageEvent) -> StageEvent:
        """What an edit that is made now finds at an event: the chosen request's part; elsewhere all of it."""
        request = self._request
        part = None if self._lanes is None or request is None else self._lanes.part_of(request, event)
        return event if part is None else part.event

    def owned(self, draft: Draft) -> Draft:
        """An edit as it is made now: of the chosen one of several requests alone; of everything elsewhere."""
        request = self._request
        if self._lanes is None or request is None:
            return draft
        return replace(draft, change=OfRequest(draft.change, request, self._lanes), request=request)

    @property
    def _request(self) -> str | None:
        return None if self._lanes is None else self._lanes.request_in_view()

    def all(self) -> tuple[LaneFacts, ...]:
        """Every lane of the batch of the current forward. Waits for the device."""
        return () if self._lanes is None else self._lanes.lanes()

    def check(self, lane: int) -> None:
        """Raise CommandError for a lane that is not there."""
        count = max(1, self.count)
        if lane < count:
            return
        if count == 1:
            raise CommandError(f"{printable(self._name)} runs one sequence here: there is no other lane")
        raise CommandError(f"there is no lane {lane}: this batch has lanes 0 to {count - 1}")

    def choose(self, lane: int | None) -> None:
        """Describe one lane from now on, or all of them. Raises CommandError for one that is not there."""
        if lane is not None:
            self.check(lane)
        if self._lanes is not None:
            self._lanes.choose_lane(lane)
