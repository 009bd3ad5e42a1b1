"""The random streams a run draws from, isolated from draws by others while it is suspended.

Their states are saved at every suspension and restored on resuming, so the run's own draws between two suspensions are
never undone. Nothing cheaper is safe: a CPU generator cannot report whether anything was drawn from it, and a forward
may start drawing at any module of any token.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class _Streams:
    """The states of all streams."""

    torch: Any
    """As without the others."""
    python: Any
    """Of the module `random`."""
    numpy: Any
    """Of NumPy's global stream."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter([self.torch] if isinstance(self.torch, Tensor) else self.torch)


def same_states(one: Any, other: Any) -> bool:
    """Whether two states of the streams are equal."""
    if isinstance(one, _Streams) or isinstance(other, _Streams):
        if not (isinstance(one, _Streams) and isinstance(other, _Streams)) or one.python != other.python:
            return False
        return all(map(np.array_equal, one.numpy, other.numpy)) and same_states(one.torch, other.torch)
    return torch.equal(one, other) if isinstance(one, Tensor) else all(map(torch.equal, one, other))


class RandomStreams:
    """The process's own generators: the host's, and that of each GPU among `devices`.

    `states()` returns their states (about 2 µs on the CPU; does not wait for CUDA); `restore(states)` sets them back.
    """

    def __init__(self, devices: Iterable[torch.device] = ()) -> None:
        host = torch.default_generator
        gpus = sorted({device.index for device in devices if device.type == "cuda"})
        self._generators = (host, *(torch.cuda.default_generators[index] for index in gpus))
        self._more = False
        # Usually there is only the host's, and this runs at every stop.
        self.states: Callable[[], Any] = self._all_states if gpus else host.get_state
        self.restore: Callable[[Any], object] = self._restore_all if gpus else host.set_state

    def include_python_and_numpy(self) -> None:
        """From now on, Python's and NumPy's own streams too: only code from outside transformers draws from those.

        It takes about 20 µs more at every suspension.
        """
        if self._more:
            return
        self._more = True
        states, restore = self.states, self.restore

        def all_states() -> Any:
            return _Streams(states(), random.getstate(), np.random.get_state())

        def restore_all(known: Any) -> None:
            if isinstance(known, _Streams):
                random.setstate(known.python)
                np.random.set_state(known.numpy)
                known = known.torch
            restore(known)

        self.states, self.restore = all_states, restore_all

    def _all_states(self) -> list[Tensor]:
        return [generator.get_state() for generator in self._generators]

    def _restore_all(self, states: list[Tensor]) -> None:
        for generator, state in zip(self._generators, states, strict=True):
            generator.set_state(state)
