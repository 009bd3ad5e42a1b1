"""What `llmdbg diff` writes: its progress, the comparison on a terminal, and what to do next."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from llmdbg.frontends import output
from llmdbg.frontends.cell_text import wrapped

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, TaskID

    from llmdbg.debugger.comparison.outcome import Comparison

_LEAST_WIDTH = 40
_NO_STAGES = ("tokenize", "sample")


class DiffProgress:
    """What is being done: on a terminal one line that is rewritten, elsewhere a line each; nothing if quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self.doing = "starting"
        self._quiet = quiet
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> DiffProgress:
        """Show it."""
        console = output.bar_console()
        if console.is_terminal and not self._quiet:
            from rich.progress import Progress, TextColumn, TimeElapsedColumn
            from rich.table import Column

            text = TextColumn(
                "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")
            )
            self._bar = Progress(text, TimeElapsedColumn(), console=console, transient=True)
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        """Remove it."""
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, doing: str) -> None:
        """Say what is being done, in a few words."""
        from llmdbg.frontends.sanitize import sanitize

        self.doing = doing
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=sanitize(f"llmdbg diff: {doing} …"))
        elif not self._quiet:
            output.narrate(f"llmdbg diff: {doing}")


def write_comparison(found: Comparison) -> None:
    """Write a comparison as text: on a terminal no line is wider than it."""
    from llmdbg.frontends.answers.writers import lines

    written: Iterable[str] = lines(found)
    if output.stdout_is_a_terminal():
        width = max(_LEAST_WIDTH, shutil.get_terminal_size().columns - 1)
        written = (part for line in written for part in _folded(line, width))
    output.write_lines(written)


def _folded(line: str, width: int) -> list[str]:
    """A line in lines of at most `width` cells; those after the first are indented as it is."""
    indent = " " * (len(line) - len(line.lstrip()))
    first, *others = wrapped(line, width - len(indent))
    return [first, *(f"{indent}{each}" for each in others)]


def hint(found: Comparison, candidate: Sequence[str], *, html: bool) -> str | None:
    """What to do next, in a line; None if the runs are the same. `candidate` is the command line that runs it, empty if
    none does.
    """
    stage = next((each.address for each in found.findings if each.address not in _NO_STAGES), None)
    steps = []
    if stage is not None and candidate:
        steps.append(f"`{shlex.join(['llmdbg', *candidate, '-b', stage])}` stops there")
    if not html and found.stages and not all(each.equal for each in found.stages):
        steps.append("--html FILE writes a report with every stage")
    return f"next: {'; '.join(steps)}" if steps else None
