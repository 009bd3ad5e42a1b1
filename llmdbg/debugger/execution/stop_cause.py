"""Why a run stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.debugger.breakpoints.breakpoints import BreakpointKind
from llmdbg.debugger.breakpoints.triggers import Nonfinite
from llmdbg.debugger.execution.stop import Reason

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.breakpoints import Hit
    from llmdbg.probes.quantities import QuantityValue


@dataclass(frozen=True, slots=True)
class StopCause:
    """What brought a run to a stop."""

    reason: Reason
    """The kind of cause."""
    breakpoint: int | None = None
    """The number of the breakpoint that was hit; None if none was."""
    values: tuple[tuple[str, QuantityValue], ...] = ()
    """Name and value of what a tracepoint logged, or a watch's `before` and `now`."""
    why: str = ""
    """What held, with its values: `entropy 0.83 < 1`; empty if nothing had to."""
    not_finite: bool = False
    """Whether the breakpoint waits for values that are not finite."""


STEPPED = StopCause(Reason.STEP)
ENDED = StopCause(Reason.END)


def raised(exception: str) -> StopCause:
    """The cause of a stop at an exception that is on its way out of a forward."""
    return StopCause(Reason.EXCEPTION, why=exception)


def caused_by(hit: Hit) -> StopCause:
    """The cause of a stop at a breakpoint, a watch or a tracepoint."""
    reasons = {BreakpointKind.WATCH: Reason.WATCH, BreakpointKind.TRACE: Reason.TRACEPOINT}
    reason = reasons.get(hit.breakpoint.kind, Reason.BREAKPOINT)
    not_finite = isinstance(hit.breakpoint.trigger, Nonfinite)
    return StopCause(reason, hit.breakpoint.number, hit.values, hit.why, not_finite)
