"""What a run was to stop at and never reached, as sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.breakpoints.breakpoints import BreakpointKind
from llmdbg.debugger.commands import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llmdbg.debugger.breakpoints.addresses import Target
    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.debugger.execution.session import Session
    from llmdbg.debugger.execution.stop import Stop


def never_hit(breakpoints: Iterable[Breakpoint]) -> Iterator[str]:
    """A sentence for each breakpoint that waited for a whole run in vain."""
    for each in breakpoints:
        if each.enabled and not each.hits:
            yield f"{each.kind} {each.number} ({each.target.text}) was never hit: {_reason(each)}"


def unhit_breakpoints(session: Session, command: str, stop: Stop) -> str:
    """A sentence for an `until` or `goto` that came to the end of the run instead, else nothing."""
    word, _, address = command.partition(" ")
    if stop.ended_by is None or COMMANDS.find(word).name not in ("until", "goto"):
        return ""
    target = session.addresses.resolve(address)
    there = stop.stage.address in target.addresses and target.at(stop.token)
    return "" if there else f"`{command}` stopped at the end: {_why(target)}"


def _reason(point: Breakpoint) -> str:
    if point.kind is BreakpointKind.WATCH:
        return "nothing it watches has changed"
    if point.condition is not None:
        return "its condition never held"
    return _why(point.target)


def _why(target: Target) -> str:
    hint = (
        "" if target.token is not None else " (a module that is never called, and only lends its weights, never runs)"
    )
    return f"the run ended without that stage{hint}"
