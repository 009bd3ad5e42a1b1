"""Copying panes to the clipboard, and saving panes and screenshots to files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.files import private_folder, state_folder, write_private
from llmdbg.formatting import counted
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui._compat import screen_lines
from llmdbg.frontends.tui.state.screen_state import Overlay

if TYPE_CHECKING:
    from textual.app import App

    from llmdbg.frontends.tui.state.screen_state import ScreenState
    from llmdbg.frontends.tui.widgets.row_pane import RowPane

# xterm and tmux truncate or ignore a longer OSC 52 sequence.
_LONGEST_FOR_A_TERMINAL = 70_000


def kept_folder() -> Path:
    """The folder of copies and screenshots. They contain prompts, so only their owner can read them."""
    return state_folder() / "kept"


def copied(app: App[BaseException], pane: RowPane, state: ScreenState) -> str:
    """Send a pane's text to the terminal's clipboard and into a file. Returns a sentence that says where it is.

    Of a command's answer it is all, also what is not shown.
    """
    answers = pane.id == "text" and state.overlay is Overlay.OUTPUT
    text = "\n".join(map(sanitize, state.output[1])) if answers else pane.text
    try:
        path = _write("copied.txt", text + "\n")
    except OSError as error:
        path = None
        where = f"could not be written to a file ({error.strerror or error})"
    else:
        where = f"is in {path}"
    count = counted(text.count("\n") + 1, "line")
    if len(text) > _LONGEST_FOR_A_TERMINAL:
        return f"{pane.id}: {count}, too long for the clipboard; it {where}"
    app.copy_to_clipboard(text)
    return f"{pane.id}: {count} sent to the clipboard (where the terminal allows it); it {where}"


def saved_screen(app: App[BaseException]) -> str:
    """Save the screen as SVG and as text. Returns a sentence that says where."""
    stem = time.strftime("llmdbg-%Y%m%d-%H%M%S")
    try:
        path = _write(f"{stem}.svg", app.export_screenshot(title="llmdbg"))
        _write(f"{stem}.txt", screen_text(app))
    except OSError as error:
        return f"the screenshot could not be written: {error.strerror or error}"
    return f"saved {path} and the same as .txt"


def screen_text(app: App[BaseException]) -> str:
    """The screen as plain lines."""
    return "".join(f"{line}\n" for line in screen_lines(app))


def _write(name: str, text: str) -> Path:
    path = private_folder(kept_folder()) / name
    write_private(path, text.encode("utf-8", "backslashreplace"))
    return path
