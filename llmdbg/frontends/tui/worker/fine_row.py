"""Where a line, an op or a gradient that the run stands at appears among the stages.

A line or an op is in its module, after the parts that ran; a gradient after what it is the gradient of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.models.stages import gradient_of, line_parts, op_parts

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from llmdbg.debugger.debugger import Debugger
    from llmdbg.models.stages import Stage


def module_around(stage: Stage) -> str | None:
    """The address of the module that a line or an op belongs to; None for any other stage."""
    parts = (line_parts(stage.address) or op_parts(stage.address)) if stage.is_fine else None
    return None if parts is None else parts[0]


def ran_in_layer(debugger: Debugger, seen: Collection[str]) -> frozenset[str]:
    """At a line or an op, the modules of its layer that have run for this token, as far as that is known."""
    here, clock = debugger.stop.stage, debugger.debuggee.clock
    inside = module_around(here)
    if inside is None or here.layer is None:
        return frozenset()
    around = {inside, *(each.address for each in debugger.debuggee.anatomy.stages if _contains(each.address, inside))}
    layer = [each.address for each in debugger.debuggee.anatomy.stages if each.layer == here.layer]
    return frozenset(each for each in layer if each not in around and (each in seen or clock.began(each)))


def with_row(stages: tuple[Stage, ...], here: Stage, ran: Collection[str]) -> tuple[Stage, ...]:
    """The stages with that of a line, an op or a gradient among them."""
    if (of := gradient_of(here.address)) is not None:
        at = _after(stages, of)
        return (*stages[:at], here, *stages[at:])
    inside = module_around(here)
    if inside is None:
        return stages
    at = _place(stages, inside, ran)
    return (*stages[:at], here, *stages[at:])


def _after(stages: Sequence[Stage], of: str) -> int:
    """After a module, or that of a parameter; what the whole model returned is before the token is chosen."""
    addresses = [each.address for each in stages]
    found = next((each for each in (of, of.rpartition(".")[0]) if each in addresses), None)
    return len(addresses) - 1 if found is None else addresses.index(found) + 1


def _place(stages: Sequence[Stage], inside: str, ran: Collection[str]) -> int:
    addresses = [each.address for each in stages]
    if inside not in addresses:
        # What contains the layers is no stage, and neither before nor after any.
        return 1
    parts = [at for at, each in enumerate(addresses) if _contains(inside, each)]
    done = [at for at in parts if addresses[at] in ran]
    return max(done) + 1 if done else min(parts, default=addresses.index(inside))


def _contains(outer: str, address: str) -> bool:
    return address.startswith(f"{outer}.")
