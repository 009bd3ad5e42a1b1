"""The answer as text, over the whole width."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.widgets.rows import Row, row, wrapped

if TYPE_CHECKING:
    from llmdbg.frontends.tui.worker.snapshot import Snapshot


def answer_rows(shown: Snapshot, more: str, width: int) -> list[Row]:
    """The text generated so far, and `more` that came since."""
    text = shown.answer + more
    if not text:
        return [row((line, "dim")) for line in wrapped("nothing has been generated yet", width)]
    return text_rows(text, width)


def text_rows(text: str, width: int) -> list[Row]:
    """Text in lines of at most `width` cells; nothing in it is obeyed."""
    return [row(line) for each in text.split("\n") for line in wrapped(sanitize(each), max(2, width))]
