"""What `info values` and `x` are asked, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.debugger.inspection.slices import read_slice
from llmdbg.display import Displayed
from llmdbg.probes.axes import Axes, Index, index_of

if TYPE_CHECKING:
    from llmdbg.debugger.execution.trace import TimelinePosition
    from llmdbg.probes.heat import Heatmap
    from llmdbg.probes.values import PlainNumber, ValueSummary

PANE_COUNT = 1024
"""How many numbers a pane fetches at first."""


@dataclass(frozen=True, slots=True)
class ValuesQuestion:
    """What to show: `name` is empty for where the run stands; `how` is numbers, magnitude, heat or mean heat."""

    name: str = ""
    slice: str = ""
    how: str = "numbers"


@dataclass(frozen=True, slots=True, repr=False)
class Values(Displayed):
    """The numbers of one slice of one tensor.

    `asked` is what they were asked for by, empty where they follow the run. `part` is output, input or parameter;
    `token` is which token's, None for a parameter. `sliced` is the slice's own
    shape and `slice` how it is written, with every index counted from the front; `size` is how many numbers it has.
    `numbers` are those from number `offset` on, row by row, or by falling magnitude where `how` is magnitude: then
    `indices` says where each is. `heat` is there where `how` asks for it. `summary` is left out of an answer that goes
    on with an earlier one.
    """

    asked: str
    address: str
    part: str
    token: int | None
    shape: tuple[int, ...]
    dtype: str
    device: str
    slice: str
    sliced: tuple[int, ...]
    size: int
    how: str
    offset: int
    numbers: tuple[PlainNumber, ...]
    indices: tuple[Index, ...] = ()
    summary: ValueSummary | None = None
    heat: Heatmap | None = None
    note: str = ""

    def index(self, place: int) -> Index:
        """The index in the whole tensor of number `place` of the slice."""
        return index_of(place, self.axes())

    def axes(self) -> Axes:
        """What the slice takes of each dimension."""
        return read_slice(self.slice, self.shape)


@dataclass(slots=True)
class ValuesAsked:
    """What was asked last: by a command, where `next` is what it goes on with, and by the pane."""

    choice: ValuesQuestion = ValuesQuestion()
    at: tuple[TimelinePosition, int | None] | None = None
    next: int = 0
    pane_window: tuple[int, int] = (0, PANE_COUNT)
    pane: Values | None = None
