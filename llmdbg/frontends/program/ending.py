"""Ends a program where it stands, with its threads: one that waits for something must not keep the process alive."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmdbg.frontends.output import complain, flush

if TYPE_CHECKING:
    from llmdbg.engine.program.launched import LaunchedProgram

SECONDS_TO_END = 2.0
_SECONDS_BETWEEN_LOOKS = 0.05
_WAITS = ("threading", "queue", "concurrent.futures.thread", "concurrent.futures._base")
"""Modules whose functions wait for other threads."""


@contextmanager
def ending(program: LaunchedProgram, before: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Close the program inside. If it has not ended by itself, its threads end too, or else the process does, with 0.

    The code that the program runs on its way out (`finally`) may take its time, unless it waits for another thread.
    `before` is called before the process ends in that way.
    """
    if program.exit is not None:
        yield
        return

    def end() -> None:
        before()
        complain(f"{program.name} was ended with its threads, one of which waits for something")
        flush()
        os._exit(0)

    closed = threading.Event()
    watch = threading.Thread(target=_watch, args=(threading.get_ident(), closed, end), name="llmdbg-end", daemon=True)
    watch.start()
    try:
        yield
    finally:
        closed.set()
    give_up = time.monotonic() + SECONDS_TO_END
    while program.threads_at_work():
        if time.monotonic() > give_up:
            end()
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _watch(thread: int, closed: threading.Event, end: Callable[[], None]) -> None:
    since = time.monotonic()
    while not closed.wait(_SECONDS_BETWEEN_LOOKS):
        frame = sys._current_frames().get(thread)
        if frame is None or frame.f_globals.get("__name__") not in _WAITS:
            since = time.monotonic()
        elif time.monotonic() - since > SECONDS_TO_END:
            end()
