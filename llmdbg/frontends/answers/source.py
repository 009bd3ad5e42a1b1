"""The source of a function as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.sanitize import sanitize

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.source import SourceCode


def source_lines(value: SourceCode) -> list[str]:
    """The file and line where it is defined, and each line with its number; the current one is marked."""
    if not value.name:
        return ["nothing runs this stage"]
    note = [sanitize(value.note)] if value.note else []
    if not value.lines:
        return [*note, f"{sanitize(value.name)} has no Python source"]
    address = f"  {sanitize(value.address)}" if value.address else ""
    return [
        *note,
        f"{sanitize(value.name)}{address}  {sanitize(value.file)}:{value.current or value.first_line}",
        *(
            f"{'>' if number == value.current else ' '}{number:5} {sanitize(line.expandtabs(4))}".rstrip()
            for number, line in enumerate(value.lines, value.first_line)
        ),
    ]
