"""The sequence as it flows: every token marked off from its neighbours, its leading space a dot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from llmdbg.frontends.tui.rows import Row, Span, fitted
from llmdbg.frontends.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.debugger.stop import TokenRow


class TokenFlow:
    """Lays tokens out in lines. Tokens that are added later leave the lines before them as they were."""

    def __init__(self) -> None:
        self._width = 0
        self._laid_out: list[TokenRow] = []
        self._lines: list[list[tuple[int, Span]]] = []
        self._used = 0

    def lay_out(self, tokens: Sequence[TokenRow], width: int, focus: int | None) -> list[Row]:
        """Rows of at most `width` cells; the token at position `focus` stands out."""
        if not self._continues(tokens, width):
            self._width, self._laid_out, self._lines, self._used = width, [], [[]], 0
        for token in tokens[len(self._laid_out) :]:
            self._add(token)
        return [Row(tuple(self._styled(item, focus) for item in line)) for line in self._lines]

    def line_of(self, position: int) -> int:
        """Which line the token at `position` is in."""
        for y, line in enumerate(self._lines):
            if line and line[-1][0] >= position:
                return y
        return max(0, len(self._lines) - 1)

    def _continues(self, tokens: Sequence[TokenRow], width: int) -> bool:
        count = len(self._laid_out)
        return width == self._width and count <= len(tokens) and list(tokens[:count]) == self._laid_out

    def _add(self, token: TokenRow) -> None:
        text = drawn(token)
        if cell_len(text) > self._width > 0:
            text = fitted(text, self._width)
        if self._used and self._used + cell_len(text) > self._width:
            self._lines.append([])
            self._used = 0
        self._lines[-1].append((token.index, (text, _style(token))))
        self._used += cell_len(text)
        if token.text.endswith("\n"):
            self._lines.append([])
            self._used = 0
        self._laid_out.append(token)

    def _styled(self, item: tuple[int, Span], focus: int | None) -> Span:
        position, (text, style) = item
        return (text, "token-focus" if position == focus else style)


def drawn(token: TokenRow) -> str:
    """A token's text with its spaces visible; a special token in angle quotes."""
    if token.special:
        return f"‹{visible(token.piece).strip('<|>')}›"
    return visible(token.text).replace(" ", "·") or "∅"


def described(token: TokenRow) -> str:
    """One token in a line: where it is, its id and how the vocabulary spells it."""
    kind = "special token" if token.special else f"piece {visible(token.piece)}"
    origin = "" if token.generated is None else f", generated token {token.generated}"
    return f"position {token.index}: id {token.id}, {kind}{origin}"


def _style(token: TokenRow) -> str:
    if token.special:
        return "token-special"
    shade = "odd" if token.index % 2 else "even"
    return f"token-{shade}" if token.generated is None else f"token-new-{shade}"
