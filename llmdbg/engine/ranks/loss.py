"""Why ranks cannot go on. Imports nothing heavy: a rank may be lost before torch is there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Loss:
    """Why the ranks cannot go on."""

    rank: int | None
    """The rank that is gone or has failed; None if it is not one of them."""
    what: str
    """What happened, as a sentence without its full stop."""
    code: int = 1
    """The exit code."""
