"""The source of the selected frame with the line it is at, or of any module's forward."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.inspection.frames import (
    addresses_by_module,
    function_name,
    module_at,
    module_of,
    returned_note,
    stack_of,
)
from llmdbg.display import Displayed
from llmdbg.engine.debuggee import Capability, require
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from torch import nn

    from llmdbg.debugger.inspection.inspector import Inspector


@dataclass(frozen=True, slots=True, repr=False)
class SourceCode(Displayed):
    """The source of a function."""

    name: str
    """The function, after the class of its module or its own; empty if nothing runs here."""
    file: str = ""
    """Path of the file; empty if there is no Python source."""
    first_line: int = 0
    """Line number of `lines[0]`, from 1; 0 if there is no Python source."""
    lines: tuple[str, ...] = ()
    """The lines, without line ends."""
    current: int = 0
    """The line that the frame is at, from 1; 0 if no frame is in this function."""
    address: str = ""
    """The stage whose module runs it; empty if none does."""
    frame: int | None = None
    """The frame's number, -1 for the forward that has returned; None if the source of a stage was asked for."""
    note: str = ""
    """What the frame is, where that is not plain; empty otherwise."""


def source_of(module: nn.Module) -> SourceCode:
    """The source of a module's own forward."""
    kind = type(module)
    return _read(f"{kind.__name__}.forward", inspect.unwrap(kind.forward))


def source(inspector: Inspector, address: str = "") -> SourceCode:
    """The source of the selected frame, or of a stage's forward.

    Raises CommandError if the debuggee has no frames, or no module runs the stage, and AddressError for an unknown one.
    """
    if address:
        require(inspector.debuggee, Capability.MODEL)
        (first, *others) = inspector.run.stages.addresses.resolve(address).addresses
        module = module_at(inspector, first)
        if others or module is None:
            raise CommandError(f"{address} is not one module: `info source` takes one")
        return replace(source_of(module), address=first)
    stack = stack_of(inspector)
    note = returned_note(inspector, stack) if stack.selected <= 0 else ""
    if stack.frame is None:
        if stack.returned is None:
            return SourceCode("")
        here = inspector.event.stage.address
        return replace(source_of(stack.returned), address=here, frame=stack.selected, note=note)
    found = _read(function_name(stack.frame), stack.frame.f_code)
    run_by = addresses_by_module(inspector).get(id(module_of(stack.frame)), "")
    return replace(found, current=stack.line, address=run_by, frame=stack.selected, note=note)


def _read(name: str, function: Any) -> SourceCode:
    try:
        lines, first = inspect.getsourcelines(function)
        file = inspect.getsourcefile(function) or ""
    except (OSError, TypeError):
        return SourceCode(name)
    return SourceCode(name, file, max(first, 1), tuple(line.rstrip() for line in lines))
