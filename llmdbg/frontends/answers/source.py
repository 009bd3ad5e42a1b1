"""The source of a forward, as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmdbg.frontends.visible import visible

if TYPE_CHECKING:
    from llmdbg.debugger.source import Source


def source_lines(value: Source) -> list[str]:
    """Where it is written, and each line with its number."""
    if not value.name:
        return ["no module runs this stage"]
    if not value.lines:
        return [f"{visible(value.name)} has no Python source"]
    numbered = enumerate(value.lines, value.first_line)
    return [
        f"{visible(value.name)}  {visible(value.file)}:{value.first_line}",
        *(f"{number:5} {visible(line.expandtabs(4))}".rstrip() for number, line in numbered),
    ]


WRITERS = {"Source": source_lines}
TABLES: dict[str, Any] = {}
