"""One breakpoint, tracepoint or watch: where it waits, and what it asks of a stage."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from llmdbg.debugger.breakpoints.triggers import READY_MADE

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.addresses import Target
    from llmdbg.debugger.breakpoints.expressions import Expression
    from llmdbg.debugger.breakpoints.triggers import Trigger
    from llmdbg.engine.stage_event import StageEvent


class BreakpointKind(StrEnum):
    """A breakpoint stops, a tracepoint logs and goes on, a watch stops when a value has changed."""

    BREAK = "breakpoint"
    TRACE = "tracepoint"
    WATCH = "watch"


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """One of them. A temporary one is deleted by its first hit; the next `ignore` hits do not stop.

    `expressions` are what a tracepoint logs, or the one that a watch compares. `commands` are run when it stops.
    `anew` says that what it remembers of other stages is of the same token only.
    """

    number: int
    target: Target
    temporary: bool = False
    enabled: bool = True
    hits: int = 0
    kind: BreakpointKind = BreakpointKind.BREAK
    condition: Trigger | None = None
    expressions: tuple[Expression, ...] = ()
    ignore: int = 0
    commands: tuple[str, ...] = ()

    @property
    def per_token(self) -> bool:
        """Whether it looks at one token's stages side by side, rather than at one stage token after token."""
        return len(self.target.addresses) > 1

    @property
    def ready_made(self) -> bool:
        """Whether its target's text is the name of a ready-made breakpoint, which says its condition as well."""
        return self.target.text.partition(" ")[0] in READY_MADE

    @property
    def compares(self) -> bool:
        """Whether what it does depends on stages that came before."""
        return self.kind is BreakpointKind.WATCH or (self.condition is not None and self.condition.remembers)

    def covers(self, event: StageEvent) -> bool:
        """Whether it waits at an event's stage and token."""
        return event.stage.address in self.target.addresses and self.target.at(event.token)

    def asks(self) -> tuple[Trigger | Expression, ...]:
        """What has to be measured for it."""
        return (*(() if self.condition is None else (self.condition,)), *self.expressions)
