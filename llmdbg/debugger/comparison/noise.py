"""Noise in the last bits of values: what a stage does to it is what rounding does to the stage."""

from __future__ import annotations

import torch
from torch import Tensor


class Noise:
    """A relative change of every value by up to `size`, drawn at random from a generator of its own."""

    def __init__(self, size: float) -> None:
        self.size = size
        self._generators: dict[torch.device, torch.Generator] = {}

    def on(self, values: Tensor) -> Tensor:
        """The values with noise, in their dtype; themselves without any, or if they are no floating-point numbers."""
        if not self.size or not values.is_floating_point():
            return values
        if (generator := self._generators.get(values.device)) is None:
            generator = self._generators[values.device] = torch.Generator(values.device).manual_seed(0)
        drawn = torch.rand(values.shape, generator=generator, device=values.device, dtype=torch.float32)
        return (values.to(torch.float64) * (1 + self.size * (2 * drawn - 1))).to(values.dtype)
