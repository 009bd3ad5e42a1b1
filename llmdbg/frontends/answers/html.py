"""Text and tables as a fragment of HTML for a notebook: small, with no style sheet, script or picture beside it.

It shows the same sanitized text as a terminal, so model text is data here too: symbols stand for control characters,
and nothing is parsed as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TypeVar

from llmdbg.frontends.answers.tables import Block, Column, Table, shown_cells
from llmdbg.frontends.sanitize import sanitize

_FIRST, _LAST = 60, 20
"""How many rows of a table, or lines of a text, are shown at the beginning and at the end of a longer one."""

_CLASSES = "llmdbg tex2jax_ignore mathjax_ignore"
"""Without the last two, a notebook would typeset what stands between dollar signs."""

T = TypeVar("T")


def as_html(blocks: Iterable[Block]) -> str:
    """Text and tables as one `<div>`; a long table or text is shown without its middle."""
    parts: list[str] = []
    text: list[str] = []
    for block in blocks:
        if isinstance(block, str):
            text.append(block)
            continue
        parts += [*_text(text), _table(block)]
        text = []
    return f'<div class="{_CLASSES}">{"".join([*parts, *_text(text)])}</div>'


def _text(lines: list[str]) -> list[str]:
    """Lines as one element; nothing without lines."""
    shown = [escape(sanitize(line)) for line in _ends(lines)]
    if left := len(lines) - len(shown):
        shown.insert(_FIRST, f"… {left:,} more lines …")
    text = "\n".join(shown)
    return [f'<pre style="margin:0;white-space:pre-wrap">{text}</pre>'] if shown else []


def _table(table: Table) -> str:
    titles = [sanitize(column.title) for column in table.columns]
    rows = [_row(cells, table.columns, "td") for cells in shown_cells(table, _ends(table.rows))]
    if left := len(table.rows) - len(rows):
        rows.insert(_FIRST, f'<tr><td colspan="{len(table.columns)}">… {left:,} more rows …</td></tr>')
    title = f"<caption>{escape(sanitize(table.title))}</caption>" if table.title else ""
    return f"<table>{title}<thead>{_row(titles, table.columns, 'th')}</thead><tbody>{''.join(rows)}</tbody></table>"


def _row(cells: Sequence[str], columns: Sequence[Column], tag: str) -> str:
    styled = (
        f'<{tag} style="text-align:{"left" if column.left else "right"};white-space:pre">{escape(text)}</{tag}>'
        for text, column in zip(cells, columns, strict=True)
    )
    return f"<tr>{''.join(styled)}</tr>"


def _ends(rows: Sequence[T]) -> Sequence[T]:
    """All rows, or the first and the last if there are too many."""
    return rows if len(rows) <= _FIRST + _LAST else [*rows[:_FIRST], *rows[-_LAST:]]
