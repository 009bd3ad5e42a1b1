"""The commands so far with their answers, and the output and logs of libraries, which reach the screen only here."""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from llmdbg.formatting import counted
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.state.command_log import Exchange
from llmdbg.frontends.tui.widgets.rows import Row, row, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.log import LogLine
    from llmdbg.frontends.tui.state.screen_state import ScreenState

_MOST_SHOWN = 500
_CACHED = 2_048
_NOTHING = "no command has been run, and nothing has been written or logged"


def _draw(state: ScreenState, width: int, _height: int) -> Sequence[Row]:
    lines = () if state.book is None else (*state.book.lines()[-_MOST_SHOWN:], *state.book.unfinished())
    entries: list[LogLine | Exchange] = sorted((*lines, *state.commands.exchanges()), key=lambda entry: entry.when)
    if not entries:
        return [row((line, "dim")) for line in wrapped(_NOTHING, width)]
    rows = [part for entry in reversed(entries) for part in _entry(entry, width)]
    earlier = 0 if state.book is None else len(state.book.lines()) - _MOST_SHOWN
    if earlier > 0:
        rows += [row((line, "dim")) for line in wrapped(f"+{counted(earlier, 'earlier line')} of libraries", width)]
    return rows


# While a run logs, every look at the log draws all of it again; only what is new is laid out.
@lru_cache(_CACHED)
def _entry(entry: LogLine | Exchange, width: int) -> tuple[Row, ...]:
    at = time.strftime("%H:%M:%S", time.localtime(entry.when))
    if isinstance(entry, Exchange):
        return _exchange(entry, f"{at} ", width)
    style = "bad" if entry.level >= logging.ERROR else "warn" if entry.level >= logging.WARNING else ""
    return _indented(f"{at} {sanitize(entry.source)} ", entry.text, style, width)


def _exchange(entry: Exchange, head: str, width: int) -> tuple[Row, ...]:
    """The command, and its answer below it in the order in which it would be printed."""
    command = _indented(head, f":{entry.command}", "strong", width) if entry.command else ()
    style = "bad" if entry.failed else ""
    indent = " " * len(head) if entry.command else head
    answer = (part for line in entry.answer for part in _indented(indent, line, style, width))
    return (*command, *answer)


def _indented(head: str, text: str, style: str, width: int) -> tuple[Row, ...]:
    first, *others = wrapped(sanitize(text), max(10, width - len(head)))
    return (row((head, "dim"), (first, style)), *(row(" " * len(head), (other, style)) for other in others))


PANE = Pane(
    "log",
    "0",
    PaneSlot.TAB,
    _draw,
    is_text=True,
    about="your commands and their answers, and what libraries wrote and logged, the newest first",
)
