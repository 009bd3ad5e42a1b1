"""Sentences about breakpoints and targets that a run never reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.breakpoints.breakpoints import BreakpointKind
from llmdbg.models.stages import gradient_of, line_parts, op_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llmdbg.debugger.breakpoints.addresses import Target
    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.debugger.commands import Moved

_INSIDE_ATTENTION = ("softmax", "matmul", "bmm", "baddbmm")
"""Ops that an attention of several ops has, and a fused one has not."""


def never_hit(breakpoints: Iterable[Breakpoint]) -> Iterator[str]:
    """A sentence for each enabled breakpoint that was not hit in a whole run."""
    for each in breakpoints:
        if each.enabled and not each.hits:
            yield f"{each.kind} {each.number} ({each.target.text}) was never hit: {_reason(each)}"


def unhit_breakpoints(command: str, moved: Moved) -> str:
    """A sentence for a command that reached the end of the run instead of its target; empty for any other."""
    stop, sought = moved.stop, moved.sought
    if sought is None or stop.ended_by is None or (sought.names(stop.stage) and sought.at(stop.token)):
        return ""
    return f"`{command}` stopped at the end: {_why(sought)}"


def _reason(point: Breakpoint) -> str:
    if point.kind is BreakpointKind.WATCH:
        return "nothing it watches has changed"
    if point.must_hold():
        return "its condition never held"
    return _why(point.target)


def _why(target: Target) -> str:
    if any(map(op_parts, target.addresses)):
        apart = "torch takes some apart: `linear` runs as `t` and `mm` or `addmm`; `stepi` shows which"
        if any(each in target.text for each in _INSIDE_ATTENTION):
            apart += "; sdpa attention is one op, `aten._scaled_dot_product…`, which `--attn eager` takes apart"
        return f"no such op ran ({apart})"
    if any(map(line_parts, target.addresses)):
        return "the run ended without that line"
    if any(gradient_of(each) is not None for each in target.addresses):
        return "the run ended without that gradient (only what takes part in a backward has one)"
    hint = "" if target.token is not None else " (a module that only provides weights and is never called never runs)"
    return f"the run ended without that stage{hint}"
