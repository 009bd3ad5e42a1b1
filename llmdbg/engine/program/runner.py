"""What suspends a program and resumes it, as the program's debuggee needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from llmdbg.engine.random_streams import RandomStreams
    from llmdbg.engine.stage_event import StageEvent


class Runner(Protocol):
    """Suspends a program and resumes it."""

    def is_running_here(self) -> bool:
        """Whether the caller is the program, in its own thread."""

    def suspend(self, value: StageEvent) -> None:
        """Hand an event over; return when the program is resumed. Called by the program."""

    def resume(self) -> StageEvent | None:
        """Run the program to its next event; None once it has ended."""

    def draw_from(self, streams: RandomStreams) -> None:
        """Keep these random streams while it is suspended."""

    def frames(self) -> Sequence[FrameType]:
        """The Python frames of the suspended program, innermost first."""

    def close(self) -> None:
        """End a suspended program, or let it go."""
