"""What an edit does to the value at a stage.

- A change makes a new output and never writes into the model's own tensors: a cache or a residual may share them.
- It replaces the main tensor of what a module returned (`engine.stage_event.main_tensor`), inside the same container.
- It changes only its own positions, in the forwards that cover them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor

from llmdbg.debugger.positions import positions as positions_of
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import EditError
from llmdbg.models.stages import Phase
from llmdbg.probes.statistics import dtype_name, position_axis

if TYPE_CHECKING:
    from llmdbg.engine.stage_event import StageEvent

NO_TENSOR = "there is no tensor to change here"


class OtherRun(Protocol):
    """Another run, whose values can stand in the place of this one's: a branch, a live model or a recording."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    def missing(self, token: int, address: str) -> str | None:
        """Why it has no value of a stage at a generated token, in a line; None if it may have one."""

    def value(self, token: int, address: str, call: int) -> Tensor | None:
        """The main tensor that the `call`-th call of a stage returned, on any device; None if there is none.

        It is valid until the next question. Called inside a forward. Raises EditError if the other run fails.
        """


@dataclass(frozen=True, slots=True)
class Positions:
    """Positions of the sequence. Without spans and without `newest`, all of them."""

    spans: tuple[tuple[int, int], ...] | None = None
    """First and last position of each span, both included, counted from 0; None for none."""
    newest: bool = False
    """Whether the newest position fed is one of them."""

    @property
    def all(self) -> bool:
        """Whether every position is meant."""
        return self.spans is None and not self.newest

    def among(self, first: int, length: int) -> list[int]:
        """Those of the `length` positions from `first` on, as sorted offsets from `first`."""
        if self.all:
            return list(range(length))
        chosen = {length - 1} if self.newest else set()
        for low, high in self.spans or ():
            chosen.update(range(max(low - first, 0), min(high - first + 1, length)))
        return sorted(chosen)

    def __str__(self) -> str:
        """As the user types them: `3,5-7,last`."""
        if self.all:
            return "all"
        spans = [str(low) if low == high else f"{low}-{high}" for low, high in self.spans or ()]
        return ",".join([*spans, *(["last"] if self.newest else [])])


EVERYWHERE = Positions()


class ValueChange(Protocol):
    """What an edit does to the output of a stage."""

    @property
    def on_input(self) -> bool:
        """Whether it recomputes the output from a changed input."""

    def describe(self) -> str:
        """Say in a few words what it does."""

    def apply(self, event: StageEvent, prompt_length: int) -> Any:
        """The whole new output, or the same object as `event.output` if nothing changes. Raises EditError."""


@dataclass(frozen=True, slots=True)
class Zero:
    """Sets the output to 0."""

    positions: Positions = EVERYWHERE
    """Where in the sequence."""
    on_input: ClassVar[bool] = False
    """It changes the output, not the input."""

    def describe(self) -> str:
        """`zero at 3,5-7`."""
        return f"zero{at(self.positions)}"

    def apply(self, event: StageEvent, prompt_length: int) -> Any:
        """The output with zeros at the chosen positions."""
        return changed_at(self.positions, event, prompt_length, torch.zeros_like)


@dataclass(frozen=True, slots=True)
class Scale:
    """Multiplies the output by a number."""

    factor: float
    """Finite."""
    positions: Positions = EVERYWHERE
    """Where in the sequence."""
    on_input: ClassVar[bool] = False
    """It changes the output, not the input."""

    def describe(self) -> str:
        """`× 0.5 at last`."""
        return f"× {self.factor:g}{at(self.positions)}"

    def apply(self, event: StageEvent, prompt_length: int) -> Any:
        """The output, multiplied at the chosen positions."""
        return changed_at(self.positions, event, prompt_length, lambda tensor: tensor * self.factor)


@dataclass(frozen=True, slots=True)
class Patch:
    """Replaces the output by the stage's value in another run; leaves it where that run has no value."""

    run: OtherRun
    """The other run."""
    positions: Positions = EVERYWHERE
    """Where in the sequence."""
    on_input: ClassVar[bool] = False
    """It changes the output, not the input."""

    def describe(self) -> str:
        """`from b2 at 3`."""
        return f"from {self.run.name}{at(self.positions)}"

    def apply(self, event: StageEvent, prompt_length: int) -> Any:
        """The output with the other run's values at the chosen positions, in its own dtype.

        Raises EditError for a value of another shape.
        """
        value, tensor = self.run.value(event.token, event.stage.address, event.call), main_tensor(event.output)
        if value is None or tensor is None:
            return event.output
        if value.shape != tensor.shape:
            theirs, address = f"{described(value)} in {self.run.name}", event.stage.address
            raise EditError(f"{address} is {theirs} and {described(tensor)} here: only the same shape can stand here")
        # A copy: what the model writes into its output must not reach the other run.
        return changed_at(
            self.positions, event, prompt_length, lambda ours: value.to(ours.device, ours.dtype, copy=True)
        )


def changed_at(positions: Positions, event: StageEvent, prompt_length: int, make: Callable[[Tensor], Tensor]) -> Any:
    """The output of `event` with its main tensor replaced by `make(tensor)` at `positions`, otherwise unchanged.

    `make` must return a new tensor. Returns `event.output` itself if the forward covers none of the positions. Raises
    EditError if no dimension of the tensor runs over positions.
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
    """The dimension of a stage's tensor that runs over positions, and the chosen indices along it.

    Raises EditError if no dimension does.
    """
    first, axis, length = _extent(event, tensor, prompt_length)
    if axis is None:
        shape = list(tensor.shape)
        raise EditError(f"no dimension of {shape} runs over the {length} positions: leave out `at`, or say `at all`")
    return axis, positions.among(first, length)


def _extent(event: StageEvent, tensor: Tensor, prompt_length: int) -> tuple[int, int | None, int]:
    """The first position that a tensor covers, its dimension over positions (or None), and how many it covers."""
    if event.span is not None:
        first, length = positions_of(event, prompt_length)
        return first, 0 if event.trail else position_axis(tensor, length), length
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
    """The dimension over all positions in a decode forward of a model without a KV cache, which recomputes them all."""
    shape = tensor.shape
    if length > 1 and tensor.dim() > 2 and shape[1] == length and not (tensor.dim() > 3 and shape[2] == 1):
        return 1
    return 0 if length > 1 and tensor.dim() == 2 and shape[0] == length else None


def with_main_tensor(output: Any, tensor: Tensor) -> Any:
    """A copy of a module's output with its main tensor replaced, in containers of the same types."""
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
    # A named tuple's constructor takes its items one by one; `_make` takes an iterable.
    make = getattr(output, "_make", type(output))
    return make(items)


def described(tensor: Tensor) -> str:
    """`bfloat16[1, 12, 64]`."""
    return f"{dtype_name(tensor.dtype)}{list(tensor.shape)}"


def own_copy(value: Any) -> Any:
    """A module's argument with its main tensor cloned, so that the user may write into it."""
    tensor = main_tensor(value)
    return value if tensor is None else with_main_tensor(value, tensor.clone())


def at(positions: Positions) -> str:
    """` at 3,5-7`, or nothing for all positions."""
    return "" if positions.all else f" at {positions}"
