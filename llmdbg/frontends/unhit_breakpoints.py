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
    from llmdbg.debugger.debugger import Debugger

_INSIDE_ATTENTION = ("softmax", "matmul", "bmm", "baddbmm")
"""Ops that an attention of several ops has, and a fused one has not."""


def attention_in(debugger: Debugger) -> str:
    """The attention implementation of the model that is debugged; empty where no model is."""
    loaded = debugger.debuggee.loaded
    return "" if loaded is None else loaded.attn


def never_hit(breakpoints: Iterable[Breakpoint], attn: str) -> Iterator[str]:
    """A sentence for each enabled breakpoint that was not hit in a whole run, of a model with this attention."""
    for each in breakpoints:
        if each.enabled and not each.hits:
            yield f"{each.kind} {each.number} ({each.target.text}) was never hit: {_reason(each, attn)}"


def unhit_breakpoints(command: str, moved: Moved, attn: str) -> str:
    """A sentence for a command that reached the end of the run instead of its target; empty for any other.

    `attn` is the model's attention implementation.
    """
    stop, sought = moved.stop, moved.sought
    if sought is None or stop.ended_by is None or (sought.names(stop.stage) and sought.at(stop.token)):
        return ""
    return f"`{command}` stopped at the end: {_why(sought, attn)}"


def _reason(point: Breakpoint, attn: str) -> str:
    if point.kind is BreakpointKind.WATCH:
        return "nothing it watches has changed"
    if point.must_hold():
        return "its condition never held"
    return _why(point.target, attn)


def _why(target: Target, attn: str) -> str:
    if any(map(op_parts, target.addresses)):
        apart = "torch takes some apart: `linear` runs as `t` and `mm` or `addmm`; `stepi` shows which"
        if attn == "sdpa" and any(each in target.text for each in _INSIDE_ATTENTION):
            apart += (
                "; sdpa attention is one op, `aten._scaled_dot_product…`, and eager attention is several "
                '(`--attn eager`, in a program `attn_implementation="eager"`)'
            )
        return f"no such op ran ({apart})"
    if any(map(line_parts, target.addresses)):
        return "the run ended without that line"
    if any(gradient_of(each) is not None for each in target.addresses):
        return "the run ended without that gradient (only what takes part in a backward has one)"
    hint = "" if target.token is not None else " (a module that only provides weights and is never called never runs)"
    return f"the run ended without that stage{hint}"
