"""An edit of one of several requests, which leaves the rows of the others as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.editing.changes import with_main_tensor
from llmdbg.debugger.editing.edits import checked
from llmdbg.engine.stage_event import main_tensor
from llmdbg.formatting import printable

if TYPE_CHECKING:
    from llmdbg.debugger.editing.changes import ValueChange
    from llmdbg.engine.lanes import HasLanes
    from llmdbg.engine.stage_event import StageEvent


@dataclass(frozen=True, slots=True)
class OfRequest:
    """Changes the rows of one request alone, wherever they lie in a forward; nothing once it has ended."""

    change: ValueChange
    """What it does to them."""
    request: str
    """The engine's id of the request."""
    lanes: HasLanes
    """Knows which rows are its own."""

    @property
    def on_input(self) -> bool:
        """Whether it recomputes the output from a changed input."""
        return self.change.on_input

    def describe(self) -> str:
        """`× 0.5, request 1-9fd5438b alone`."""
        return f"{self.change.describe()}, request {printable(self.request)} alone"

    def apply(self, event: StageEvent, prompt_length: int) -> Any:
        """The output with that request's rows changed; as it is where the event has none of them. Raises EditError."""
        part, whole = self.lanes.part_of(self.request, event), main_tensor(event.output)
        if part is None or whole is None:
            return event.output
        before, made = main_tensor(part.event.output), main_tensor(checked(self.change, part.event, part.prompt))
        if made is before or made is None:
            return event.output
        changed = whole.clone()
        changed[part.rows] = made
        return with_main_tensor(event.output, changed)
