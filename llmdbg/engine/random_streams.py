"""The random streams a run draws from, isolated from draws by others while it is suspended.

Their states are saved at every suspension and restored on resuming, so the run's own draws between two suspensions are
never undone. Nothing cheaper is safe: a CPU generator cannot report whether anything was drawn from it, and a forward
may start drawing at any module of any token.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llmdbg.models.remembered import remembered

_DRAW_FROM_TORCH_ALONE = ("torch", "transformers", "accelerate", "bitsandbytes", "peft", "torchao")


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


class CallersStreams:
    """Python's and NumPy's own streams as whoever calls llmdbg has left them.

    They are noted once something is about to draw from them or to seed them, and not at every command: copying NumPy's
    takes 30 µs, and most commands leave them alone.
    """

    def __init__(self) -> None:
        self._kept = False
        self._noted: tuple[Any, Any] | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Put them back after the `with` block if `about_to_be_used` was told of a use. Blocks may nest."""
        outside = self._kept, self._noted
        self._kept, self._noted = True, None
        try:
            yield
        finally:
            self._put_back()
            self._kept, self._noted = outside

    def _put_back(self) -> None:
        if self._noted is not None:
            python, numpy = self._noted
            random.setstate(python)
            np.random.set_state(numpy)

    def about_to_be_used(self) -> None:
        """Note them, unless they have been, or nobody wants them back."""
        if self._kept and self._noted is None:
            self._noted = random.getstate(), np.random.get_state()


CALLERS_STREAMS = CallersStreams()
"""Those of this process."""


@remembered
def draws_from_torch_alone(model: nn.Module) -> bool:
    """Whether all modules are of libraries that draw from torch's streams only."""
    return all(type(each).__module__.partition(".")[0] in _DRAW_FROM_TORCH_ALONE for each in model.modules())


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

    def seed(self, seed: int) -> None:
        """Seed every stream of the process, as `transformers.set_seed` does: Python's, NumPy's and torch's.

        That function is in a module for training, which imports PEFT where it is installed: 800 modules, 0.7 s.
        """
        CALLERS_STREAMS.about_to_be_used()
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)

    @classmethod
    def of_programs(cls, devices: Iterable[torch.device]) -> RandomStreams:
        """Every stream that a program may draw from."""
        streams = cls(devices)
        streams.include_python_and_numpy()
        return streams

    def include_python_and_numpy(self) -> None:
        """From now on, Python's and NumPy's own streams too: only code from outside transformers draws from those.

        It takes about 150 µs more at every suspension.
        """
        if self._more:
            return
        self._more = True
        CALLERS_STREAMS.about_to_be_used()
        states, restore = self.states, self.restore

        def all_states() -> Any:
            return _Streams(states(), random.getstate(), np.random.get_state())

        def restore_all(known: Any) -> None:
            if isinstance(known, _Streams):
                CALLERS_STREAMS.about_to_be_used()
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
