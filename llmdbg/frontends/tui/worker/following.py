"""A rank without a screen: the same engine, which does whatever rank 0's is told to, and shows nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from llmdbg.errors import LlmdbgError, LoadError
from llmdbg.frontends.log import record, route_libraries
from llmdbg.frontends.tui.worker.engine_thread import EngineThread
from llmdbg.frontends.tui.worker.messages import Failed

if TYPE_CHECKING:
    from textual.message import Message

    from llmdbg.debugger.debugger import Debugger
    from llmdbg.frontends.launch_request import LaunchRequest


def follow(request: LaunchRequest) -> int:
    """Do in this thread what rank 0's screen asks for, until it is left. Returns the exit code.

    Raises LlmdbgError when loading failed, and where this rank no longer does what the others do.
    """
    assert request.ranks is not None
    request.ranks.begins(request.first_session(), is_saved=request.resumed is not None)
    route_libraries()
    failures: list[BaseException] = []

    def post(message: Message) -> None:
        if isinstance(message, Failed):
            failures.append(message.error)

    _Follower(replace(request, saves=False), post).run()
    for error in failures:
        if isinstance(error, LlmdbgError):
            raise error
        record(error)
        raise LoadError(f"{type(error).__name__}: {error}") from error
    return 0


class _Follower(EngineThread):
    """An engine whose orders all come from rank 0."""

    def _next_line(self, _debugger: Debugger) -> str | None:
        return None
