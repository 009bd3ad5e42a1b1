"""Running tokens again for a question that the kept timeline must not notice."""

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
    """The events of a run that begins with `token`'s forward, with the edits of this branch and nothing else armed.

    Only within `Replay.elsewhere()`. Leave it before `token`'s `sample` has been passed, and the token is not taken.
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
    """Run from `token`'s forward to where the token `until` is chosen (itself without one), timing some stages.

    Only within `Replay.elsewhere()`, in a timeline that is thrown away and has no edits. With nothing watched, no
    module carries a hook and nothing is suspended before the end. Raises CommandError when interrupted.
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
                raise CommandError("interrupted: nothing was measured to its end")
    found.stages = len(pending)
    for address, lap in pending:
        if (milliseconds := lap()) is not None:
            found.laps.setdefault(address, []).append(milliseconds)
    return found


@contextmanager
def _thrown_away(inspector: Inspector, token: int, last: int) -> Iterator[None]:
    """A timeline of its own that ends by itself with token `last`: nothing has to be armed to stop there."""
    with inspector.branching.without_edits():
        timeline = inspector.debuggee.timeline
        timeline.settings = ((0, replace(timeline.settings_at(token), max_new_tokens=last + 1)),)
        yield
