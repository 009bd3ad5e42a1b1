"""Where the debuggee stands: its newest stage event, and how to get the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.errors import CommandError, LlmdbgError

if TYPE_CHECKING:
    from collections.abc import Generator

    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.stage_event import StageEvent


class EventCursor:
    """Walks through the stage events of a debuggee; there is one run of it at a time.

    `event` is the newest one, with its live tensors; it is valid until the next. `failed` says that the forward has
    failed or ended early, so that the debuggee stands nowhere.
    """

    event: StageEvent

    def __init__(self, debuggee: Debuggee) -> None:
        self._debuggee = debuggee
        self._events: Generator[StageEvent, None, None] | None = None
        self.failed = False

    def begin(self, token: int = 0) -> None:
        """Close the run that is under way, and prepare one from `token`'s forward. It runs at `advance`."""
        self.close()
        self.failed = False
        self._events = self._debuggee.events(token)

    def advance(self) -> StageEvent:
        """Run to the next suspension. Raises LlmdbgError where the debuggee fails, CommandError where it has ended."""
        assert self._events is not None
        try:
            self.event = next(self._events)
        except LlmdbgError:
            self.failed = True
            raise
        except StopIteration:
            self.failed = True
            raise CommandError("the run ended before it came there: go back with `goto`, or `run` it again") from None
        return self.event

    def close(self) -> None:
        """End the run, if one is under way: the debuggee is as it was before it."""
        if self._events is not None:
            self._events.close()

    def refuse_if_failed(self) -> None:
        """Raise CommandError after a forward that failed."""
        if self.failed:
            raise CommandError("the forward failed: go back with `reverse-step`, or `run` it again")
