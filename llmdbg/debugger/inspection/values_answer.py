"""What `info values` and `x` answer, and what was asked last."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmdbg.debugger.inspection.slices import read_slice
from llmdbg.debugger.inspection.values_question import ValuesQuestion
from llmdbg.display import Displayed
from llmdbg.probes.axes import Axes, Index, index_of

if TYPE_CHECKING:
    from llmdbg.debugger.execution.trace import TimelinePosition
    from llmdbg.probes.heat import Heatmap
    from llmdbg.probes.values import PlainNumber, ValueSummary

PANE_COUNT = 1024
"""How many values a pane fetches at first."""


@dataclass(frozen=True, slots=True, repr=False)
class Values(Displayed):
    """The values of one slice of one tensor."""

    asked: str
    """The name and slice as typed; empty if the answer follows the run."""
    address: str
    """The stage's address, or the parameter's name."""
    part: str
    """`output`, `input` or `parameter`."""
    token: int | None
    """The generated token being produced, counted from 0; None for a parameter."""
    shape: tuple[int, ...]
    """Shape of the whole tensor."""
    dtype: str
    """Its dtype, without `torch.`."""
    device: str
    """Its device, as torch names it."""
    slice: str
    """The slice, with indices counted from the front; empty for the whole tensor."""
    sliced: tuple[int, ...]
    """Shape of the slice."""
    size: int
    """How many values the slice has."""
    how: str
    """`numbers`, `magnitude`, `heat` or `mean heat`."""
    offset: int
    """Where `numbers` starts, in the order of `how`."""
    numbers: tuple[PlainNumber, ...]
    """The values: row by row, or by falling magnitude; empty for a heatmap."""
    indices: tuple[Index, ...] = ()
    """The index of each value in the whole tensor, by magnitude only."""
    summary: ValueSummary | None = None
    """Statistics of the slice; None if the answer continues an earlier one."""
    heat: Heatmap | None = None
    """The heatmap; None unless `how` asks for one."""
    note: str = ""
    """How the values were made readable; empty if they are as stored."""
    value: str = ""
    """Which of the stage's values, if one was named: `router_indices`."""

    def index(self, place: int) -> Index:
        """The index, in the whole tensor, of the slice's value number `place`, counted from 0."""
        return index_of(place, self.axes())

    def axes(self) -> Axes:
        """The indices that the slice takes from each dimension."""
        return read_slice(self.slice, self.shape)


@dataclass(slots=True)
class ValuesAsked:
    """What was asked last, by a command and by the pane."""

    choice: ValuesQuestion = field(default_factory=ValuesQuestion)
    """Which values."""
    at: tuple[TimelinePosition, int | None] | None = None
    """The position in the timeline and the focus when it was asked; None before that."""
    next: int = 0
    """Where `x` alone continues."""
    pane_window: tuple[int, int] = (0, PANE_COUNT)
    """First value and number of values that the pane shows."""
    pane: Values | None = None
    """The pane's answer; None if the run has moved since, or there is none."""
