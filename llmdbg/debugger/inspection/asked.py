"""The latest questions, whose answers panes keep showing."""

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
    """Ids whose rank the lens shows; empty for its own prediction."""
    attention: AttentionQuestion = AttentionQuestion()
    """Which attention and head to show."""
    values: ValuesAsked = field(default_factory=ValuesAsked)
    """Which values to show, and where to start."""
    last_answers: dict[str, Any] = field(default_factory=dict)
    """The latest answers that took extra runs, by topic (`cost`, `nonfinite`)."""
