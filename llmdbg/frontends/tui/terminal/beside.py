"""The screen in a thread of its own, beside a debuggee that has Python's main thread.

Textual takes signals: for a new size, and for being stopped and going on. Python calls handlers in the main thread
alone, and lets only that set them. So they are set there once, and hand each signal over to Textual's thread.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llmdbg.frontends.tui._compat import signals_of_the_driver

if TYPE_CHECKING:
    from types import FrameType

_OF_THE_SCREEN = (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)


class _Signals:
    """What Textual's driver knows as the module `signal`."""

    def __init__(self) -> None:
        self._handlers: dict[int, tuple[asyncio.AbstractEventLoop, Callable[..., object]]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(signal, name)

    def signal(self, number: int, handler: Any) -> None:
        """Take a signal in the calling thread; the others keep what they do."""
        if callable(handler) and number in _OF_THE_SCREEN:
            self._handlers[number] = asyncio.get_running_loop(), handler
        else:
            self._handlers.pop(number, None)

    def came(self, number: int, _frame: FrameType | None) -> None:
        """Hand a signal over."""
        found = self._handlers.get(number)
        if found is not None:
            found[0].call_soon_threadsafe(found[1], number, None)


@contextmanager
def signals_beside() -> Iterator[None]:
    """Let Textual's driver run in another thread inside. Entered in the main thread."""
    signals = _Signals()
    before = {number: signal.signal(number, signals.came) for number in _OF_THE_SCREEN}
    try:
        with signals_of_the_driver(signals):
            yield
    finally:
        for number, was in before.items():
            if signal.getsignal(number) == signals.came:
                signal.signal(number, signal.SIG_DFL if was is None else was)


@contextmanager
def exiting_at_once(before: Callable[[int], object]) -> Iterator[None]:
    """Call `before(code)` when this process leaves by `os._exit` inside. A child that it forks leaves as it would."""
    leave, process = os._exit, os.getpid()

    def leave_at_once(status: int) -> Any:
        if os.getpid() == process:
            before(status)
        leave(status)

    os._exit = leave_at_once
    try:
        yield
    finally:
        if os._exit is leave_at_once:
            os._exit = leave


def run_beside(screen: Callable[[], Any], serve: Callable[[], None]) -> Any:
    """Run the screen in another thread, and `serve` in this one, to the end of both. Returns what `screen` does."""
    returned: list[Any] = []
    thread = threading.Thread(target=lambda: returned.append(screen()), name="llmdbg-screen", daemon=True)
    thread.start()
    try:
        serve()
    finally:
        thread.join()
    return returned[0] if returned else None
