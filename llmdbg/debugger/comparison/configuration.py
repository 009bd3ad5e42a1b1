"""How the modules of two models are set up: their class, and the numbers and words they keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.formatting import counted, listed
from llmdbg.models.anatomy import vocabulary_size

if TYPE_CHECKING:
    from torch import nn

    from llmdbg.debugger.comparison.side import LiveSide
    from llmdbg.models.anatomy import Anatomy

_NOT_COMPARED = frozenset(("training", "layer_idx", "config", "dtype", "device", "attn_implementation"))
_MOST = 3


def configuration_differences(reference: Anatomy, candidate: Anatomy) -> dict[str, str]:
    """For each stage whose module keeps other numbers or words than the reference's, which, in words."""
    found = {}
    for address, theirs in reference.modules.items():
        ours = candidate.modules.get(address)
        if ours is not None and (differing := _differing(theirs, ours)):
            found[address] = listed(differing[:_MOST])
    return found


def model_differences(reference: LiveSide, candidate: LiveSide, theirs: Anatomy, ours: Anatomy) -> list[str]:
    """How two models are made differently, a sentence each: class, number of layers, size of the vocabulary."""
    one, other = reference.loaded.model, candidate.loaded.model
    found = []
    if type(one).__name__ != type(other).__name__:
        found.append(f"the architectures differ: {type(other).__name__} instead of {type(one).__name__}")
    if len(theirs.layers()) != len(ours.layers()):
        layers = counted(len(ours.layers()), "layer")
        found.append(f"the candidate has {layers} instead of {len(theirs.layers())}")
    words, others = vocabulary_size(one), vocabulary_size(other)
    if words != others:
        found.append(f"the candidate's vocabulary has {others:,} tokens instead of {words:,}")
    return found


def _differing(theirs: nn.Module, ours: nn.Module) -> list[str]:
    one, other = _constants(theirs), _constants(ours)
    return [
        f"{name} is {other[name]!r} instead of {value!r}"
        for name, value in one.items()
        if name in other and other[name] != value and type(other[name]) is type(value)
    ]


def _constants(module: nn.Module) -> dict[str, object]:
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and name not in _NOT_COMPARED and isinstance(value, (bool, int, float, str))
    }
