"""The glossary: every term that `explain` knows, each in a few words, to be opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.tui.pages.page import Column, Page, table
from llmdbg.frontends.tui.widgets.rows import Row, row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.tui.state.screen_state import ScreenState

_COLUMNS = (Column("term", 24), Column("in a few words", 20, grows=True))


def _draw(_state: ScreenState, width: int) -> Sequence[Row]:
    # Imported here: the first frame must not wait for it.
    from llmdbg.explain.glossary import GLOSSARY

    heading, lines = table(_COLUMNS, [(each.name, each.first_sentence) for each in GLOSSARY], width)
    rows = (row(text, do=f"explain {each.name}", name=each.name) for each, text in zip(GLOSSARY, lines, strict=True))
    return [row((heading, "dim")), *rows]


PAGE = Page(
    "glossary",
    "G",
    _draw,
    "list the words that are explained: Enter opens one, Esc comes back",
    {"until": "explain"},
    command="glossary",
)
