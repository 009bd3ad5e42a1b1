"""What the terminal reports to the screen."""

from __future__ import annotations

from textual.message import Message


class BackgroundReported(Message):
    """The terminal has reported whether the background of its text is light."""

    def __init__(self, *, light: bool) -> None:
        super().__init__()
        self.light = light
