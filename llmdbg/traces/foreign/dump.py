"""What every reader of a foreign dump returns: forwards, each with what its stages returned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.models.stages import Stage
    from llmdbg.probes.value_statistics import ValueStatistics

MOST_VALUES = 2**32
"""A tensor of more values is not read: its shape may be a lie that costs memory."""
MOST_OUTPUTS = 2**19
"""Outputs of stages in one forward."""
MOST_FILES = 2**20
"""Files in a dump."""


@dataclass(frozen=True, slots=True, eq=False)
class ForeignOutput:
    """What a stage returned. Either `values` has an output, or `statistics`, `shape` and `dtype` say what is known."""

    stage: Stage
    """The stage."""
    values: Mapping[str, Tensor] = field(default_factory=dict)
    """Whole tensors, by names as `StageRecord.tensors` has them: `output`, `output.1`, `input.hidden_states`."""
    statistics: ValueStatistics | None = None
    """Where no tensor is known. A statistic that the dump does not have is NaN."""
    shape: tuple[int, ...] = ()
    """Where no tensor is known."""
    dtype: str = ""
    """Where no tensor is known, without `torch.`."""
    is_head: bool = False
    """Whether its output are logits, of all positions perhaps."""


@dataclass(frozen=True, slots=True, eq=False)
class ForeignForward:
    """One forward of the model."""

    outputs: Callable[[], Iterator[ForeignOutput]]
    """What its stages returned, in the order in which they did; read when it is called. Raises TraceError."""
    ids: tuple[int, ...] = ()
    """What was fed; empty if the dump does not say."""
    batch: int = 1
    """Over how many sequences it ran."""
    length: int = 0
    """Over how many positions of each; 0 if the dump does not say."""
    positions: tuple[int, ...] | None = None
    """The position ids; None if the dump does not say."""


@dataclass(slots=True)
class Dump:
    """A dump that has been opened. `notes` grows while its forwards are read."""

    tool: str
    """Which tool wrote it."""
    path: Path
    """The file or folder."""
    forwards: Iterator[ForeignForward]
    """In the order in which they ran. Raises TraceError."""
    model_class: str = ""
    """The class of the model, where it is known."""
    config: dict[str, Any] = field(default_factory=dict)
    """What the dump says about how it was made."""
    notes: list[str] = field(default_factory=list)
    """Sentences about what the dump lacks."""


class Format(Protocol):
    """A tool's dumps."""

    @property
    def name(self) -> str:
        """The tool, for messages."""

    def recognises(self, path: Path) -> bool:
        """Whether a file or folder is one of its dumps, by a look at its content. Imports nothing heavy."""

    def read(self, path: Path) -> Dump:
        """Open one. Raises TraceError."""
