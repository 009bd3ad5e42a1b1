"""Where the debuggee stands: its newest stage event, and how to get the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.engine.debuggee import Capability
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Generator

    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.stage_event import StageEvent


class EventCursor:
    """Steps through the stage events of a debuggee, one run at a time.

    `failed` says how a run ended that cannot go on, such as "the forward failed"; empty otherwise. `runs` counts them.
    """

    event: StageEvent
    """The newest event, with its live tensors; valid until the next."""

    def __init__(self, debuggee: Debuggee) -> None:
        self._debuggee = debuggee
        self._events: Generator[StageEvent, None, None] | None = None
        self.failed = ""
        self.runs = 0

    def begin(self, token: int = 0) -> None:
        """Close the active run, and prepare one from `token`'s forward. It starts at `advance`."""
        self.close()
        self.failed = ""
        self.runs += 1
        self._events = self._debuggee.events(token)

    def advance(self) -> StageEvent:
        """Run to the next suspension. Raises LlmdbgError if the debuggee fails, CommandError if it has ended."""
        assert self._events is not None
        try:
            self.event = next(self._events)
        except StopIteration:
            self.failed = "the run has ended"
            raise CommandError(f"the run ended before reaching that place{self.ways_back()}") from None
        except KeyboardInterrupt:
            self.failed = "the run was interrupted in the middle of a forward"
            raise
        except BaseException:
            # Whatever it was, the forward has been unwound and cannot go on.
            self.failed = "the forward failed"
            raise
        return self.event

    def close(self) -> None:
        """End the active run, if any: the debuggee is restored to what it was before."""
        if self._events is not None:
            self._events.close()

    def refuse_if_failed(self) -> None:
        """Raise CommandError if the forward has failed."""
        if self.failed:
            raise CommandError(f"{self.failed}{self.ways_back()}")

    def ways_back(self) -> str:
        """What a message adds after saying that the run cannot go on; empty for a debuggee that cannot go back."""
        goes_back = Capability.GO_BACK in self._debuggee.capabilities
        return ": go back with `reverse-step`, or `run` it again" if goes_back else ""
