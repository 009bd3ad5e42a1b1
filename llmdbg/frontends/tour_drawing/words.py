"""The drawings of the prompt: its tokens, what they read from each other, and how words are spelled."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from llmdbg.explain.tour_facts import Piece, PiecesPicture, ReadingPicture, SpellingPicture
from llmdbg.formatting import counted, percent
from llmdbg.frontends.cell_text import column_of, fitted
from llmdbg.frontends.sanitize import marked, quoted, token_text
from llmdbg.frontends.tour_drawing.base import Line, draw


def _word(piece: Piece) -> str:
    if piece.special:
        return token_text(piece.text)
    return marked(piece.text) or "∅"


def _flow(words: Sequence[tuple[int, str]], width: int) -> list[list[int]]:
    """Which of the cells, of some widths, stand in which line."""
    lines: list[list[int]] = [[]]
    used = 0
    for index, (cells, _) in enumerate(words):
        if used and used + cells > width:
            lines.append([])
            used = 0
        lines[-1].append(index)
        used += cells
    return lines


def _two_lined(cells: Sequence[tuple[str, str, str, str]], width: int, height: int, above: str) -> list[Line]:
    """Words in a flow, each with something below it; the last ones where not all fit. `above` says what is left out."""
    sizes = [max(cell_len(top), cell_len(bottom)) + 1 for top, _, bottom, _ in cells]
    flow = _flow([(min(size, width), "") for size in sizes], width)
    fits = max(1, height // 2)
    shown = flow if len(flow) <= fits else flow[-max(1, (height - 1) // 2) :]
    lines: list[Line] = []
    if shown is not flow:
        lines.append(((above.format(counted(shown[0][0], "token")), "dim"),))
    for each in shown:
        lines.append(tuple((fitted(cells[index][0], min(sizes[index], width)), cells[index][1]) for index in each))
        lines.append(tuple((fitted(cells[index][2], min(sizes[index], width)), cells[index][3]) for index in each))
    return lines


@draw.register
def _pieces(picture: PiecesPicture, width: int, height: int) -> list[Line]:
    if picture.only_special:
        return _marks(picture, width, height)
    cells = [
        (_word(each), "token-special" if each.special else "strong", str(each.id), "dim") for each in picture.pieces
    ]
    more = f"… {{}} before, of {picture.earlier + len(cells):,} in all" if picture.earlier else "… {} before these"
    return _two_lined(cells, width, height, more)


def _marks(picture: PiecesPicture, width: int, height: int) -> list[Line]:
    lines: list[list[tuple[str, str]]] = [[]]
    used = 0
    for each in picture.pieces:
        word = _word(each) if each.special else token_text(each.text)
        style = "token-focus" if each.special else "dim"
        cells = min(width, cell_len(word))
        if used and used + cells > width:
            lines.append([])
            used = 0
        lines[-1].append((fitted(word, cells), style))
        used += cells
    shown = lines if len(lines) <= height else [[("…", "dim")], *lines[-(height - 1) :]]
    return [tuple(line) for line in shown]


@draw.register
def _spelling(picture: SpellingPicture, width: int, height: int) -> list[Line]:
    room = max(cell_len(word) for word, _ in picture.words) + 3
    lines: list[Line] = []
    for word, pieces in picture.words[:height]:
        spelled = "  ".join(f"{quoted(text)} {id}" for id, text in pieces)
        lines.append(((fitted(token_text(word), room), "strong"), (fitted(spelled, max(1, width - room)).rstrip(), "")))
    return lines


@draw.register
def _reading(picture: ReadingPicture, width: int, height: int) -> list[Line]:
    most = max((each.share for each in picture.pieces), default=0.0)
    cells = []
    for each in picture.pieces:
        word, part = _word(each), each.share / most if most > 0 else 0.0
        style = "token-focus" if part >= 0.5 else "accent" if part >= 0.2 else "" if part >= 0.05 else "dim"
        # A share of a tenth or more is worth its number, where the word leaves room for one.
        number = percent(each.share, 0) if part >= 0.2 else ""
        size = max(cell_len(word), len(number) + 1 if number else 1)
        below = f"{column_of(part)}{number}" if number else column_of(part) * size if part >= 0.1 else ""
        cells.append((word, style, below, "bar"))
    before = f"… {{}} before, read {percent(picture.earlier_share)} in all" if picture.earlier else "… {} before these"
    return _two_lined(cells, width, height, before)
