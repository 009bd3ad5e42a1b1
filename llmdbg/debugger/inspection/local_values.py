"""The local variables of the selected frame: in one line each, and one of them in full."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from llmdbg.debugger.editing.changes import own_copy
from llmdbg.debugger.inspection.bounded_repr import bounded_repr
from llmdbg.debugger.inspection.described import described
from llmdbg.debugger.inspection.frames import Stack, addresses_by_module, function_name, returned_note, stack_of
from llmdbg.debugger.named_values import part_of
from llmdbg.debugger.user_code import UserCodeError
from llmdbg.display import Displayed
from llmdbg.engine.debuggee import HasFrames
from llmdbg.errors import CommandError
from llmdbg.formatting import nearest_or_all
from llmdbg.probes.statistics import Statistics, device_name, dtype_name, measure, read

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.inspector import Inspector

_MOST = 4000  # characters


@dataclass(frozen=True, slots=True)
class LocalValue:
    """A local variable."""

    name: str
    """Its name."""
    text: str
    """Its value in one line: `[1, 13, 576] float32 cpu`, `LlamaMLP 12.mlp`, `True`."""
    shape: tuple[int, ...] | None
    """A tensor's shape; None for any other value."""


@dataclass(frozen=True, slots=True, repr=False)
class Locals(Displayed):
    """The local variables of the selected frame."""

    frame: int | None
    """The frame's number; -1 for the forward that has returned, None if there is no frame."""
    function: str
    """Its function, as `info frames` names it; empty if there is no frame."""
    rows: tuple[LocalValue, ...]
    """The variables in the order of the function's code, its arguments first."""
    note: str
    """Why there are none, or what the frame is; empty if that is plain."""


def ask(inspector: Inspector, arguments: str = "") -> Locals | Statistics | str:
    """Answer `info locals [NAME]`: all in one line each, or the statistics of one tensor, or one value in full.

    Of a tuple, list or dict, `NAME.0` or `NAME.key` is one value. Raises CommandError for an unknown name, and for a
    debuggee without frames.
    """
    stack = stack_of(inspector)
    if arguments:
        return _one(inspector, stack, arguments)
    if stack.frame is None:
        gone = returned_note(inspector, stack) and f"{inspector.event.stage.address} has returned: its locals are gone"
        return Locals(stack.selected if gone else None, "", (), gone or "nothing is suspended here")
    addresses = addresses_by_module(inspector)
    rows = tuple(
        LocalValue(name, described(value, addresses), tuple(value.shape) if isinstance(value, Tensor) else None)
        for name, value in stack.frame.f_locals.items()
    )
    note = returned_note(inspector, stack) if stack.selected == 0 else ""
    return Locals(stack.selected, function_name(stack.frame), rows, note)


def tensor_names(inspector: Inspector) -> tuple[str, ...]:
    """The tensors among the locals of the selected frame at a line, an op or an exception, by name; else none."""
    if inspector.event.code is None or not isinstance(inspector.debuggee, HasFrames):
        return ()
    frame = stack_of(inspector).frame
    return () if frame is None else tuple(name for name, each in frame.f_locals.items() if isinstance(each, Tensor))


def copied_locals(inspector: Inspector, names: Collection[str]) -> dict[str, Any]:
    """Those of these names that the selected frame has, tensors copied, for the user's own Python."""
    if not isinstance(inspector.debuggee, HasFrames):
        return {}
    frame = stack_of(inspector).frame
    if frame is None:
        return {}
    values = frame.f_locals
    return {name: own_copy(values[name]) for name in names if name in values}


def _one(inspector: Inspector, stack: Stack, path: str) -> Statistics | str:
    if stack.frame is None:
        raise CommandError(
            f"{inspector.event.stage.address} has returned: its locals are gone, `up` shows its caller's"
        )
    first, *others = path.split(".")
    values = stack.frame.f_locals
    if first not in values:
        raise CommandError(f"{first!r} is no local of this frame: {nearest_or_all(first, tuple(values))}")
    value = values[first]
    for part in others:
        value = _part(value, part, path)
    if isinstance(value, Tensor):
        return Statistics(
            tuple(value.shape), dtype_name(value.dtype), device_name(value.device), read([measure(value)])[0]
        )
    try:
        return str(inspector.run.user_code.run(lambda: bounded_repr(value, _MOST)))
    except UserCodeError as error:
        raise CommandError(f"{path} cannot be shown: {error}") from error


def _part(value: Any, part: str, path: str) -> Any:
    try:
        return part_of(value, part)
    except KeyError:
        raise CommandError(f"{path} names nothing: {part!r} is no part of that value") from None
