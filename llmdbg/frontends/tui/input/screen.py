"""What an action needs of the screen. The app is one; so is whatever else has this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from llmdbg.frontends.tui.state.screen_state import ScreenState, Typing


class Screen(Protocol):
    """The screen as actions see it: its state, a way to the engine thread, and what only widgets can do."""

    @property
    def state(self) -> ScreenState:
        """What is shown."""

    @property
    def busy(self) -> bool:
        """Whether a command is running or waiting."""

    def submit(self, line: str) -> None:
        """Have the engine thread run a command line, and show what comes of it."""

    def interrupt(self) -> None:
        """Stop a run at its next stage."""

    def begin_typing(self, typing: Typing, text: str = "") -> None:
        """Open the line at the bottom, with some text in it."""

    def stop_typing(self) -> str:
        """Close the line. Returns what was typed."""

    def scroll(self, lines: int) -> None:
        """Move the pane that has the keys by so many lines; up where that is negative."""

    @property
    def page(self) -> int:
        """How many lines make a page of the pane that has the keys."""

    def scroll_home(self, pane: str) -> None:
        """Show a pane from its first line."""

    def copy_pane(self, pane: str) -> str:
        """Copy a pane to the clipboard and to a file. Returns a sentence that says where it is."""

    def save_screen(self) -> str:
        """Write the screen to files. Returns a sentence that says where they are."""

    def choose_theme(self, name: str) -> None:
        """Change the colours."""

    def open_palette(self) -> None:
        """Let the user find an action by typing."""

    def leave(self) -> None:
        """Close the screen."""
