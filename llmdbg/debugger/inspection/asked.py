"""What was asked last, so that a pane goes on showing it: the one home of what panes were told to show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llmdbg.debugger.inspection.values_answer import ValuesAsked


@dataclass(frozen=True, slots=True)
class AttentionQuestion:
    """What to show: the attention at `address`, None for the one that ran last; `head` is the one told of in full."""

    address: str | None = None
    head: int | None = None


@dataclass(slots=True)
class Asked:
    """What was asked last; its answers change as the run moves."""

    followed: tuple[int, ...] = ()
    """Ids whose rank the lens shows; none for those of its own prediction."""
    attention: AttentionQuestion = AttentionQuestion()
    """Which attention and head to show."""
    values: ValuesAsked = field(default_factory=ValuesAsked)
    """Which numbers to show, and from which one on."""
    last_answers: dict[str, Any] = field(default_factory=dict)
    """The newest answers that cost runs of their own, by topic (`cost`, `nonfinite`)."""
