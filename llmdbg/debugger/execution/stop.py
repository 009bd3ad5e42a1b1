"""A stop as front ends see it: plain frozen values, no tensor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from llmdbg.display import Displayed, short
from llmdbg.formatting import counted, percent

if TYPE_CHECKING:
    from llmdbg.models.stages import Phase, Stage
    from llmdbg.probes.candidates import Candidates, ChosenToken
    from llmdbg.probes.quantities import QuantityValue
    from llmdbg.probes.statistics import Statistics


class Reason(StrEnum):
    """Why the engine stands still."""

    STEP = "step"
    BREAKPOINT = "breakpoint"
    TRACEPOINT = "tracepoint"
    WATCH = "watch"
    END = "end"


@dataclass(frozen=True, slots=True, repr=False)
class Stop(Displayed):
    """The engine stands still after `stage`, while producing generated token `token`.

    `breakpoint` is the number of the one that was hit, if any. `ms` is what the stage itself took in milliseconds.
    `ended_by` is `eos` (a stop string included), `length` or `context` when this is the last stage of the generation.
    `values` are what a tracepoint logged, or a watch's value `before` and `now`. `differs` says that a token that was
    run again did not come out bitwise as it had before.
    """

    reason: Reason
    breakpoint: int | None
    token: int
    phase: Phase
    stage: Stage
    tensor: Statistics | None
    candidates: Candidates | None
    chosen: ChosenToken | None
    ms: float | None
    ended_by: str | None
    values: tuple[tuple[str, QuantityValue], ...] = ()
    differs: bool = False

    def __repr__(self) -> str:
        number = "" if self.breakpoint is None else f" {self.breakpoint}"
        place = f"{self.stage.address}@{self.token} {self.phase}, {self.reason}{number}"
        if self.chosen is not None:
            what = f": chose {self.chosen.text!r} {percent(self.chosen.prob)}, rank {self.chosen.rank}"
        elif self.candidates is not None:
            what = f": {self.candidates.likeliest()}"
        else:
            what = "" if self.tensor is None else f": {self.tensor.line()}"
        return f"<Stop {place}{what}>"


@dataclass(frozen=True, slots=True, repr=False)
class End(Displayed):
    """A generation is over: why, and what it produced (special tokens are left out of the text)."""

    stopped_by: str
    ids: tuple[int, ...]
    text: str
    at_context_end: bool = False

    def __repr__(self) -> str:
        return f"<End {self.stopped_by}, {counted(len(self.ids), 'token')}: {short(self.text)}>"


@dataclass(frozen=True, slots=True, repr=False)
class TokenRow(Displayed):
    """One token of the sequence. `generated` counts from 0 for generated tokens and is None in the prompt."""

    index: int
    id: int
    piece: str
    text: str
    special: bool
    generated: int | None

    def __repr__(self) -> str:
        generated = "" if self.generated is None else f", generated {self.generated}"
        return f"<TokenRow {self.index} {self.text!r} id {self.id}{generated}>"
