"""The Python frames of the suspended forward: the layer that called this module, the model, and so on to `generate()`.

- A stop is after its module, in a hook: the module's own frame is gone by then, and its caller is the innermost one.
- llmdbg's own frames are left out, and so are those that only pass a call on: torch's `Module.__call__` and the
  decorators of torch and transformers.
- At an exception the innermost frames are those it has left, its traceback's; the first outside of torch is selected.
- A frame belongs to the suspended run and is never kept: only its number is.
"""

from __future__ import annotations

import linecache
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.inspection.frame_selection import RETURNED
from llmdbg.debugger.post_mortem import failed_frames, own_frame
from llmdbg.debugger.shown_frames import is_left_out
from llmdbg.display import Displayed
from llmdbg.engine.debuggee import Capability, HasFrames, require
from llmdbg.errors import CommandError
from llmdbg.formatting import printable

if TYPE_CHECKING:
    from types import FrameType

    from torch import nn

    from llmdbg.debugger.inspection.inspector import Inspector


@dataclass(frozen=True, slots=True, repr=False)
class FrameRow(Displayed):
    """One frame."""

    number: int
    """From 0, the innermost; -1 for the forward that has just returned, whose frame is gone."""
    address: str
    """The stage whose module it runs; empty if it runs none."""
    function: str
    """The function, after the module's class or its own: `LlamaAttention.forward`."""
    file: str
    """Path of its source file."""
    line: int
    """The line it is at, from 1; of a forward that has returned, the one it begins at."""
    code: str
    """That line, without its indentation; empty if there is no source."""
    selected: bool
    """Whether `info source`, `info locals` and `print` are about it."""


@dataclass(frozen=True, slots=True, repr=False)
class FrameList(Displayed):
    """The frames of a stop."""

    rows: tuple[FrameRow, ...]
    """From the innermost to `generate()`."""
    note: str
    """Why the stage's own frame is not among them; empty if it is, or if the stage runs no module."""


@dataclass(frozen=True, slots=True)
class Stack:
    """The live frames of a stop. Valid until the run resumes, and not to be kept."""

    frames: tuple[FrameType, ...]
    """From the innermost on."""
    returned: nn.Module | None
    """The module of this stage, if its forward has returned."""
    stop: Hashable
    """What tells this stop from others."""
    selected: int
    """The number of the selected frame; -1 for the forward that has returned."""
    lines: tuple[int, ...]
    """The line that each frame is at, from 1; of one that an exception has left, the one that failed."""

    @property
    def frame(self) -> FrameType | None:
        """The selected frame; None for the forward that has returned, or if there is none."""
        return self.frames[self.selected] if 0 <= self.selected < len(self.frames) else None

    @property
    def line(self) -> int:
        """The line that the selected frame is at, from 1; 0 if there is none."""
        return 0 if self.frame is None else self.lines[self.selected]


def stack_of(inspector: Inspector) -> Stack:
    """The frames of the current stop. Raises CommandError for a debuggee that has none, such as a recording."""
    debuggee = inspector.debuggee
    if not isinstance(debuggee, HasFrames):
        require(debuggee, Capability.MODEL)  # which says why a recording has none
        raise CommandError(f"{printable(debuggee.name)} has no Python frames here")
    error = inspector.event.error
    left = () if error is None else failed_frames(error)
    gone = {each.frame for each in left}
    live = [each for each in debuggee.frames() if each not in gone and not is_left_out(each.f_code)]
    frames = (*(each.frame for each in left), *live)
    lines = (*(each.line for each in left), *(each.f_lineno or 0 for each in live))
    module = None if error is not None else module_at(inspector, inspector.event.stage.address)
    returned = module if module is not None and not any(module_of(each) is module for each in frames) else None
    stop = (inspector.run.place, *((each.f_code, each.f_lineno) for each in frames[:1]))
    number = inspector.selected_frame.at(stop, own_frame(left))
    return Stack(frames, returned, stop, number if number >= 0 or returned is not None else 0, lines)


def module_at(inspector: Inspector, address: str) -> nn.Module | None:
    """The module that runs a stage; None if none does, or if the model is not at hand."""
    found, loaded = inspector.anatomy.modules.get(address), inspector.debuggee.loaded
    if found is None and address == "logits" and loaded is not None:
        head: nn.Module | None = loaded.model.get_output_embeddings()
        return head
    return found


def frames(inspector: Inspector) -> FrameList:
    """Answer `info frames`. Raises CommandError for a debuggee that has none."""
    stack, addresses = stack_of(inspector), addresses_by_module(inspector)
    numbers = ([RETURNED] if stack.returned is not None else []) + list(range(len(stack.frames)))
    return FrameList(
        tuple(_row(inspector, stack, each, addresses) for each in numbers), returned_note(inspector, stack)
    )


def select(inspector: Inspector, number: int) -> FrameRow:
    """Select a frame by its number. Raises CommandError if there is none with it."""
    stack = stack_of(inspector)
    if not stack.frames and stack.returned is None:
        raise CommandError("nothing is suspended here, so there are no frames")
    if not _first(stack) <= number < len(stack.frames):
        raise CommandError(f"there is no frame {number}: they are {_first(stack)} to {len(stack.frames) - 1}")
    inspector.selected_frame.select(stack.stop, number)
    return _row(inspector, stack_of(inspector), number, addresses_by_module(inspector))


def move(inspector: Inspector, by: int) -> FrameRow:
    """Select the frame `by` callers further out (below zero: further in), or the last on the way.

    Raises CommandError if the selected one is the last already.
    """
    stack = stack_of(inspector)
    wanted = max(_first(stack), min(len(stack.frames) - 1, stack.selected + by))
    if wanted == stack.selected:
        raise CommandError("this is the outermost frame" if by > 0 else "this is the innermost frame")
    return select(inspector, wanted)


def returned_note(inspector: Inspector, stack: Stack) -> str:
    """Why the stage's own frame is not among the frames; empty if it is, or if the stage runs no module."""
    if stack.returned is None:
        return ""
    name = type(stack.returned).__name__
    return f"{inspector.event.stage.address} ({name}) has returned, and its own frame is gone: 0 is its caller"


def module_of(frame: FrameType) -> nn.Module | None:
    """The module whose method a frame runs; None if it runs none."""
    from torch import nn

    code = frame.f_code
    if not code.co_argcount:
        return None
    # Asked for only where it can matter: reading the locals of a frame keeps what they hold until it returns.
    owner = frame.f_locals.get(code.co_varnames[0])
    return owner if isinstance(owner, nn.Module) else None


def function_name(frame: FrameType) -> str:
    """`LlamaAttention.forward`: the function with the class of the module that runs it, or with its own."""
    module, code = module_of(frame), frame.f_code
    return code.co_qualname if module is None else f"{type(module).__name__}.{code.co_name}"


def addresses_by_module(inspector: Inspector) -> Mapping[int, str]:
    """The address of each module, by the module's `id`; the first of several."""
    return {id(module): address for address, module in reversed(list(inspector.anatomy.modules.items()))}


def _first(stack: Stack) -> int:
    return 0 if stack.returned is None else RETURNED


def _row(inspector: Inspector, stack: Stack, number: int, addresses: Mapping[int, str]) -> FrameRow:
    if number == RETURNED:
        assert stack.returned is not None
        code: Any = getattr(type(stack.returned).forward, "__code__", None)
        file, line = ("", 0) if code is None else (code.co_filename, code.co_firstlineno)
        function, address = f"{type(stack.returned).__name__}.forward", inspector.event.stage.address
    else:
        frame = stack.frames[number]
        file, line, function = frame.f_code.co_filename, stack.lines[number], function_name(frame)
        address = addresses.get(id(module_of(frame)), "")
    text = linecache.getline(file, line).strip() if number != RETURNED else ""
    return FrameRow(number, address, function, file, line, text, number == stack.selected)
