"""The source of a function as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.formatting import counted
from llmdbg.frontends.sanitize import sanitize

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.source import SourceCode

_LONG, _AROUND = 80, 25
"""Of a function of more lines than this, so many are shown on either side of the line that a frame is at."""


def source_lines(value: SourceCode) -> list[str]:
    """The file and line where it is defined, and each line with its number; the current one is marked.

    Of a long function in which a frame is, only the lines around that one.
    """
    if not value.name:
        return ["nothing runs this stage"]
    note = [sanitize(value.note)] if value.note else []
    if not value.lines:
        return [*note, f"{sanitize(value.name)} has no Python source"]
    address = f"  {sanitize(value.address)}" if value.address else ""
    start, end = 0, len(value.lines)
    if value.current and end > _LONG:
        at = value.current - value.first_line
        start, end = max(0, at - _AROUND), min(end, at + _AROUND + 1)
    return [
        *note,
        f"{sanitize(value.name)}{address}  {sanitize(value.file)}:{value.current or value.first_line}",
        *_left_out(start),
        *(
            f"{'>' if number == value.current else ' '}{number:5} {sanitize(line.expandtabs(4))}".rstrip()
            for number, line in enumerate(value.lines[start:end], value.first_line + start)
        ),
        *_left_out(len(value.lines) - end),
    ]


def _left_out(lines: int) -> list[str]:
    return [f"   … {counted(lines, 'line')}"] if lines else []
