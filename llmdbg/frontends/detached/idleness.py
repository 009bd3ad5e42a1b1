"""The rule by which an engine ends that nobody looks at."""

from __future__ import annotations

import time

SECONDS_AN_HOUR = 3600


class Idleness:
    """Counts the time since the last screen has left, while nothing runs."""

    def __init__(self, hours: float) -> None:
        self._seconds = hours * SECONDS_AN_HOUR
        self._since: float | None = None

    def note(self, *, attended: bool, working: bool) -> None:
        """Say how things stand: time counts only while no screen is attached and nothing runs."""
        if attended or working:
            self._since = None
        elif self._since is None:
            self._since = time.monotonic()

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the engine is to end; None while that is not counted."""
        return None if self._since is None else max(0.0, self._since + self._seconds - time.monotonic())
