"""The random streams a run draws from, kept apart from what others draw while it is suspended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class RandomStreams:
    """The process's own generators: the host's, and that of each device a run is on."""

    def __init__(self, generators: Iterable[torch.Generator]) -> None:
        self._generators = tuple(generators)

    @classmethod
    def of(cls, devices: Iterable[torch.device]) -> RandomStreams:
        """The streams a forward over these devices may draw from."""
        gpus = sorted({device.index for device in devices if device.type == "cuda"})
        return cls((torch.default_generator, *(torch.cuda.default_generators[index] for index in gpus)))

    def states(self) -> list[Tensor]:
        """Where each stream stands, as bytes on the host. Microseconds on the CPU, and CUDA is not waited for."""
        return [generator.get_state() for generator in self._generators]

    def restore(self, states: Sequence[Tensor]) -> None:
        """Put each stream back to where it stood."""
        for generator, state in zip(self._generators, states, strict=True):
            generator.set_state(state)

    def stand_at(self, states: Sequence[Tensor]) -> bool:
        """Whether nothing has been drawn since `states`."""
        return all(torch.equal(now, then) for now, then in zip(self.states(), states, strict=True))
