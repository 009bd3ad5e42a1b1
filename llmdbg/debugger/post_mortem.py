"""The frames that an exception has left on its way out of a forward, and the tensors that its line used.

The frames have ended, but the traceback keeps them with their locals. The exception owns them: nothing here keeps one.
"""

from __future__ import annotations

import ast
import linecache
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.shown_frames import is_left_out, is_of_torch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType, TracebackType

    from torch import Tensor

_LONGEST = 200  # lines of one expression


@dataclass(frozen=True, slots=True)
class FailedFrame:
    """A frame that an exception has left."""

    frame: FrameType
    """The frame, with its locals as they were."""
    line: int
    """The line that failed, from 1; the frame's own number may be that of a `finally` since."""
    instruction: int
    """The offset of the instruction that failed."""


def failed_frames(error: BaseException) -> tuple[FailedFrame, ...]:
    """The frames of an exception's traceback, innermost first, without those that are not shown."""
    found: list[FailedFrame] = []
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        if not is_left_out(traceback.tb_frame.f_code):
            line = traceback.tb_lineno or traceback.tb_frame.f_code.co_firstlineno
            found.append(FailedFrame(traceback.tb_frame, line, traceback.tb_lasti))
        traceback = traceback.tb_next
    return tuple(reversed(found))


def own_frame(frames: Sequence[FailedFrame]) -> int:
    """The number of the innermost frame outside of torch, from 0; 0 if all are torch's."""
    return next((number for number, each in enumerate(frames) if not is_of_torch(each.frame.f_code)), 0)


def tensors_used(frames: Sequence[FailedFrame]) -> list[tuple[str, Tensor]]:
    """The tensors that the failing expression names, by name.

    They are those of the innermost frame that names any, as far out as the one outside of torch.
    """
    for each in frames[: own_frame(frames) + 1]:
        if found := _named_in(each):
            return found
    return []


def _named_in(failed: FailedFrame) -> list[tuple[str, Tensor]]:
    tree = _expression(failed)
    if tree is None:
        return []
    # Imported here: the screen imports this before it needs torch.
    from torch import Tensor

    found: dict[str, Tensor] = {}
    values = failed.frame.f_locals
    for node in ast.walk(tree):
        value = None
        if isinstance(node, ast.Name):
            value = values.get(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            value = _registered(values.get(node.value.id), node.attr)
        if isinstance(value, Tensor):
            found[ast.unparse(node)] = value
    return list(found.items())


def _registered(module: Any, name: str) -> Any:
    """A module's parameter or buffer, read without running code of its class."""
    from torch import nn

    if not isinstance(module, nn.Module):
        return None
    return module._parameters.get(name, module._buffers.get(name))


def _expression(failed: FailedFrame) -> ast.AST | None:
    """What the failing instruction was made of; its whole line where that is no expression of its own."""
    code = failed.frame.f_code
    position = next(islice(code.co_positions(), failed.instruction // 2, None), None)
    first, last, begin, end = position or (None, None, None, None)
    if first is None or last is None or begin is None or end is None or last - first > _LONGEST:
        return _parsed(linecache.getline(code.co_filename, failed.line).strip())
    # The offsets of an instruction count bytes.
    lines = [linecache.getline(code.co_filename, each).encode() for each in range(first, last + 1)]
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][begin:]
    return _parsed(b"".join(lines).decode(errors="replace"))


def _parsed(text: str) -> ast.AST | None:
    for attempt in (f"({text})", text):
        try:
            return ast.parse(attempt)
        except (SyntaxError, ValueError):
            continue
    return None
