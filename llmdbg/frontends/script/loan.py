"""Restores what a session borrows from the caller's program: a loaded model, and the process's random streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from llmdbg.engine.model_memory.module_state import ModuleState
from llmdbg.engine.random_streams import CALLERS_STREAMS, draws_from_torch_alone

if TYPE_CHECKING:
    from torch import nn

    from llmdbg.engine.model_memory.module_state import State


@dataclass(slots=True)
class _Loan:
    """A borrowed model's state before its first session."""

    training: tuple[tuple[nn.Module, bool], ...]
    """Each module and whether it was in train mode."""
    memory: ModuleState
    """Reads and restores the state that modules keep."""
    remembered: State
    """That state, as it was."""
    borrowers: int = 0
    """How many sessions use the model now."""


_LOANS: WeakKeyDictionary[nn.Module, _Loan] = WeakKeyDictionary()


def borrow(model: nn.Module) -> Callable[[], None]:
    """Put a model in eval mode. Returns a function to call once, which gives it back.

    Several sessions may borrow a model at the same time. The last to give it back restores it as the first found it.
    """
    loan = _LOANS.get(model)
    if loan is None:
        memory = ModuleState(model)
        modes = tuple((module, module.training) for module in model.modules())
        loan = _LOANS[model] = _Loan(modes, memory, memory.now())
        model.eval()
    loan.borrowers += 1
    return lambda: _give_back(model)


def _give_back(model: nn.Module) -> None:
    loan = _LOANS[model]
    loan.borrowers -= 1
    if loan.borrowers:
        return
    del _LOANS[model]
    for module, training in loan.training:
        module.training = training
    loan.memory.restore(loan.remembered)


@contextmanager
def untouched_random_streams(model: nn.Module | None = None) -> Iterator[None]:
    """Restore Python's, NumPy's and torch's random streams afterwards: a run seeds them and draws from them.

    `model` is the one that runs; None for any.
    """
    # Asking an unused GPU would initialise CUDA.
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(gpus), CALLERS_STREAMS.kept():
        if model is None or not draws_from_torch_alone(model):
            CALLERS_STREAMS.about_to_be_used()
        yield
