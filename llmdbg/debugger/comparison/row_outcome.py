"""What holding a row of a batch against its single run has shown, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from llmdbg.debugger.comparison.judge import TIMES_ARITHMETIC_FLOOR
from llmdbg.display import Displayed


class RowVerdict(StrEnum):
    """How a row compares with its single run."""

    SAME = "same"
    """Every value is bitwise the same."""
    WITHIN_ARITHMETIC = "same within the arithmetic"
    """Values differ, but not by more than rounding explains."""
    DIFFERENT = "different"
    """The batch changes what the row computes, or where its tokens are chosen."""


class RowCause(StrEnum):
    """What of the batch sets a row apart: without it the row is the same within the arithmetic."""

    MASK = "mask"
    """The mask hides some of its own tokens, or lets it read its padding."""
    POSITIONS = "positions"
    """Its own tokens have other position ids."""
    ROWS = "rows"
    """What the other rows hold."""
    PADDING = "padding"
    """Its padding, though the mask hides it or the model takes none."""
    BATCH = "batch"
    """That there are other rows, whatever they hold."""
    FORWARDS = "forwards"
    """That it was not fed in one forward: its KV cache, what one of its forwards was given, or an edit in one."""
    CHOICE = "choice"
    """Its first token was chosen from the scores behind its padding, not from those of its own last token."""


@dataclass(frozen=True, slots=True)
class RowStage:
    """How far the row is from its single run after one stage. Errors are relative to the single run's norm."""

    address: str
    """The stage."""
    depth: int
    """1 for the outline, one more for each module around it."""
    error: float
    """Over all positions of the row's own tokens."""
    floor: float
    """What noise in the last bits of all values does to that."""
    times_floor: float
    """The error over the floor, at the position where that is most."""
    since: int | None
    """The first of the row's own tokens, from 0, at which that is more than rounding; None if none is, or not known."""
    equal: bool
    """Whether all bits are equal."""
    nonfinite: int
    """How many values are NaN or infinite where the single run's are finite."""
    reached: bool
    """Whether what it is given differs already by more than rounding."""

    @property
    def differs(self) -> bool:
        """Whether rounding does not explain it."""
        return self.nonfinite > 0 or self.times_floor > TIMES_ARITHMETIC_FLOOR


@dataclass(frozen=True, slots=True)
class RowPositions:
    """Positions that reach a stage and are not those of the single run."""

    address: str
    """The first such stage."""
    batched: tuple[int, ...]
    """Those of the row's own tokens in the batch."""
    alone: tuple[int, ...]
    """Those by itself."""


@dataclass(frozen=True, slots=True)
class RowParting:
    """The first token that the row would have another of by itself, were the likeliest chosen."""

    token: int
    """Which of its generated tokens, from 0."""
    alone: str
    """The text of the likeliest by itself."""
    alone_prob: float
    """Its probability there, from 0 to 1."""
    batched: str
    """The text of the likeliest in the batch."""
    batched_prob: float
    """Its probability there."""


@dataclass(frozen=True, slots=True, repr=False)
class RowComparison(Displayed):
    """A row of a batch held against its single run."""

    lane: int
    """Which row, from 0."""
    verdict: RowVerdict
    """How they compare."""
    sentence: str
    """The verdict in a sentence without a full stop."""
    causes: tuple[RowCause, ...]
    """What of the batch sets them apart, together; none if nothing does."""
    stage: str | None
    """The first stage where that shows; None if nothing does."""
    since: int | None
    """The first of its own tokens, from 0, where it shows there; None if nothing does, or not known."""
    tokens: int
    """How many tokens of its own were held against each other."""
    padding: int
    """How many positions of padding they come after."""
    positions: RowPositions | None
    """Positions that are not the single run's; None if all are."""
    parting: RowParting | None
    """Where the likeliest tokens part; None if they do not, or the model returns no scores."""
    stages: tuple[RowStage, ...]
    """Every stage that could be compared, in the order they ended; inner modules come first."""
    notes: tuple[str, ...]
    """What the user should know about how it was found out."""

    def __repr__(self) -> str:
        return f"<RowComparison of lane {self.lane}: {self.sentence}>"
