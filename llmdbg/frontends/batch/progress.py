"""The loading bar on stderr: the stage of loading and the bytes done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from llmdbg.frontends.output import bar_console, narrate
from llmdbg.frontends.sanitize import sanitize
from llmdbg.models.load_steps import LoadStep

if TYPE_CHECKING:
    from types import TracebackType

    from llmdbg.models.spec import LoadProgress


class LoadingBar:
    """One bar for each stage, removed when loading is over; if stderr is not a terminal, a line for each stage."""

    def __init__(self) -> None:
        console = bar_console()
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(binary_units=True))
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._is_terminal = console.is_terminal
        self._task: TaskID | None = None
        self._stage = ""

    def __enter__(self) -> LoadingBar:
        """Show the bar."""
        self._progress.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        """Remove the bar."""
        self._progress.stop()

    def update(self, progress: LoadProgress) -> None:
        """Show how far a stage has come."""
        if progress.stage != self._stage:
            self._stage = progress.stage
            if not self._is_terminal and (isinstance(progress.stage, LoadStep) or progress.total):
                narrate(f"{progress.stage} …")
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(sanitize(progress.stage), total=progress.total)
        assert self._task is not None
        self._progress.update(self._task, completed=progress.done, total=progress.total)
