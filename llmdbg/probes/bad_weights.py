"""Which of a module's parameters and buffers are not finite, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.models.whole_parameters import whole
from llmdbg.probes.finiteness import can_be_measured, extents

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class BadWeight:
    """A parameter or buffer of the stage that is not finite."""

    name: str
    """Its name in the module."""
    index: tuple[int, ...]
    """Index of its first such value."""
    value: float
    """That value: NaN or infinite."""
    nan: int
    """How many NaNs it holds."""
    inf: int
    """How many infinite values it holds."""


def bad_weights(module: nn.Module | None) -> tuple[BadWeight, ...]:
    """The non-finite parameters and buffers of a module, including those of modules inside it."""
    if module is None:
        return ()
    all_of_it = ((name, whole(each)) for name, each in (*module.named_parameters(), *module.named_buffers()))
    named = [each for each in all_of_it if can_be_measured(each[1])]
    measured = extents([(tensor, None) for _, tensor in named])
    return tuple(
        BadWeight(name, extent.first, extent.value, extent.nan, extent.inf)
        for (name, _), extent in zip(named, measured, strict=True)
        if extent.first is not None and extent.value is not None
    )
