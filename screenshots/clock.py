"""A clock for pictures: with the real one, no two would be the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace
from unittest.mock import patch

_OF_A_STAGE, _OF_LOADING = 0.0004, 0.5  # seconds


@contextmanager
def ticking() -> Iterator[None]:
    """Let 0.4 ms pass whenever the engine looks at its clock, half a second when the loader does, none in between."""
    with (
        patch("llmdbg.engine.clock.perf_counter", _clock(_OF_A_STAGE)),
        patch("llmdbg.models.loading.time", SimpleNamespace(perf_counter=_clock(_OF_LOADING))),
    ):
        yield


def _clock(seconds: float) -> Callable[[], float]:
    ticks = count()
    return lambda: next(ticks) * seconds
