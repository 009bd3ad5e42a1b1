"""What vLLM's modules are given and return, read as the residual stream that it is.

A decoder layer of vLLM takes and returns (hidden, residual): its norms add the two as they go, and the residual stream
is their sum. What transformers calls a layer's output, and a norm's input, is that sum. The fused kernels also write
into what they are given, so the sum is taken before a module runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.engine.stops import ValueView
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmdbg.models.anatomy import Anatomy


def views_of(anatomy: Anatomy) -> Mapping[str, ValueView]:
    """How to read each stage whose module takes a residual stream apart, or writes into its input, by address."""
    views: dict[str, ValueView] = {}
    for address, module in anatomy.modules.items():
        kind = anatomy.stage(address).kind
        if _takes_residual(module):
            views[address] = ResidualView() if kind is StageKind.LAYER else FusedNormView()
        elif "rotary" in type(module).__name__.lower():
            views[address] = CopiedInputs()
        else:
            views[address] = PlainView()
    return views


class PlainView:
    """A module whose values are what they seem."""

    def given(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments as they are."""
        return args

    def shown(self, output: Any) -> Any:
        """The output as it is."""
        return output

    def returned(self, shown: Any) -> Any:
        """A copy: the next module may write into it, and whoever has edited it may keep it."""
        return tuple(map(_copied, shown)) if isinstance(shown, tuple) else _copied(shown)


class CopiedInputs(PlainView):
    """A module that writes into what it is given."""

    def given(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, copied."""
        return tuple(map(_copied, args))


class FusedNormView(CopiedInputs):
    """A norm that adds what a block returned to the residual stream first: its input is the sum."""

    def given(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The sum alone, or the arguments as they are for a norm without a residual."""
        tensors = [each for each in args if isinstance(each, torch.Tensor)]
        return (_summed(tensors),) if len(tensors) == 2 and len(args) == 2 else super().given(args)


class ResidualView(CopiedInputs):
    """A decoder layer: what comes in and goes out is the residual stream, hidden + residual."""

    def given(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The other arguments, and the residual stream (tokens, width) in place of its two parts."""
        floating = [each for each in args if isinstance(each, torch.Tensor) and each.is_floating_point()]
        if len(floating) == 2 and floating[0].shape == floating[1].shape:
            rest = tuple(each for each in args if not any(each is part for part in floating))
            return (*rest, _summed(floating))
        return super().given(args)

    def shown(self, output: Any) -> Any:
        """The residual stream (tokens, width) of a pair; anything else as it is."""
        return _summed(output) if _is_pair(output) else output

    def returned(self, shown: Any) -> Any:
        """An edited residual stream as the pair of the stream and zeros, whose sum is the stream bit for bit."""
        return (shown.clone(), torch.zeros_like(shown)) if isinstance(shown, torch.Tensor) else super().returned(shown)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def _takes_residual(module: nn.Module) -> bool:
    # The class, since vLLM's custom operators choose among their forwards by platform.
    forward = getattr(type(module), "forward_native", type(module).forward)
    try:
        return "residual" in inspect.signature(forward).parameters
    except (TypeError, ValueError):
        return False


def _is_pair(output: Any) -> bool:
    return (
        isinstance(output, tuple)
        and len(output) == 2
        and all(isinstance(each, torch.Tensor) and each.is_floating_point() for each in output)
        and output[0].shape == output[1].shape
    )


def _summed(pair: Any) -> Tensor:
    hidden, residual = pair
    total: Tensor = hidden + residual
    return total
