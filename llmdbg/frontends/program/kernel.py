"""A notebook's kernel, where one runs this process. It has imported IPython; nothing here does."""

from __future__ import annotations

import sys
from typing import Any


def is_running() -> bool:
    """Whether a notebook's kernel runs this process: an IPython that sends what it displays to a client."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def display(text: str, html: str) -> None:
    """Give the client both: it shows the HTML, or the text where it shows none."""
    shown: Any = sys.modules["IPython.display"]
    shown.display({"text/plain": text, "text/html": html}, raw=True)
