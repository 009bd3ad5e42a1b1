"""The latest questions, which panes keep showing: the one home of what a pane shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llmdbg.debugger.inspection.values_answer import ValuesAsked


@dataclass(frozen=True, slots=True)
class AttentionQuestion:
    """What attention to show."""

    address: str | None = None
    """The attention's address; None for the one that ran last."""
    head: int | None = None
    """The head to show in full; None for none."""


@dataclass(slots=True)
class Asked:
    """The latest questions; their answers change as the run moves."""

    followed: tuple[int, ...] = ()
    """Ids whose rank the lens shows; none for those of its own prediction."""
    attention: AttentionQuestion = AttentionQuestion()
    """Which attention and head to show."""
    values: ValuesAsked = field(default_factory=ValuesAsked)
    """Which numbers to show, and from which one on."""
    last_answers: dict[str, Any] = field(default_factory=dict)
    """The newest answers that cost runs of their own, by topic (`cost`, `nonfinite`)."""
