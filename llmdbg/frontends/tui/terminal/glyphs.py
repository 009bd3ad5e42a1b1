"""The screen in ASCII, cell by cell, for terminals and connections that support nothing else."""

from __future__ import annotations

from functools import lru_cache

from rich.cells import split_graphemes

_GLYPHS = {
    # Where the run stands, breakpoints, folds, and what is cut.
    "▶": ">", "●": "*", "○": "o", "▸": ">", "▾": "v", "✂": "x", "✓": "v", "✗": "x", "◆": "*", "◇": "o", "▼": "v",
    "◀": "<", "■": "#",
    # Bars: a cell counts as full from its half on.
    "█": "#", "▉": "#", "▊": "#", "▋": "#", "▌": "=", "▍": "-", "▎": "-", "▏": "-",
    "▔": "-", "🔎": "/ ", "▐": "=", "░": ".", "▒": ":", "▓": "%",
    "▁": "_", "▂": "_", "▃": ".", "▄": "-", "▅": "=", "▆": "+", "▇": "*", "▀": "^",
    # Numbers.
    "‖": "|", "Δ": "d", "≈": "~", "±": "~", "≥": ">", "≤": "<", "×": "x", "−": "-",
    "∅": "0", "∞": "8", "µ": "u", "σ": "s",
    "¹": "1", "²": "2", "³": "3",
    # Signs in text, and what stands for characters that are not drawn.
    "·": ".", "…": "~", "–": "-", "—": "-", "•": "*", "‹": "<", "›": ">", "‘": "'", "’": "'", "“": '"', "”": '"',
    "⏎": "$", "⇥": ">", "␍": "r", "␛": "^", "␀": "0",
    # Arrows.
    "↑": "^", "↓": "v", "←": "<", "→": ">", "↔": "-", "↕": "|", "↵": "$",
    # Lines and frames.
    "─": "-", "━": "=", "═": "=", "│": "|", "┃": "|", "║": "|", "╌": "-", "┄": "-", "┆": ":", "┊": ":",
    **dict.fromkeys("├┤┬┴┼└┘┌┐╭╮╰╯┏┓┗┛╞╡╪", "+"),
}  # fmt: skip
_TABLE = str.maketrans(_GLYPHS)


@lru_cache(4096)
def ascii_of(text: str) -> str:
    """`text` in ASCII and equally wide: the screen's own glyphs as what they look like, all else as `?`."""
    if text.isascii():
        return text
    drawn = text.translate(_TABLE)
    if drawn.isascii():
        return drawn
    # A glyph may be several characters, whose widths would not add up one by one.
    signs = ((drawn[start:end], cells) for start, end, cells in split_graphemes(drawn)[0])
    return "".join(sign if sign.isascii() else "?" * cells for sign, cells in signs)
