"""What a command may do to a session and beyond it."""

from __future__ import annotations

from enum import Flag, auto


class Effect(Flag):
    """What a command may do, at worst; flags combine.

    Decides whether commands written by others may run: those of a saved session are on only if they are `HARMLESS`,
    which lists what is known to be. Any effect that is added here later is beyond it until someone puts it there.
    """

    READS = auto()
    """Only shows something. May run the model to find out, and returns to the same stop."""
    MOVES = auto()
    """Runs on, goes back, or moves the focus."""
    CHANGES = auto()
    """Changes breakpoints, edits, branches or how tokens are chosen."""
    WRITES_FILE = auto()
    READS_FILE = auto()
    RUNS_PYTHON = auto()
    """Runs the user's Python, now or through what it restores or sets up for later."""

    HARMLESS = READS | MOVES | CHANGES
    """What stays inside the session and runs no user code."""

    def beyond_session(self) -> tuple[str, ...]:
        """What it does beyond `HARMLESS`, each as words to follow "commands that"; empty only for what is harmless."""
        if not self:
            return ("have no known effect",)
        return tuple(_BEYOND[each] for each in self & ~Effect.HARMLESS)


_BEYOND = {
    Effect.WRITES_FILE: "write a file",
    Effect.READS_FILE: "read a file",
    Effect.RUNS_PYTHON: "run Python",
}
