"""Rerunning tokens for a question, without a trace in the kept timeline."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from llmdbg.errors import CommandError
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.engine.stage_event import EventHandler, StageEvent


@contextmanager
def forward_of(
    inspector: Inspector, token: int, watched: Collection[str], handler: EventHandler
) -> Iterator[Generator[StageEvent, None, None]]:
    """The events of a run from `token`'s forward on, with this branch's edits and only `watched` armed.

    Only within `Replay.elsewhere()`. The token is not added to the timeline if the block is left before its `sample`
    is passed.
    """
    inspector.debuggee.stops.edit(
        inspector.run.edits.addresses(), inspector.run.edits.editor(len(inspector.prompt.ids))
    )
    inspector.debuggee.stops.arm(watched, handler)
    stages = inspector.debuggee.events(token)
    try:
        yield stages
    finally:
        stages.close()


@dataclass(slots=True)
class TimedRun:
    """One timed run."""

    token: int = 0
    """The generated token it ended with, counted from 0."""
    ms: float = 0.0
    """That token's whole time, in milliseconds."""
    stages: int = 0
    """How many stages were watched, repeats included."""
    laps: dict[str, list[float]] = field(default_factory=dict)
    """Milliseconds of each time a watched stage ran, by address; without those that could not be timed."""


def run_to_choice(inspector: Inspector, token: int, watched: Collection[str], *, until: int | None = None) -> TimedRun:
    """Run from `token`'s forward to the `sample` of token `until` (None: the same token), timing the watched stages.

    Only within `Replay.elsewhere()`. Uses a temporary timeline without edits. With nothing watched, no module carries a
    hook and nothing is suspended before the end. Raises CommandError if interrupted.
    """
    found, pending = TimedRun(), list[tuple[str, Callable[[], float | None]]]()
    clock = inspector.debuggee.clock

    def note(event: StageEvent) -> bool:
        pending.append((event.stage.address, clock.lap(event.stage.address)))
        return False

    with (
        _thrown_away(inspector, token, token if until is None else until),
        forward_of(inspector, token, watched, note) as run,
    ):
        for event in run:
            if event.stage.kind is StageKind.SAMPLE:
                found.token, found.ms = event.token, clock.token_milliseconds()
                break
            if event.stage.kind is not StageKind.TOKENIZE:
                raise CommandError("interrupted before the measurement was complete")
    found.stages = len(pending)
    for address, lap in pending:
        if (milliseconds := lap()) is not None:
            found.laps.setdefault(address, []).append(milliseconds)
    return found


@contextmanager
def _thrown_away(inspector: Inspector, token: int, last: int) -> Iterator[None]:
    """A temporary timeline that ends by itself with token `last`, so that nothing has to be armed to stop there."""
    with inspector.branching.without_edits():
        timeline = inspector.debuggee.timeline
        timeline.settings = ((0, replace(timeline.settings_at(token), max_new_tokens=last + 1)),)
        yield
