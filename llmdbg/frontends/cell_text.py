"""Text and bars measured in terminal cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

if TYPE_CHECKING:
    from collections.abc import Iterator


def fitted(text: str, width: int) -> str:
    """`text` in exactly `width` cells, with an ellipsis if it was too long."""
    if text.isascii():
        return text.ljust(width) if len(text) <= width else text[: max(0, width - 1)] + ("…" if width > 0 else "")
    if cell_len(text) > width:
        return set_cell_size(text, max(0, width - 1)) + ("…" if width > 0 else "")
    return set_cell_size(text, width)


def wrapped(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` cells, broken at spaces if possible. Empty text is one empty line."""
    lines: list[str] = []
    line: str | None = None
    cells, cells_of = 0, len if text.isascii() else cell_len
    for word in _words(text):
        more = cells_of(word)
        if line is not None and cells + 1 + more > width and line.strip():
            lines.append(line)
            line = None
        # Spaces at the beginning of a text are its indentation.
        line, cells = (word, more) if line is None else (f"{line} {word}", cells + 1 + more)
        if cells > width > 1:
            *heads, line = _pieces(line, width)
            lines += heads
            cells = cells_of(line)
    return [*lines, line or ""]


def _words(text: str) -> Iterator[str]:
    """The words between which a line may end: not after a quotation mark that stands alone, as in `" is"`."""
    mark = ""
    for word in text.split(" "):
        if not mark and word.lstrip("(") == '"':
            mark = f"{word} "
        else:
            yield mark + word
            mark = ""
    if mark:
        yield mark.removesuffix(" ")


def _pieces(text: str, width: int) -> list[str]:
    """A text in pieces of at most `width` cells, each as long as fits; in one pass, since a text may be very long."""
    pieces, start, cells = list[str](), 0, 0
    for index, character in enumerate(text):
        wide = cell_len(character)
        if cells + wide > width and index > start:
            pieces.append(text[start:index])
            start, cells = index, 0
        cells += wide
    return [*pieces, text[start:]]


EIGHTHS = " ▏▎▍▌▋▊▉█"
HEIGHTS = " ▁▂▃▄▅▆▇█"


def bar_of(part: float, width: int) -> str:
    """A bar of `width` cells, the fraction `part` (0 to 1) of it filled, to an eighth of a cell. NaN is empty."""
    eighths = round(max(0.0, min(1.0, part if part == part else 0.0)) * width * 8)  # noqa: PLR0124
    full, rest = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[rest] if rest else "")).ljust(width)


def column_of(part: float) -> str:
    """One cell, the fraction `part` (0 to 1) of it filled from below. Only NaN and 0 are empty."""
    if not part > 0:
        return HEIGHTS[0]
    return HEIGHTS[max(1, min(8, round(part * 8)))]
