"""An engine in the thread that asks for it: a program's main code belongs in Python's main thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from llmdbg.frontends.tui.worker.engine_thread import EngineThread
from llmdbg.frontends.tui.worker.messages import Left

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.message import Message

    from llmdbg.frontends.launch_request import LaunchRequest


class EngineHere(EngineThread):
    """An `EngineThread` that runs in whichever thread calls `serve`."""

    def __init__(self, request: LaunchRequest, post: Callable[[Message], object]) -> None:
        super().__init__(request, post)
        self._tell = post
        self._may_begin, self._done = threading.Event(), threading.Event()
        self._is_left = False

    def start(self) -> None:
        """Let `serve` begin."""
        self._may_begin.set()

    def serve(self) -> None:
        """Load and serve, between `start` and `leave`. Raises what the debuggee's signal handlers do."""
        self._may_begin.wait()
        try:
            if not self._is_left:
                self.run()
        except BaseException:
            self._tell(Left())
            raise
        finally:
            self._done.set()

    def leave(self, seconds: float) -> bool:
        """Ask `serve` to return. Returns whether it did within `seconds`."""
        self._is_left = True
        self._lines.put(None)
        self.interrupt()
        self._may_begin.set()
        return self._done.wait(seconds)
