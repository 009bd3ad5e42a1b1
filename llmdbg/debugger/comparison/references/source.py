"""What a reference is asked for, whatever it is: a run in this process, a run in another one, or a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from llmdbg.debugger.comparison.grafting import paired
from llmdbg.debugger.comparison.recorded_values import with_batch
from llmdbg.debugger.comparison.stage_errors import ErrorTable
from llmdbg.debugger.comparison.tensor_tree import tensors_of
from llmdbg.debugger.execution.stop import ComparedBy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from llmdbg.debugger.comparison.stage_errors import StageError
    from llmdbg.engine.stage_event import StageEvent


class Compared(NamedTuple):
    """How an event compares with the reference."""

    error: StageError
    """How far apart they are."""
    by: ComparedBy = ComparedBy.VALUES
    """What of the reference it was compared with."""


class Taken(NamedTuple):
    """What a reference's stage took and returned. Valid until the reference is asked again."""

    inputs: Mapping[str, Tensor]
    """Its tensor arguments, as `tensors_of((args, kwargs))` names them."""
    output: Any
    """What it returned."""


class ReferenceSource(Protocol):
    """Where the values of a reference come from. Whatever fails raises LlmdbgError; it is asked no more then."""

    name: str
    """What the user called it."""
    about: str
    """What it is, in a few words; empty for a run in this process."""
    last_bit: float
    """What rounding changes at most in a value of its dtypes, relative; 0 if that is not known."""
    restarts: int
    """How often it has gone back to follow."""

    def unfit(self) -> str | None:
        """Why it cannot stand beside the run at all, in a line; None if it can."""

    def missing(self, token: int, address: str) -> str | None:
        """Why it has no value of a stage at a generated token, in a line; None if it may have one."""

    def compared(self, event: StageEvent) -> Compared | None:
        """How far an event is from the reference's at the same stage; None if it cannot be compared."""

    def taken(self, event: StageEvent) -> Taken | None:
        """What the reference's stage took and returned where the run is suspended; None if that is not known."""

    def value(self, token: int, address: str, call: int) -> Tensor | None:
        """The main tensor of the `call`-th call of a stage; None if there is none."""

    def close(self) -> None:
        """End it. It may be asked again afterwards, if it can begin again."""


def error_of(ours: Any, theirs: Any, padding: int = 0) -> StageError | None:
    """How far what a stage returned is from what the reference's did; None if both have no tensor in common.

    `padding` is how many positions more are in front of ours.
    """
    values, others = tensors_of(ours), tensors_of(theirs)
    if values and others and values.keys().isdisjoint(others):
        # One returns its tensor alone, and the other in a tuple.
        others = {next(iter(values)): next(iter(others.values()))}
    # Some engines have no batch dimension.
    laid_out = {path: with_batch(each, values[path]) for path, each in others.items() if path in values}
    table = ErrorTable()
    table.add((0, ""), paired(ours, laid_out, padding))
    return table.at(0, "")


def is_another_function(given: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    """Whether a stage takes vectors of another width than its namesake, as vLLM's activation functions do."""
    if len(given) != 1 or len(theirs) != 1:
        return False
    one, other = next(iter(given.values())), next(iter(theirs.values()))
    return bool(one.dim() and other.dim() and one.is_floating_point()) and one.shape[-1] != other.shape[-1]
