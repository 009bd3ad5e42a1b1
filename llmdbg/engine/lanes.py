"""Lanes: the sequences that a debuggee runs at once, rows of a batch or requests of an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.stage_event import StageEvent


@dataclass(frozen=True, slots=True)
class LaneFacts:
    """One row of a batch, as far as its forwards have shown it."""

    padding: int
    """How many of its first positions are padding, which the mask hides."""
    prompt: int
    """How many tokens its prompt has, without the padding."""
    prompt_ids: tuple[int, ...]
    """Their ids."""
    ids: tuple[int, ...]
    """The ids it was fed after that."""
    request: str = ""
    """An engine's id of it; empty for a row of a rectangular batch."""
    rows: tuple[int, int] | None = None
    """Its rows of a flattened batch (tokens, width), from the first up to the one behind; None in a rectangular one."""
    behind: int = 0
    """How many of the last positions of its prompt are padding, which the mask hides."""


@dataclass(frozen=True, slots=True)
class LanePart:
    """What belongs to one of several requests of an event whose tensors have the rows of all."""

    event: StageEvent
    """The event as the request has it."""
    rows: slice
    """Which rows of the main tensor of the whole event's output are its own."""
    prompt: int
    """How many tokens its prompt has."""


@dataclass(frozen=True, slots=True)
class FamilyStep:
    """Where the rows of a batch came from when one token was added to each, in a program that reorders them."""

    position: int
    """The position of that token, padding included."""
    parents: tuple[int, ...]
    """For each row, the row that it continues."""
    ids: tuple[int, ...]
    """For each row, the token that was added."""


@runtime_checkable
class HasLanes(Protocol):
    """A debuggee that runs several sequences at once. Tokens and scores are those of row 0 until a row is chosen."""

    @property
    def batch(self) -> int:
        """How many rows the current forward has. Does not wait for the device."""

    @property
    def lane(self) -> int | None:
        """The chosen row of the batch, from 0; None for all of them, and where the current forward has no such row."""

    @property
    def is_mixed(self) -> bool:
        """Whether the rows of several requests are shown as they lie, which no one request's tokens belong to."""

    def choose_lane(self, lane: int | None) -> None:
        """Show one row from now on, or all of them."""

    def seen(self, event: StageEvent) -> StageEvent:
        """An event as the chosen row has it: its part of every tensor, its scores and its token."""

    def request_in_view(self) -> str | None:
        """The engine's id of the chosen row, where it is one of several requests; None elsewhere."""

    def part_of(self, request: str, event: StageEvent) -> LanePart | None:
        """A request's part of an event; None where it has none."""

    def family(self) -> tuple[FamilyStep, ...]:
        """Where the rows have come from, token by token; none where they have kept their places."""

    def scores(self, event: StageEvent, lane: int) -> Tensor | None:
        """A row's scores (1, vocabulary) float32 at an event, from `logits` to `sample`; None elsewhere."""

    def lanes(self) -> tuple[LaneFacts, ...]:
        """The rows of the batch of the current forward. Waits for the device."""
