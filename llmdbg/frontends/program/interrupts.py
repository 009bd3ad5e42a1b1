"""Ctrl-C while a program runs: the first stops it at its next stage, as in gdb; the second is the program's own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmdbg.frontends.output import complain

if TYPE_CHECKING:
    from types import FrameType

    from llmdbg.debugger.debugger import Debugger


@contextmanager
def stopping_gently(debugger: Debugger) -> Iterator[None]:
    """Let Ctrl-C stop the program at its next stage. Where it has a handler of its own, that is called instead."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            asked = False
            signal.default_int_handler(number, frame)
        asked = True
        complain("stopping at the next stage; Ctrl-C again interrupts the program itself")
        debugger.interrupt()

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is stop:
            signal.signal(signal.SIGINT, signal.default_int_handler)
