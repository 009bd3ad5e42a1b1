"""`print`: evaluates the user's own Python, as in pdb, on a copy of the tensor."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llmdbg.debugger.editing.changes import own_copy
from llmdbg.debugger.inspection.bounded_repr import bounded_repr
from llmdbg.debugger.inspection.local_values import copied_locals
from llmdbg.debugger.known_values import known_of, refuse_unrecorded
from llmdbg.debugger.named_values import copies, given, returned
from llmdbg.debugger.user_code import QUITTERS, UserCodeError
from llmdbg.engine.debuggee import Capability, require
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.inspector import Inspector

_MOST = 4000  # characters
_TENSORS = (Tensor, torch.nn.Parameter)
_MOST_SOURCE = 60  # characters, in a message


def printed(inspector: Inspector, source: str) -> str:
    """The repr of an expression's value, 4000 characters at most. Raises CommandError if it fails or is stopped.

    The expression sees `torch`, `out` (a copy of the stop's main tensor, None without one), `inputs` (copies of the
    stage's positional arguments), `returned` and `given` (copies of all tensors that it returned and took, by name) and
    `model` (None if the debuggee has no live model); of the selected frame, every local that has another name, tensors
    copied.
    """
    return str(_evaluated(inspector, source, lambda value: bounded_repr(value, _MOST)))


def evaluated(inspector: Inspector, source: str) -> Tensor | str:
    """The value of an expression if it is a tensor, else its repr as `printed` returns it. Raises CommandError.

    The tensor is the expression's own, or a copy: what is done to it changes nothing of the run.
    """
    found: Tensor | str = _evaluated(
        inspector, source, lambda value: value.detach() if type(value) in _TENSORS else bounded_repr(value, _MOST)
    )
    return found


def _evaluated(inspector: Inspector, source: str, taken: Callable[[Any], Any]) -> Any:
    """What `taken` makes of the expression's value, in the thread of the user's own Python."""
    event = inspector.whole_event
    _refuse_unrecorded(inspector, source)
    out, module = main_tensor(event.output), inspector.anatomy.modules.get(event.stage.address)

    frames_own = copied_locals(inspector, _names_in(source))

    def value() -> Any:
        names: dict[str, Any] = {
            **QUITTERS,
            **frames_own,
            "out": None if out is None else out.clone(),
            "inputs": tuple(map(own_copy, event.args)),
            "returned": copies(returned(event, module)),
            "given": copies(given(event, module)),
            "model": None if inspector.debuggee.loaded is None else inspector.model,
            "torch": torch,
        }
        return taken(eval(compile(source, "<print>", "eval"), names))

    try:
        with torch.no_grad(), torch.random.fork_rng([], enabled=True):
            return inspector.run.user_code.run(value)
    except UserCodeError as error:
        raise CommandError(f"print {source[:_MOST_SOURCE]}: {error}") from error


def _refuse_unrecorded(inspector: Inspector, source: str) -> None:
    """Raise CommandError for an expression that uses what is missing in a recording."""
    if known_of(inspector.event) is None:
        return
    used = _names_in(source)
    if not used.isdisjoint({"out", "returned"}):
        refuse_unrecorded(inspector.event)
    if not used.isdisjoint({"inputs", "given"}):
        refuse_unrecorded(inspector.event, inputs=True)
    if "model" in used:
        require(inspector.debuggee, Capability.MODEL)


def _names_in(source: str) -> set[str]:
    """The names that an expression uses; none if it is not one, which is reported where it is run."""
    try:
        return {each.id for each in ast.walk(ast.parse(source, mode="eval")) if isinstance(each, ast.Name)}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
