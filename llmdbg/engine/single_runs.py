"""One row of a batch run by itself: what it was fed, and the forwards that show what the batch changes of it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.one_forward import OneForward


class RowChange(StrEnum):
    """What of a batch may be made as a row's single run has it, to see whether that is what sets them apart."""

    MASK = "mask"
    """The mask lets the row read its own tokens, and nothing of its padding."""
    POSITIONS = "positions"
    """The position ids of the row's own tokens count from 0."""
    ROWS = "rows"
    """Every other row is a copy of it."""
    PADDING = "padding"
    """There is none, and every other row is a copy of it."""


@dataclass(frozen=True, slots=True)
class RowAsFed:
    """What one row of a batch was fed so far, at each position, padding included."""

    ids: tuple[int | None, ...]
    """The ids; None for a position that was fed as a vector."""
    prompt: int
    """How many positions the first forward of the sequence had."""
    own: tuple[int, ...]
    """The positions of its own tokens: all but the padding, in order."""
    mask: tuple[bool, ...] | None
    """Which positions the mask of the last forward lets be read; None where it was given none."""
    places: tuple[int | None, ...]
    """The position ids that were given; None where the model counts them itself."""

    @property
    def in_prompt(self) -> int:
        """How many of its own tokens are in the prompt."""
        return sum(at < self.prompt for at in self.own)

    @property
    def padding(self) -> tuple[int, ...]:
        """The positions of its padding."""
        return tuple(sorted(set(range(len(self.ids))) - set(self.own)))


@dataclass(frozen=True, slots=True)
class RowScores:
    """What a row's last tokens were chosen from, (tokens, vocabulary) each, in the forward's dtype."""

    first: int
    """The generated token that the first row of both is for."""
    alone: Tensor
    """Of its single run."""
    batched: Tensor
    """In its batch."""
    behind_prompt: Tensor | None
    """In its batch, what stands at the last position of the prompt where that is padding (1, vocabulary); else None."""


class SingleRuns(Protocol):
    """One row of a batch as it was fed, and forwards that run it anew. No forward is the program's, nor seen by it."""

    lane: int
    """Which row it is."""
    rows: int
    """How many rows the batch has."""
    row: RowAsFed
    """What it was fed."""
    read: RowAsFed | None
    """What the encoder read for it; None where there is none."""
    last_bit: float
    """What rounding changes at most in a value of the dtypes that it runs in, relative."""
    in_training: bool
    """Whether the program's own forward is one of a model in training mode, which these are not."""
    notes: tuple[str, ...]
    """What the user should know of these runs, in sentences."""

    def undisturbed(self) -> AbstractContextManager[None]:
        """Run the forwards in the `with` block, and put back what the model remembers of them.

        Raises UnableError, with nothing run, if that could not be put back.
        """

    def can(self, change: RowChange) -> bool:
        """Whether a change of the batch is one for this row, and the model takes what it needs."""

    def batch(self, changes: Collection[RowChange] = ()) -> OneForward:
        """The whole batch with all that it was fed so far, as one forward, but for `changes`, each of which it `can`.

        Without padding (`RowChange.PADDING`) it has no other change, and only the row's own positions.
        """

    def alone(self) -> OneForward:
        """The row by itself: its own tokens, a mask of ones, positions from 0."""

    def scores(self, batch: OneForward, alone: OneForward) -> RowScores | None:
        """What the tokens were chosen from, after both have run; None where the model returns no scores."""


@runtime_checkable
class RunsAlone(Protocol):
    """A debuggee that can run a row of its batch by itself, at a stop."""

    def alone(self, lane: int) -> SingleRuns:
        """What that takes; nothing runs yet. Raises UnableError where it is not known what the row was fed."""
