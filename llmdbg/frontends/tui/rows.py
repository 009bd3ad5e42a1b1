"""A row of text as a value: what panes are made of, and what is compared to know what to repaint."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

Span = tuple[str, str]
"""Some text, and the name of its style (`""` is plain)."""

STYLES = (
    "dim", "strong", "accent", "good", "warn", "bad", "here", "selected", "bar", "cut", "key",
    "token-even", "token-odd", "token-new-even", "token-new-odd", "token-special", "token-focus",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """Spans side by side. `fill` is the style of the whole line behind them."""

    spans: tuple[Span, ...] = ()
    fill: str = ""

    @property
    def text(self) -> str:
        """The text alone."""
        return "".join(text for text, _ in self.spans)


def row(*spans: Span | str, fill: str = "") -> Row:
    """Make a row; a bare string is plain."""
    return Row(tuple((each, "") if isinstance(each, str) else each for each in spans), fill)


def fitted(text: str, width: int) -> str:
    """`text` in exactly `width` cells, with an ellipsis where it was too long."""
    if cell_len(text) > width:
        return set_cell_size(text, max(0, width - 1)) + ("…" if width > 0 else "")
    return set_cell_size(text, width)


def wrapped(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` cells, broken at spaces where there are some. Empty text is one empty line."""
    lines, line = [], ""
    for word in text.split(" "):
        rest = word
        if line and cell_len(line) + 1 + cell_len(rest) > width:
            lines.append(line)
            line = ""
        else:
            rest = f"{line} {rest}" if line else rest
            line = ""
        while cell_len(rest) > width > 1:
            head = _head(rest, width)
            lines.append(head)
            rest = rest[len(head) :]
        line = rest
    return [*lines, line]


def _head(text: str, width: int) -> str:
    cells = 0
    for index, character in enumerate(text):
        cells += cell_len(character)
        if cells > width:
            return text[: max(1, index)]
    return text
