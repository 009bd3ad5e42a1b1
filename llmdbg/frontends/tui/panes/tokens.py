"""The sequence: as running text with every token set off from its neighbours, optionally with ids; or as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.formatting import percent
from llmdbg.frontends.sanitize import piece_text, quoted
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.state.token_flow import SURPRISE_MARKS, TokenMode, surprise
from llmdbg.frontends.tui.widgets.rows import LazyRows, Row, fitted, row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.tui.state.screen_state import ScreenState

_ROOM_FOR_TEXTS = 56


def token_table(state: ScreenState, width: int, count: int | None = None) -> LazyRows:
    """A row for each token: position, id, how the vocabulary spells it, its text, and how likely it was."""
    tokens, focus, matches = state.tokens(), state.focus(), state.token_matches()
    probabilities, generated = state.probabilities(), state.snapshot.prompt_length
    count = len(tokens) if count is None else count
    texts = width >= _ROOM_FOR_TEXTS
    piece_width = (width - 34) // 2 if texts else max(6, width - 24)
    text_width = width - piece_width - 25 if texts else 0

    def line(y: int) -> Row:
        if y == 0:
            text = f" {fitted('text', text_width)}" if texts else ""
            return row((f"{'pos':>5} {'id':>7}  {fitted('piece', piece_width)}{text}  chance", "dim"))
        token = tokens[y - 1]
        at = token.index - generated
        level = surprise(prob := probabilities[at] if 0 <= at < len(probabilities) else None)
        chance = "" if prob is None else f"{percent(prob, 2):>7}{SURPRISE_MARKS[level]}"
        style = "token-focus" if token.index == focus else "match" if token.index in matches else ""
        special = "token-special" if token.special and not style else style
        return row(
            (f"{token.index:5}", style or "dim"),
            (f" {token.id:7}  ", style),
            (fitted(piece_text(token.piece, token.text), piece_width), special),
            (f" {fitted(quoted(token.text), text_width)}" if texts else "", style or "dim"),
            (f" {chance}", f"surprise-{level}" if level else "dim"),
            do=f"focus {token.index}",
        )

    return LazyRows(count + 1, line)


def _draw(state: ScreenState, width: int, _height: int) -> Sequence[Row]:
    if state.token_mode is TokenMode.TABLE:
        return token_table(state, width)
    state.flow.lay_out(state.tokens(), state.probabilities(), width, ids=state.token_mode is TokenMode.IDS)
    return state.flow.rows(state.focus(), state.token_matches())


def _line(state: ScreenState) -> int | None:
    """The line to keep in view: that of the focus, or of the newest token during a run or if the focus follows it."""
    focus = state.focus()
    position = len(state.tokens()) - 1 if focus is None or state.snapshot.follows else focus
    return position + 1 if state.token_mode is TokenMode.TABLE else state.flow.line_of(position)


PANE = Pane("tokens", "1", PaneSlot.TOKENS, _draw, line=_line, about="prompt and answer, token by token")
