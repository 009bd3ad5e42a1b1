"""What the terminal reports to the screen."""

from __future__ import annotations

from textual.message import Message


class TerminalCame(Message):
    """Another terminal shows the screen from now on, or the same one anew: all of it has to be drawn.

    `number` names the mark behind which it is drawn. `environment` is the terminal's; None if it is the same one.
    """

    def __init__(self, number: int, environment: dict[str, str] | None) -> None:
        super().__init__()
        self.number = number
        self.environment = environment


class CloseAsked(Message):
    """Whoever holds the terminal asks the engine to end."""


class BackgroundReported(Message):
    """The terminal has reported whether the background of its text is light."""

    def __init__(self, *, light: bool) -> None:
        super().__init__()
        self.light = light
