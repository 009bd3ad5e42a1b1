"""The random streams a run draws from, kept apart from what others draw while it is suspended.

They are noted whenever a run is suspended and put back when it goes on, wherever that is: what the run itself draws
between two suspensions is never taken back. Nothing cheaper is safe, since a generator on the CPU cannot be asked
whether anything was drawn from it, and a forward may begin to draw at any module of any token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class RandomStreams:
    """The process's own generators: the host's, and that of each GPU among `devices`.

    `states()` says where each stands (some 2 µs on the CPU, and CUDA is not waited for); `restore(states)` puts each
    back to there.
    """

    def __init__(self, devices: Iterable[torch.device] = ()) -> None:
        host = torch.default_generator
        gpus = sorted({device.index for device in devices if device.type == "cuda"})
        self._generators = (host, *(torch.cuda.default_generators[index] for index in gpus))
        # The host's alone is the usual case, and this runs at every stop.
        self.states: Callable[[], Any] = self._all_states if gpus else host.get_state
        self.restore: Callable[[Any], object] = self._restore_all if gpus else host.set_state

    def _all_states(self) -> list[Tensor]:
        return [generator.get_state() for generator in self._generators]

    def _restore_all(self, states: list[Tensor]) -> None:
        for generator, state in zip(self._generators, states, strict=True):
            generator.set_state(state)
