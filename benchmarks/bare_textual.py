"""The least that a step could be: a key, and a line painted anew. The screen is measured against it."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.events import Key
from textual.widgets import Static


class BareTextual(App[None]):
    """Counts keys."""

    def compose(self) -> ComposeResult:
        """One line."""
        self.keys = 0
        yield Static("starting")

    def on_key(self, _: Key) -> None:
        """Show how many there were."""
        self.keys += 1
        self.query_one(Static).update(f"key {self.keys}")


if __name__ == "__main__":
    BareTextual().run()
