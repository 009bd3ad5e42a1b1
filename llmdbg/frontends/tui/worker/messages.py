"""The engine thread's messages to the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from llmdbg.frontends.tui.worker.loading_state import LoadingState
    from llmdbg.frontends.tui.worker.snapshot import RunProgress, Snapshot


class Loading(Message):
    """Loading has made progress."""

    def __init__(self, progress: LoadingState) -> None:
        super().__init__()
        self.progress = progress


class Running(Message):
    """The run has made progress."""

    def __init__(self, progress: RunProgress) -> None:
        super().__init__()
        self.progress = progress


class Arrived(Message):
    """A command is done: carries the new snapshot, the answer, and any error.

    `answer` is without what a pane in view shows anyway; `whole` is all of it, `answer` if None. `looked_again` is True
    if no command ran and only panes that came into view were answered.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        answer: tuple[str, ...] = (),
        error: str = "",
        title: str = "",
        *,
        whole: tuple[str, ...] | None = None,
        looked_again: bool = False,
    ) -> None:
        super().__init__()
        self.snapshot = snapshot
        self.answer = answer
        self.error = error
        self.title = title
        self.whole = answer if whole is None else whole
        self.looked_again = looked_again


class Looked(Message):
    """A stage that the user looks at, without being there, has been described; None with the reason if it cannot be."""

    def __init__(self, snapshot: Snapshot | None, error: str = "") -> None:
        super().__init__()
        self.snapshot = snapshot
        self.error = error


class AsksForLine(Message):
    """The program reads its stdin, and waits for a line."""


class Failed(Message):
    """Loading failed, so there is no session to show."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class Left(Message):
    """The user quit by command."""
