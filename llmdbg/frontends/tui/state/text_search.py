"""Finding lines of a pane that shows a text, and marking the matches in them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from llmdbg.frontends.tui.widgets.rows import LazyRows, Row, Span


@dataclass(frozen=True, slots=True)
class TextSearch:
    """What is searched for in which pane. Case matters only if the query has a capital."""

    pane: str = ""
    """The pane's name; empty if there is no search."""
    query: str = ""
    """The text to find."""
    line: int | None = None
    """The line of the match that the user went to, from 0; None before that."""

    def matches(self, rows: Sequence[Row]) -> list[int]:
        """The lines that match, from 0, top to bottom."""
        wanted = self._pattern()
        return [] if wanted is None else [y for y, each in enumerate(rows) if wanted.search(each.text)]

    def following(self, rows: Sequence[Row]) -> int | None:
        """The first matching line below the current one, or from the top again; None without matches."""
        found = self.matches(rows)
        if not found:
            return None
        return found[bisect_right(found, -1 if self.line is None else self.line) % len(found)]

    def marked(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows with every match marked, made only when they are needed."""
        wanted = self._pattern()
        if wanted is None:
            return rows
        about = rows.about if isinstance(rows, LazyRows) else None
        return LazyRows(len(rows), lambda y: _marked(rows[y], wanted, here=y == self.line), about)

    def _pattern(self) -> re.Pattern[str] | None:
        if not self.query:
            return None
        return re.compile(re.escape(self.query), re.IGNORECASE if self.query == self.query.lower() else 0)


def _marked(line: Row, wanted: re.Pattern[str], *, here: bool) -> Row:
    inside = {at for match in wanted.finditer(line.text) for at in range(*match.span())}
    if not inside:
        return line
    spans: list[Span] = []
    at = 0
    for span in line.spans:
        begin = 0
        for end in range(1, len(span.text) + 1):
            if end == len(span.text) or (at + end in inside) != (at + begin in inside):
                style = "match" if at + begin in inside else span.style
                spans.append(Span(span.text[begin:end], style, span.do))
                begin = end
        at += len(span.text)
    return Row(tuple(spans), "selected" if here else line.fill, line.do)
