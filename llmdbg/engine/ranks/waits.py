"""In which collective this rank waits for the others, as its own stack tells: also in one that the model calls."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

    from llmdbg.engine.ranks.world import World

_COLLECTIVES = ("torch/distributed/distributed_c10d.py", "torch/distributed/_functional_collectives.py")
_OURS = "llmdbg/engine/ranks/world.py"
_DEEP = 8
"""Within how many of the innermost frames a collective is looked for."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A rank waits for the others."""

    number: int
    """How many exchanges of the debugger it has begun."""
    what: str
    """Which exchange of the debugger or collective of the model it waits in."""
    is_large: bool
    """Whether whole values go through it, so that it may take long."""
    after: str
    """The stage that it has reached."""

    def differs(self, other: Wait) -> bool:
        """Whether the two can never end together."""
        return (self.number, self.what) != (other.number, other.what)


class WaitLookout:
    """Looks, from another thread, in which collective the thread that uses a world waits, and for how long."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._wait: Wait | None = None
        self._since = 0.0

    def look(self) -> tuple[Wait | None, float]:
        """The wait, if it was the same in each look for some seconds, and for how many."""
        wait, now = self._now(), time.monotonic()
        if wait != self._wait:
            self._wait, self._since = wait, now
        return wait, now - self._since

    def _now(self) -> Wait | None:
        world = self._world
        frame = sys._current_frames().get(world.thread or threading.main_thread().ident or 0)
        found = _collective_of(frame)
        if found is None:
            return None
        name, is_ours = found
        what = f"the debugger's {name}" if is_ours else f"the model's {name}"
        return Wait(world.exchanges, what, is_ours and name in ("shards", "same"), world.reached)


def _collective_of(frame: FrameType | None) -> tuple[str, bool] | None:
    """The function of the collective that a stack is in, and whether it is one of `World`; None if it is in none."""
    name = None
    for _ in range(_DEEP):
        if frame is None:
            break
        file = frame.f_code.co_filename.replace("\\", "/")
        if file.endswith(_OURS) and name is not None:
            return frame.f_code.co_name, True
        if file.endswith(_COLLECTIVES):
            name = frame.f_code.co_name
        frame = frame.f_back
    return None if name is None else (name, False)
