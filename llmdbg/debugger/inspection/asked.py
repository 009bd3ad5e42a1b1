"""The latest questions, whose answers panes keep showing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llmdbg.debugger.inspection.values_answer import ValuesAsked
from llmdbg.explain.tour_routes import MODEL


@dataclass(frozen=True, slots=True)
class AttentionQuestion:
    """What attention to show."""

    address: str | None = None
    """The attention's address; None for the one that ran last."""
    head: int | None = None
    """The head to show in full; None for none."""


@dataclass(frozen=True, slots=True)
class TourProgress:
    """Which route of the tour is taken, and which of its stops was gone to last."""

    route: str = MODEL
    """The route."""
    number: int = 1
    """The stop, from 1. It counts only while the run stands at that stop's stage."""


@dataclass(slots=True)
class Asked:
    """The latest questions; their answers change as the run moves."""

    followed: tuple[int, ...] = ()
    """Ids whose rank the lens shows; empty for its own prediction."""
    attention: AttentionQuestion = AttentionQuestion()
    """Which attention and head to show."""
    values: ValuesAsked = field(default_factory=ValuesAsked)
    """Which values to show, and where to start."""
    tour: TourProgress = TourProgress()
    """Where the tour has come to."""
    last_answers: dict[str, Any] = field(default_factory=dict)
    """The latest answers that took extra runs, by topic (`cost`, `nonfinite`)."""
