"""What an edit does to the value at a stage.

- A change makes a new output and leaves the model's own tensors as they were: a cache or a residual may share them.
- It replaces the main tensor of what a module returned (`engine.event.main_tensor`), inside the same container.
- It changes the positions it is for, in the forwards that run over them, and nothing in others.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor

from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import EditError
from llmdbg.models.stages import Phase
from llmdbg.probes.statistics import position_axis

if TYPE_CHECKING:
    from llmdbg.engine.stage_event import StageEvent

NO_TENSOR = "there is no tensor to change here"

StageValues = Callable[[str, int], Tensor | None]
"""The main tensor of the stage at an address while a token was produced, None where there is none.

It is asked inside a forward: it must know its answers already and run nothing.
"""


@dataclass(frozen=True, slots=True)
class Positions:
    """Which positions of the sequence: spans of them (both ends included), the newest one fed, or all (both None)."""

    spans: tuple[tuple[int, int], ...] | None = None
    newest: bool = False

    @property
    def all(self) -> bool:
        """Whether it is every position."""
        return self.spans is None and not self.newest

    def among(self, first: int, length: int) -> list[int]:
        """The chosen ones of the `length` positions from `first` on, counted from 0 at `first`."""
        if self.all:
            return list(range(length))
        chosen = {length - 1} if self.newest else set()
        for low, high in self.spans or ():
            chosen.update(range(max(low - first, 0), min(high - first + 1, length)))
        return sorted(chosen)

    def __str__(self) -> str:
        """As a person types them."""
        if self.all:
            return "all"
        spans = [str(low) if low == high else f"{low}-{high}" for low, high in self.spans or ()]
        return ",".join([*spans, *(["last"] if self.newest else [])])


EVERYWHERE = Positions()


class ValueChange(Protocol):
    """What an edit does to the output of a stage. `on_input`: it makes that output anew from another input."""

    on_input: ClassVar[bool]

    def describe(self) -> str:
        """Say in a few words what it does."""

    def apply(self, event: StageEvent, prompt_length: int) -> Any:
        """The whole new output, or the very one of `event` where nothing changes. Raises EditError."""


@dataclass(frozen=True, slots=True)
class Zero:
    """The output becomes 0."""

    positions: Positions = EVERYWHERE
    on_input: ClassVar[bool] = False

    def describe(self) -> str:
        """`zero at 3,5-7`."""
        return f"zero{at(self.positions)}"

    def apply(self, event: StageEvent, prompt_length: int) -> Any:
        """The output with zeros at the chosen positions."""
        return changed_at(self.positions, event, prompt_length, torch.zeros_like)


@dataclass(frozen=True, slots=True)
class Scale:
    """The output times a number."""

    factor: float
    positions: Positions = EVERYWHERE
    on_input: ClassVar[bool] = False

    def describe(self) -> str:
        """`× 0.5 at last`."""
        return f"× {self.factor:g}{at(self.positions)}"

    def apply(self, event: StageEvent, prompt_length: int) -> Any:
        """The output, multiplied at the chosen positions."""
        return changed_at(self.positions, event, prompt_length, lambda tensor: tensor * self.factor)


@dataclass(frozen=True, slots=True)
class Patch:
    """The value that the stage had in another branch, where that came as far."""

    branch: str
    values: StageValues
    positions: Positions = EVERYWHERE
    on_input: ClassVar[bool] = False

    def describe(self) -> str:
        """`from b2 at 3`."""
        return f"from {self.branch}{at(self.positions)}"

    def apply(self, event: StageEvent, prompt_length: int) -> Any:
        """The output with the other branch's values at the chosen positions."""
        value = self.values(event.stage.address, event.token)
        if value is None:
            return event.output
        # A copy: what the model writes into its output must not reach the other branch.
        return changed_at(self.positions, event, prompt_length, lambda tensor: value.to(tensor.device, copy=True))


def changed_at(positions: Positions, event: StageEvent, prompt_length: int, make: Callable[[Tensor], Tensor]) -> Any:
    """The output of `event` with what `make` makes of its main tensor at the chosen positions, the rest as it is.

    `make` returns a tensor of its own. The output itself is returned where the forward runs over none of them. Raises
    EditError where they cannot be told apart.
    """
    tensor = main_tensor(event.output)
    if tensor is None:
        raise EditError(NO_TENSOR)
    if positions.all:
        return with_main_tensor(event.output, make(tensor))
    axis, chosen = chosen_in(positions, event, tensor, prompt_length)
    if not chosen:
        return event.output
    made = make(tensor)
    if made.shape != tensor.shape or made.dtype != tensor.dtype:
        return with_main_tensor(event.output, made)
    index = torch.tensor(chosen, device=tensor.device)
    return with_main_tensor(event.output, tensor.index_copy(axis, index, made.index_select(axis, index)))


def chosen_in(positions: Positions, event: StageEvent, tensor: Tensor, prompt_length: int) -> tuple[int, list[int]]:
    """Which dimension of a stage's tensor runs over positions, and which indices along it are chosen.

    Raises EditError where no dimension does.
    """
    first, axis, length = _extent(event, tensor, prompt_length)
    if axis is None:
        shape = list(tensor.shape)
        raise EditError(f"no dimension of {shape} runs over the {length} positions: leave out `at`, or say `at all`")
    return axis, positions.among(first, length)


def _extent(event: StageEvent, tensor: Tensor, prompt_length: int) -> tuple[int, int | None, int]:
    """The first position that a tensor runs over, the dimension that does, and how many positions."""
    newest = prompt_length + event.token - 1
    if event.trail:
        return newest, 0, 1
    if event.phase is Phase.PREFILL:
        # generate() asks the head for the newest position alone.
        single = tensor.dim() > 2 and tensor.numel() == tensor.shape[-1]
        return (newest, 1, 1) if single else (0, position_axis(tensor, prompt_length), prompt_length)
    everything = newest + 1
    if (axis := _whole_sequence(tensor, everything)) is not None:
        return 0, axis, everything
    return newest, position_axis(tensor, 1), 1


def _whole_sequence(tensor: Tensor, length: int) -> int | None:
    """The dimension that runs over all positions in a decode, where a model keeps no cache and runs over them again."""
    shape = tensor.shape
    if length > 1 and tensor.dim() > 2 and shape[1] == length and not (tensor.dim() > 3 and shape[2] == 1):
        return 1
    return 0 if length > 1 and tensor.dim() == 2 and shape[0] == length else None


def with_main_tensor(output: Any, tensor: Tensor) -> Any:
    """A copy of what a module returned with its main tensor replaced, its containers of the same types."""
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, dict):
        changed = copy.copy(output)
        key = next(key for key, item in output.items() if main_tensor(item) is not None)
        changed[key] = with_main_tensor(output[key], tensor)
        return changed
    items = list(output)
    index = next(index for index, item in enumerate(items) if main_tensor(item) is not None)
    items[index] = with_main_tensor(items[index], tensor)
    # A named tuple takes its items one by one, and has another way for all at once.
    make = getattr(output, "_make", type(output))
    return make(items)


def at(positions: Positions) -> str:
    """` at 3,5-7`, nothing for all positions."""
    return "" if positions.all else f" at {positions}"
