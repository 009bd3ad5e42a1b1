"""Modules that do not run as the Python that is read: compiled by torch.compile, TorchScript, captured in CUDA graphs.

Hooks are called around such a module. What happens inside it is another matter, and how to switch it off is said.
torch has no public names for what it marks them with; `tests/models/test_compiled.py` fails when one is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn

_MOST_NAMED = 3
_SWITCH_OFF = "set TORCH_COMPILE_DISABLE=1 to run it as it is written"
_TAKEN_APART = f"a stop inside takes it apart, which may change its bits and takes long; {_SWITCH_OFF}"
WRAPPER = "OptimizedModule"
"""The class of what `torch.compile` returns for a module."""


def notes_on_compiled(model: nn.Module) -> list[str]:
    """A sentence for each way in which parts of a model do not run as plain Python; none for nearly all models."""
    named = list(model.named_modules())
    compiled = [name for name, each in named if is_compiled(each)]
    scripted = [name for name, each in _outermost(named) if isinstance(each, torch.jit.ScriptModule)]
    graphed = [name for name, each in named if _is_graphed(each)]
    notes = []
    if compiled:
        notes.append(f"{_listed(compiled)} {_is(compiled)} compiled (torch.compile): {_TAKEN_APART}")
    if scripted:
        notes.append(
            f"{_listed(scripted)} {_is(scripted)} TorchScript, with no Python inside: stops, lines and operations "
            "there are not reached; set PYTORCH_JIT=0 for torch.jit.script, or load the model that was traced"
        )
    if graphed:
        notes.append(
            f"{_listed(graphed)} {_is(graphed)} replayed from a CUDA graph, with no Python inside: stops there are "
            "not reached; leave out torch.cuda.make_graphed_callables"
        )
    return notes


def notes_on_compiling(model: nn.Module, *, is_whole: bool, said: Sequence[str] = ()) -> list[str]:
    """What torch.compile does to the stops of a model that it reads: a sentence, unless it is `said` already.

    `is_whole` is with `fullgraph=True`.
    """
    name = type(model).__name__
    if is_whole:
        return [
            f"{name} is compiled with fullgraph=True, which allows no stop inside: nothing stops there; {_SWITCH_OFF}"
        ]
    if any(each.endswith(_TAKEN_APART) for each in said):
        return []
    return [f"{name} is called in compiled code (torch.compile): {_TAKEN_APART}"]


def is_compiled(module: nn.Module) -> bool:
    """Whether torch.compile stands between the module's callers and its forward."""
    forward: Any = module.__dict__.get("forward")
    return (
        getattr(module, "_compiled_call_impl", None) is not None
        or type(module).__name__ == WRAPPER
        or hasattr(forward, "_torchdynamo_orig_callable")
    )


def _is_graphed(module: nn.Module) -> bool:
    """Whether `make_graphed_callables` has put a function of its own in the place of the module's forward."""
    forward: Any = module.__dict__.get("forward")
    return getattr(forward, "__module__", None) == torch.cuda.make_graphed_callables.__module__


def _outermost(named: list[tuple[str, nn.Module]]) -> Iterator[tuple[str, nn.Module]]:
    """Those that lie in no TorchScript module."""
    inside: tuple[str, ...] = ()
    for name, module in named:
        if not name.startswith(inside) or not inside:
            yield name, module
            if isinstance(module, torch.jit.ScriptModule):
                inside = (*inside, f"{name}." if name else "")


def _listed(names: list[str]) -> str:
    shown = [each or "the model" for each in names[:_MOST_NAMED]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
