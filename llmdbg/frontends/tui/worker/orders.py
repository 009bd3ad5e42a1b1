"""What the screen asks of the engine thread, one thing after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LOOK_AGAIN, FETCH, LOOK_AT = "", "\n", "\v"
"""What no command line is: answer the panes' questions again, fetch what an answer is missing, look at a stage."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to do next, and what the screen wants to be told then. On several ranks all get the same one."""

    line: str | None
    """A command line, or one of the three above; None to end."""
    questions: tuple[str, ...] = ()
    """The standing questions of the panes in view, to be answered at each stop."""
    wanted: str | None = None
    """The address of the stage that the user looks at; None for the stop."""
    lacking: Mapping[str, Any] = field(default_factory=dict)
    """The missing parts of answers, by question."""
