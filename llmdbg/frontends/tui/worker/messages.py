"""What the engine thread and the terminal tell the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from llmdbg.frontends.tui.worker.snapshot import RunProgress, Snapshot
    from llmdbg.models.spec import LoadProgress


class Loading(Message):
    """Loading has come this far."""

    def __init__(self, progress: LoadProgress) -> None:
        super().__init__()
        self.progress = progress


class Running(Message):
    """The run has come this far since it went on."""

    def __init__(self, progress: RunProgress) -> None:
        super().__init__()
        self.progress = progress


class Arrived(Message):
    """A command is done: where the session stands now, what was answered, and what went wrong.

    `looked_again`: nothing was done, only panes that came into view were asked for.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        answer: tuple[str, ...] = (),
        error: str = "",
        title: str = "",
        *,
        looked_again: bool = False,
    ) -> None:
        super().__init__()
        self.snapshot = snapshot
        self.answer = answer
        self.error = error
        self.title = title
        self.looked_again = looked_again


class Failed(Message):
    """There is no session to show: loading failed."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class Left(Message):
    """The user's command was `quit`."""
