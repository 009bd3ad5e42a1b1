"""The source of a module's forward as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.sanitize import sanitize

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.source import SourceCode


def source_lines(value: SourceCode) -> list[str]:
    """The file and line where it is defined, and each line with its number."""
    if not value.name:
        return ["no module runs this stage"]
    if not value.lines:
        return [f"{sanitize(value.name)} has no Python source"]
    numbered = enumerate(value.lines, value.first_line)
    return [
        f"{sanitize(value.name)}  {sanitize(value.file)}:{value.first_line}",
        *(f"{number:5} {sanitize(line.expandtabs(4))}".rstrip() for number, line in numbered),
    ]
