"""The overlay on the lower panes: the generated text, the help, a page, or a command's answer."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from rich.cells import cell_len

from llmdbg.formatting import counted, listed
from llmdbg.frontends.sanitize import in_ascii, piece_text, sanitize
from llmdbg.frontends.tui.pages import page_named
from llmdbg.frontends.tui.state.picking import with_pick
from llmdbg.frontends.tui.state.screen_state import Overlay
from llmdbg.frontends.tui.state.token_flow import surprise_mark
from llmdbg.frontends.tui.widgets.rows import LazyRows, Row, fitted, row, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.debugger.execution.stop import TokenRow
    from llmdbg.frontends.tui.input.actions import Action
    from llmdbg.frontends.tui.state.picker import Picker
    from llmdbg.frontends.tui.state.screen_state import ScreenState

_WHAT_A_STAGE_IS = (
    "A stage is a place where the model can stop: it has just run, and the panes show its output. "
    "▶ is the current stage, ● a breakpoint, ○ one that is off; dim stages are still to come for this token."
)
_WHAT_PARTS_ARE = (
    "▸ has parts to unfold. They are listed above their stage, between ╭ and ╰, since it completes after them. "
    "┊ in place of │ means that they have not been seen to run yet: they are in the model's own order."
)
_WHAT_LAYERS_SAY = (
    "Beside a layer stands what the model would say if it stopped there, and how sure it would be. ┃ marks the layers "
    "that say what the model says in the end (before it has, what the newest layer says), ◆ the first of them, and ┏ "
    "the one from which on all do. From 160 columns on it follows what attention and MLP "
    "each added: how long it is, in lengths of the residual stream before the layer, and the token that it makes "
    "more probable by the most."
)
_HOW_ASCII_READS = (
    r"In tokens \_ is a space, \n the end of a line, \\ a backslash, \xe9 or \u4e2d a character and "
    r"\<user> a special token."
)
_KEYS_WIDTH = 14
_MOST_ROWS = 2_000
_COPIES = "y copies all of it to a file"
_MOST_PIECES = 8


def overlay_title(state: ScreenState) -> str:
    """Its name, or the command that was answered; empty without an overlay."""
    if state.overlay is Overlay.OUTPUT:
        # Textual parses a title as markup, so the user's text is escaped.
        return sanitize(state.output[0]).replace("[", "\\[")
    if state.overlay is Overlay.PAGE:
        return state.page
    if state.overlay is Overlay.PICK and state.picker is not None:
        return state.picker.title
    return state.overlay.value if state.overlay is not None else ""


def overlay_rows(state: ScreenState, actions: Sequence[Action], width: int) -> Sequence[Row]:
    """Its lines."""
    if state.overlay is Overlay.PICK and state.picker is not None:
        return _picker_rows(state.picker, width)
    if state.overlay is Overlay.PAGE:
        return with_pick(page_named(state.page).draw(state, width), state.picked)
    if state.overlay is Overlay.HELP:
        return help_rows(actions, width)
    if state.overlay is Overlay.OUTPUT:
        return _output_rows(state.output[1], max(1, width))
    return answer_rows(state, width)


@lru_cache(1)
def _output_rows(lines: tuple[str, ...], width: int) -> list[Row]:
    """What a command answered, as far as a person reads on a screen: all that is typed meanwhile lays it out again."""
    rows = list[Row]()
    for at, line in enumerate(lines):
        left = _MOST_ROWS - len(rows)
        # A cell holds one character at least.
        parts = wrapped(sanitize(line[: left * width]), width)
        rows += map(row, parts[:left])
        cut, later = len(parts) > left or len(line) > left * width, len(lines) - at - 1
        if cut or (later and len(rows) == _MOST_ROWS):
            what = listed(
                [*(["the rest of this line"] if cut else []), *([counted(later, "more line")] if later else [])]
            )
            return [*rows, row(), *(row((part, "warn")) for part in wrapped(f"not shown: {what} · {_COPIES}", width))]
    return rows


def _picker_rows(picker: Picker, width: int) -> Sequence[Row]:
    """What matches, as far as it is needed, the selected one marked."""
    found, picked = picker.matching(), picker.picked()
    if not found:
        return [row(("running on to where the next token is chosen …" if picker.waits else "nothing matches", "dim"))]
    at = min(picker.at, len(found) - 1)
    room = min(max(cell_len(each.text) for each in found), max(1, width // 2))

    def made(y: int) -> Row:
        each = found[y]
        mark = "▶ " if each is picked else "  "
        text = fitted(each.text, room)
        about = fitted(sanitize(each.about), max(0, width - room - 4)).rstrip()
        return row(f"{mark}{text}", (f"  {about}", "dim"), fill="selected" if y == at else "", do=each.do)

    return LazyRows(len(found), made)


def answer_rows(state: ScreenState, width: int) -> list[Row]:
    """The text generated so far."""
    known, tokens = state.snapshot, state.tokens()
    fresh = tokens[len(known.tokens) :]
    text = known.answer + "".join("" if token.special else token.text for token in fresh)
    if text:
        return text_rows(text, width)
    return [row((line, "dim")) for line in wrapped(_without_text(tokens[known.prompt_length :]), width)]


def _without_text(generated: Sequence[TokenRow]) -> str:
    if not generated:
        return "nothing has been generated yet"
    pieces = " ".join(piece_text(token.piece, token.text) for token in generated[:_MOST_PIECES])
    more = " …" if len(generated) > _MOST_PIECES else ""
    what = "all of them special" if all(token.special for token in generated) else "which stand for no text"
    if len(generated) == 1:
        what = "a special one" if generated[0].special else "which stands for no text"
    return f"{counted(len(generated), 'token')} generated, {what}: {pieces}{more}"


def text_rows(text: str, width: int) -> list[Row]:
    """Text in lines of at most `width` cells, sanitized."""
    return [row(line) for each in text.split("\n") for line in wrapped(sanitize(each), max(2, width))]


def help_rows(actions: Sequence[Action], width: int) -> list[Row]:
    """Every key and what it does."""
    return [
        *(row(line) for text in _what_is_shown() for line in wrapped(text, width)),
        row(),
        *(line for action in actions if action.keys for line in _help_of(action, width)),
        row(),
        row(("A click does what a key does: on a stage, a token, a tab, ▸, or a key below. Esc closes this.", "dim")),
    ]


def _what_is_shown() -> list[str]:
    little, less, least = (surprise_mark(level) for level in (1, 2, 3))
    marks = f"Tokens that the model considered unlikely are marked {little} (under 20%), {less} (5%) and {least} (1%)."
    return [_WHAT_A_STAGE_IS, _WHAT_PARTS_ARE, _WHAT_LAYERS_SAY, marks, *([_HOW_ASCII_READS] if in_ascii() else ())]


def _help_of(action: Action, width: int) -> list[Row]:
    first, *others = wrapped(action.help, max(10, width - _KEYS_WIDTH))
    head = row((f"  {action.shown_keys}".ljust(_KEYS_WIDTH), "key"), first, do=action.name)
    return [head, *(row(" " * _KEYS_WIDTH, line) for line in others)]
