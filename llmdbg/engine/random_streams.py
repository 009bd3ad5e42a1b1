"""The random streams a run draws from, isolated from draws by others while it is suspended.

Their states are saved at every suspension and restored on resuming, so the run's own draws between two suspensions are
never undone. Nothing cheaper is safe: a CPU generator cannot report whether anything was drawn from it, and a forward
may start drawing at any module of any token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class RandomStreams:
    """The process's own generators: the host's, and that of each GPU among `devices`.

    `states()` returns their states (about 2 µs on the CPU; does not wait for CUDA); `restore(states)` sets them back.
    """

    def __init__(self, devices: Iterable[torch.device] = ()) -> None:
        host = torch.default_generator
        gpus = sorted({device.index for device in devices if device.type == "cuda"})
        self._generators = (host, *(torch.cuda.default_generators[index] for index in gpus))
        # Usually there is only the host's, and this runs at every stop.
        self.states: Callable[[], Any] = self._all_states if gpus else host.get_state
        self.restore: Callable[[Any], object] = self._restore_all if gpus else host.set_state

    def _all_states(self) -> list[Tensor]:
        return [generator.get_state() for generator in self._generators]

    def _restore_all(self, states: list[Tensor]) -> None:
        for generator, state in zip(self._generators, states, strict=True):
            generator.set_state(state)
