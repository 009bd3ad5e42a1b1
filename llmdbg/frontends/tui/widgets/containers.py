"""Containers of which panes cover everything: so that Textual need not go through their lines at each change.

They draw no frame either.
"""

from __future__ import annotations

from typing import ClassVar

from textual.containers import Container, Horizontal, Vertical


class Open(Container):
    """Widgets as the style sheet arranges them."""

    BLANK: ClassVar[bool] = True


class Beside(Horizontal):
    """Widgets side by side."""

    BLANK: ClassVar[bool] = True


class Stacked(Vertical):
    """Widgets one above the other."""

    BLANK: ClassVar[bool] = True
