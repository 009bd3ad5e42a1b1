"""What the engine thread tells the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from llmdbg.debugger.stop import TokenRow
    from llmdbg.frontends.tui.snapshot import Snapshot
    from llmdbg.models.spec import LoadProgress


class Loading(Message):
    """Loading has come this far."""

    def __init__(self, progress: LoadProgress) -> None:
        super().__init__()
        self.progress = progress


class Running(Message):
    """These tokens were chosen since the run went on."""

    def __init__(self, tokens: tuple[TokenRow, ...]) -> None:
        super().__init__()
        self.tokens = tokens


class Arrived(Message):
    """A command is done: where the session stands now, what was answered, and what went wrong."""

    def __init__(self, snapshot: Snapshot, answer: tuple[str, ...] = (), error: str = "", title: str = "") -> None:
        super().__init__()
        self.snapshot = snapshot
        self.answer = answer
        self.error = error
        self.title = title


class Failed(Message):
    """There is no session to show: loading failed."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class Left(Message):
    """The user's command was `quit`."""
