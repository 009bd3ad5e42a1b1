"""The prompt in a Jupyter notebook: stops and answers are shown as tables, and as a terminal's text without HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmdbg.frontends.answers import answer_lines, stops
from llmdbg.frontends.answers.html import as_html
from llmdbg.frontends.answers.notebook import stop_blocks, stops_table
from llmdbg.frontends.answers.tables import Block, aligned
from llmdbg.frontends.answers.writers import notebook_blocks
from llmdbg.frontends.program import kernel

if TYPE_CHECKING:
    from llmdbg.debugger.commands import Answer
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.stop import Stop

_ROWS_AT_ONCE = 80
"""How many stops at tracepoints are gathered into one table: as many as it shows without leaving any out."""


class NotebookWriter:
    """Shows stops and answers below the cell that runs."""

    def __init__(self) -> None:
        self._traced: list[Stop] = []

    def tokens(self, debugger: Debugger) -> None:
        """Show the prompt's tokens in one line, and a line for each note."""
        self._text(stops.prompt_lines(debugger.run.tokens(), debugger.debuggee.prompt.notes))

    def stop(self, stop: Stop) -> None:
        """Show everything a stop holds."""
        _display([stops.stop_line(stop)], stop_blocks(stop))

    def traced(self, stop: Stop) -> None:
        """Show a stop at a tracepoint, later and in a table with those that come before and after it."""
        self._traced.append(stop)
        if len(self._traced) == _ROWS_AT_ONCE:
            self.done()

    def answer(self, _command: str, outcome: Answer) -> None:
        """Show what a command answered."""
        _display(answer_lines(outcome.data), notebook_blocks(outcome.data))

    def done(self) -> None:
        """Nothing more is logged for now: show what has been."""
        if self._traced:
            table = stops_table(self._traced)
            self._traced = []
            _display(aligned(table), [table])

    def _text(self, lines: Sequence[str]) -> None:
        _display(lines, lines)


def _display(lines: Sequence[str], blocks: Sequence[Block]) -> None:
    kernel.display("\n".join(lines), as_html(blocks))
