"""The commands so far with their answers, and the output and logs of libraries, which reach the screen only here."""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from llmdbg.formatting import counted
from llmdbg.frontends.log import LogLine
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.state.command_log import Exchange
from llmdbg.frontends.tui.widgets.rows import Row, row, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.tui.state.screen_state import ScreenState

_MOST_SHOWN = 500
_CACHED = 2_048
_TRACEBACK, _LONGEST_TRACEBACK = "Traceback (most recent call last)", 200
_NOTHING = "no command has been run, and nothing has been written or logged"

_Entry = tuple[LogLine, ...] | tuple[Exchange]
"""Lines that belong together, or one command and its answer."""


def _draw(state: ScreenState, width: int, _height: int) -> Sequence[Row]:
    lines = () if state.book is None else (*state.book.lines()[-_MOST_SHOWN:], *state.book.unfinished())
    commands = [(each,) for each in state.commands.exchanges()]
    entries: list[_Entry] = sorted((*_together(lines), *commands), key=lambda entry: entry[0].when)
    if not entries:
        return [row((line, "dim")) for line in wrapped(_NOTHING, width)]
    rows = [part for entry in reversed(entries) for part in _entry(entry, width)]
    earlier = 0 if state.book is None else len(state.book.lines()) - _MOST_SHOWN
    if earlier > 0:
        rows += [row((line, "dim")) for line in wrapped(f"+{counted(earlier, 'earlier line')} of libraries", width)]
    return rows


def _together(lines: Sequence[LogLine]) -> list[tuple[LogLine, ...]]:
    """The lines in entries: what was written or logged at once, and a traceback that was printed line by line."""
    entries: list[list[LogLine]] = []
    for line in lines:
        before = entries[-1] if entries else None
        if (
            before is not None
            and before[-1].source == line.source
            and (before[-1].when == line.when or (_is_open_traceback(before) and len(before) < _LONGEST_TRACEBACK))
        ):
            before.append(line)
        else:
            entries.append([line])
    return list(map(tuple, entries))


def _is_open_traceback(entry: Sequence[LogLine]) -> bool:
    """Whether the line that names the exception, the first that is not indented, is still to come."""
    begins = next((at for at, line in enumerate(entry) if line.text.startswith(_TRACEBACK)), None)
    return begins is not None and all(line.text.startswith(" ") for line in entry[begins + 1 :])


# While a run logs, every look at the log draws all of it again; only what is new is laid out.
@lru_cache(_CACHED)
def _entry(entry: _Entry, width: int) -> tuple[Row, ...]:
    first = entry[0]
    at = time.strftime("%H:%M:%S", time.localtime(first.when))
    if isinstance(first, Exchange):
        return _exchange(first, f"{at} ", width)
    style = "bad" if first.level >= logging.ERROR else "warn" if first.level >= logging.WARNING else ""
    head = f"{at} {sanitize(first.source)} "
    heads = (head, *(" " * len(head) for _ in entry[1:]))
    texts = (each.text for each in entry if isinstance(each, LogLine))
    return tuple(part for each, text in zip(heads, texts, strict=True) for part in _indented(each, text, style, width))


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
