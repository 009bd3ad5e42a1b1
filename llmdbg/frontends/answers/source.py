"""The source of a forward, as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmdbg.frontends.sanitize import sanitize

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.source import SourceCode


def source_lines(value: SourceCode) -> list[str]:
    """Where it is written, and each line with its number."""
    if not value.name:
        return ["no module runs this stage"]
    if not value.lines:
        return [f"{sanitize(value.name)} has no Python source"]
    numbered = enumerate(value.lines, value.first_line)
    return [
        f"{sanitize(value.name)}  {sanitize(value.file)}:{value.first_line}",
        *(f"{number:5} {sanitize(line.expandtabs(4))}".rstrip() for number, line in numbered),
    ]


WRITERS = {"SourceCode": source_lines}
TABLES: dict[str, Any] = {}
