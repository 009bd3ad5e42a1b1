"""The sequence: as running text with every token set off from its neighbours, optionally with ids; or as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from llmdbg.formatting import percent
from llmdbg.frontends.sanitize import marked, piece_text, quoted
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.state.token_flow import SURPRISE_MARKS, TokenMode, surprise
from llmdbg.frontends.tui.widgets.rows import LazyRows, Row, fitted, row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.debugger.execution.stop import TokenRow
    from llmdbg.frontends.tui.state.screen_state import ScreenState
    from llmdbg.frontends.tui.worker.lane_texts import LaneText

_ROOM_FOR_TEXTS = 56


def token_table(state: ScreenState, width: int, count: int | None = None) -> LazyRows:
    """A row for each token: position, id, how the vocabulary spells it, its text, and how likely it was."""
    tokens, focus, matches = state.tokens(), state.focus(), state.token_matches()
    probabilities = state.probabilities()
    generated = len(tokens) - len(probabilities)
    count = len(tokens) if count is None else count
    piece_width, text_width = _widths(width)

    def line(y: int) -> Row:
        if y == 0:
            return _heading(piece_width, text_width, "  chance")
        token = tokens[y - 1]
        at = token.index - generated
        level = surprise(prob := probabilities[at] if 0 <= at < len(probabilities) else None)
        chance = "" if prob is None else f"{percent(prob, 2):>7}{SURPRISE_MARKS[level]}"
        style = "token-focus" if token.index == focus else "match" if token.index in matches else ""
        return row(
            *_cells(token, piece_width, text_width, style),
            (f" {chance}", f"surprise-{level}" if level else "dim"),
            do=f"focus {token.index}",
        )

    return LazyRows(count + 1, line)


def prompt_table(tokens: Sequence[TokenRow], width: int) -> list[Row]:
    """The same table before there is a run: of a prompt's tokens, which nobody has chosen."""
    piece_width, text_width = _widths(width)
    rows = [row(*_cells(token, piece_width, text_width, "")) for token in tokens]
    return [_heading(piece_width, text_width, ""), *rows]


def _widths(width: int) -> tuple[int, int]:
    """The widths of the columns `piece` and `text`; 0 for no room."""
    if width < _ROOM_FOR_TEXTS:
        return max(6, width - 24), 0
    piece_width = (width - 34) // 2
    return piece_width, width - piece_width - 25


def _heading(piece_width: int, text_width: int, last: str) -> Row:
    text = f" {fitted('text', text_width)}" if text_width else ""
    return row((f"{'pos':>5} {'id':>7}  {fitted('piece', piece_width)}{text}{last}", "dim"))


def _cells(token: TokenRow, piece_width: int, text_width: int, style: str) -> tuple[tuple[str, str], ...]:
    """Position, id, piece and text of a token, in the columns of the table."""
    special = "token-special" if token.special and not style else style
    return (
        (f"{token.index:5}", style or "dim"),
        (f" {token.id:7}  ", style),
        (fitted(piece_text(token.piece, token.text), piece_width), special),
        (f" {fitted(quoted(token.text), text_width)}" if text_width else "", style or "dim"),
    )


def lane_rows(lanes: Sequence[LaneText], width: int) -> list[Row]:
    """A row for each lane of a batch: its number, its padding, and the end of its text. Enter describes that lane."""
    wide, padded = len(str(len(lanes) - 1)), max(len(str(each.padding)) for each in lanes)
    rows = []
    for at, each in enumerate(lanes):
        padding = f" +{each.padding:<{padded}} " if any(other.padding for other in lanes) else " "
        room = width - wide - len(padding) - 1
        prompt, answer = marked(each.prompt), marked(each.answer)
        # What came last matters most: the beginning is left out, and that is marked.
        spare = max(0, room - cell_len(answer))
        cut = prompt if cell_len(prompt) <= spare else _end_of(prompt, spare)
        shown = answer if cell_len(answer) <= room else _end_of(answer, room)
        texts = ((f"{at:{wide}}", "accent"), (padding, "dim"), (cut, ""), (shown, "token-new-even"))
        rows.append(row(*texts, do=f"submit lane {at}"))
    return rows


def _end_of(text: str, width: int) -> str:
    """The end of a text that is too wide, with a mark."""
    while text and cell_len(text) >= max(1, width):
        text = text[1:]
    return f"…{text}" if width else ""


def _shows_lanes(state: ScreenState) -> bool:
    """Whether a batch runs and none of its lanes has been chosen."""
    shown = state.snapshot
    return bool(shown.lanes) and shown.lane is None and state.token_mode is TokenMode.TEXT


def _draw(state: ScreenState, width: int, _height: int) -> Sequence[Row]:
    if state.token_mode is TokenMode.TABLE:
        return token_table(state, width)
    if _shows_lanes(state):
        return lane_rows(state.snapshot.lanes, width)
    state.flow.lay_out(state.tokens(), state.probabilities(), width, ids=state.token_mode is TokenMode.IDS)
    return state.flow.rows(state.focus(), state.token_matches())


def _line(state: ScreenState) -> int | None:
    """The line to keep in view: that of the focus, or of the newest token during a run or if the focus follows it."""
    if _shows_lanes(state):
        return 0
    focus = state.focus()
    position = len(state.tokens()) - 1 if focus is None or state.snapshot.follows else focus
    return position + 1 if state.token_mode is TokenMode.TABLE else state.flow.line_of(position)


PANE = Pane("tokens", "1", PaneSlot.TOKENS, _draw, line=_line, about="prompt and answer, token by token")
