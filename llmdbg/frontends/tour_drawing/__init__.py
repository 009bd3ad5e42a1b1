"""The pictures of the tour, drawn in terminal cells: lines of styled text, readable without colours too.

Pure functions from a picture, a width and a height in cells to lines. A picture that needs more lines than there are
shows the most telling part, and says what it leaves out. A new picture is a function registered in one of the modules.
"""

from __future__ import annotations

from llmdbg.frontends.tour_drawing import chances, vectors, words
from llmdbg.frontends.tour_drawing.base import Line, as_text, drawn

__all__ = ["Line", "as_text", "chances", "drawn", "vectors", "words"]
