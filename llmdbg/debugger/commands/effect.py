"""What a command may do to a session and beyond it."""

from __future__ import annotations

from enum import Flag, auto


class Effect(Flag):
    """What a command may do; several together, the worst it can come to.

    Whoever runs commands that somebody else wrote decides by it: a saved session takes back only what is `HARMLESS`.
    """

    READS = auto()
    """Shows what is there. It may run the model to find out, and stands afterwards where it stood."""
    MOVES = auto()
    """Goes on, goes back, or looks from somewhere else."""
    CHANGES = auto()
    """Changes breakpoints, edits, branches or how tokens are chosen."""
    WRITES_FILE = auto()
    READS_FILE = auto()
    RUNS_PYTHON = auto()
    """Runs Python of the user's, at once or by what it brings back or sets up for later."""

    HARMLESS = READS | MOVES | CHANGES
    """What stays inside the session and runs nobody's code."""

    def beyond_session(self) -> tuple[str, ...]:
        """What it does that is not harmless, each in words that follow `commands that`."""
        return tuple(_BEYOND[each] for each in self & ~Effect.HARMLESS)


_BEYOND = {
    Effect.WRITES_FILE: "write a file",
    Effect.READS_FILE: "read a file",
    Effect.RUNS_PYTHON: "run Python",
}
