"""Tokens as text: how one is drawn, and the sequence laid out in lines, each token set off from its neighbours."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from rich.cells import cell_len

from llmdbg.frontends.sanitize import in_ascii, marked, piece_text, token_text
from llmdbg.frontends.tui.widgets.rows import LazyRows, Row, Span, fitted

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from llmdbg.debugger.execution.stop import TokenRow

SURPRISE_MARKS = ("", "¹", "²", "³")
_ASCII_SURPRISE_MARKS = ("", "\\1", "\\2", "\\3")
_UNLIKELY = (0.2, 0.05, 0.01)


class TokenMode(Enum):
    """How the sequence is shown."""

    TEXT = "text"
    IDS = "ids"
    TABLE = "table"


def surprise(prob: float | None) -> int:
    """How surprised the model was by a token: 0 not (or unknown), up to 3 if its probability was less than 1%."""
    return 0 if prob is None else sum(prob < limit for limit in _UNLIKELY)


def surprise_mark(level: int) -> str:
    """The mark after a token of this surprise. In ASCII a bare digit could be the token's own text."""
    return (_ASCII_SURPRISE_MARKS if in_ascii() else SURPRISE_MARKS)[level]


def drawn(token: TokenRow) -> str:
    """A token's text with its spaces visible; a special token in angle quotes."""
    if token.special:
        name = token_text(token.piece).strip("<|>")
        return f"\\<{name}>" if in_ascii() else f"‹{name}›"
    return marked(token.text) or ("\\-" if in_ascii() else "∅")


def described(token: TokenRow) -> str:
    """One token in a line: its position, its id and how the vocabulary spells it."""
    kind = "special token" if token.special else f"piece {piece_text(token.piece, token.text)}"
    origin = "" if token.generated is None else f", generated token {token.generated}"
    return f"position {token.index}: id {token.id}, {kind}{origin}"


class TokenFlow:
    """Lays out tokens in lines and keeps these: later tokens do not change earlier lines.

    What `rows` and `line_of` return depends only on the last `lay_out`.
    """

    def __init__(self) -> None:
        self._width, self._ids = 0, False
        self._laid_out: list[TokenRow] = []
        self._levels: list[int] = []
        self._lines: list[list[tuple[int, str]]] = [[]]
        self._used = 0

    def lay_out(
        self, tokens: Sequence[TokenRow], probabilities: Sequence[float | None], width: int, *, ids: bool
    ) -> None:
        """Arrange `tokens` in lines of at most `width` cells; `probabilities` are those of the generated ones."""
        levels = [0] * (len(tokens) - len(probabilities)) + [surprise(prob) for prob in probabilities]
        if not self._continues(tokens, levels, width, ids):
            self._width, self._ids = width, ids
            self._laid_out, self._levels, self._lines, self._used = [], [], [[]], 0
        for token, level in zip(tokens[len(self._laid_out) :], levels[len(self._levels) :], strict=True):
            self._add(token, level)

    def rows(self, focus: int | None, matches: Collection[int]) -> LazyRows:
        """The lines; the token at position `focus` and those at the positions `matches` are highlighted."""
        return LazyRows(len(self._lines), lambda y: self._row(self._lines[y], focus, matches))

    def line_of(self, position: int) -> int:
        """The line of the token at `position`."""
        low, high = 0, len(self._lines) - 1
        while low < high:
            middle = (low + high) // 2
            line = self._lines[middle]
            if not line or line[-1][0] >= position:
                high = middle
            else:
                low = middle + 1
        return low

    def _continues(self, tokens: Sequence[TokenRow], levels: list[int], width: int, ids: bool) -> bool:
        count = len(self._laid_out)
        return (
            (width, ids) == (self._width, self._ids)
            and count <= len(tokens)
            and list(tokens[:count]) == self._laid_out
            and levels[:count] == self._levels
        )

    def _add(self, token: TokenRow, level: int) -> None:
        text = drawn(token) + surprise_mark(level) + (f"({token.id})" if self._ids else "")
        if cell_len(text) > self._width > 0:
            text = fitted(text, self._width)
        if self._used and self._used + cell_len(text) > self._width:
            self._lines.append([])
            self._used = 0
        self._lines[-1].append((token.index, text))
        self._used += cell_len(text)
        if token.text.endswith("\n"):
            self._lines.append([])
            self._used = 0
        self._laid_out.append(token)
        self._levels.append(level)

    def _row(self, line: Sequence[tuple[int, str]], focus: int | None, matches: Collection[int]) -> Row:
        return Row(tuple(Span(text, self._style(at, focus, matches), f"focus {at}") for at, text in line))

    def _style(self, position: int, focus: int | None, matches: Collection[int]) -> str:
        if position == focus:
            return "token-focus"
        if position in matches:
            return "match"
        return _style(self._laid_out[position], self._levels[position])


def _style(token: TokenRow, level: int) -> str:
    if token.special:
        return "token-special"
    if level:
        return f"surprise-{level}"
    shade = "odd" if token.index % 2 else "even"
    return f"token-{shade}" if token.generated is None else f"token-new-{shade}"
