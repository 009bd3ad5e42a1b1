"""Answers as pictures for a report: SVG or PNG, drawn by matplotlib.

To add one, write its function in a module of this package and register it for the answer's type in `drawings.py`.
"""

from __future__ import annotations

import importlib.util

from llmdbg.errors import CommandError

INSTALL = "pip install 'llm-generation-debugger[pictures]'"


def picture(answer: object, format: str) -> bytes:
    """An answer as the bytes of an `svg` or `png` file; equal answers give equal bytes.

    Raises CommandError for an answer without a picture, and where matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise CommandError(f"pictures need the package matplotlib: run `{INSTALL}`")
    from llmdbg.frontends.pictures.drawings import draw

    return draw(answer, format)
