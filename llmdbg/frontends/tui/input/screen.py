"""What actions need from the screen, as a protocol. The app implements it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.tui.state.screen_state import ScreenState, Typing
    from llmdbg.frontends.tui.widgets.rows import Row


class Screen(Protocol):
    """The screen as actions see it: its state, access to the engine thread, and what only widgets can do."""

    @property
    def state(self) -> ScreenState:
        """What is shown."""

    @property
    def busy(self) -> bool:
        """Whether a command is running or waiting."""

    @property
    def working(self) -> bool:
        """Whether it is busy, or the session still begins: with its command line's commands."""

    def submit(self, line: str) -> None:
        """Let the engine thread run a command line, and show the result."""

    def interrupt(self) -> None:
        """Stop a run at its next stage."""

    def give_line(self, text: str) -> None:
        """Give the program the line of its stdin that it waits for."""

    def end_input(self, *, by_interrupt: bool = False) -> None:
        """Tell the program that waits for a line that its input ends, or raise KeyboardInterrupt there."""

    def begin_typing(self, typing: Typing, text: str = "") -> None:
        """Open the input line with this text."""

    def follow(self) -> None:
        """Arrange the panes, ask the questions of those in view, and paint."""

    def stop_typing(self) -> str:
        """Close the input line. Returns its text."""

    def scroll(self, lines: int) -> None:
        """Scroll the focused pane by this many lines; up if negative."""

    @property
    def page(self) -> int:
        """How many lines a page of the focused pane has."""

    def rows(self, pane: str) -> Sequence[Row]:
        """The lines of a pane, as shown."""

    def show_line(self, pane: str, y: int) -> None:
        """Scroll a pane just enough to make a line visible, counted from 0."""

    def scroll_home(self, pane: str) -> None:
        """Scroll a pane to its first line."""

    def copy_pane(self, pane: str) -> str:
        """Copy a pane to the clipboard and to a file. Returns a sentence that says where it is."""

    def save_screen(self) -> str:
        """Save the screen to files. Returns a sentence that says where they are."""

    def choose_theme(self, name: str) -> None:
        """Change the colours."""

    def keep_layout(self, name: str) -> None:
        """Keep the name of the chosen layout for the next start."""

    def open_palette(self) -> None:
        """Open the command palette."""

    def leave(self, how: str = "") -> None:
        """Close the screen: `stand` leaves the engine standing, `end` ends it, and without either the user is asked."""
