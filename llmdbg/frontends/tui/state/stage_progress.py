"""Which stages of the current token have run and which are still to come, and when a breakpoint will next be hit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.breakpoints.breakpoints import BreakpointKind
from llmdbg.frontends.tui.worker.execution_order import known_first, path_in_layer
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.frontends.tui.state.stage_tree import StageTree
    from llmdbg.frontends.tui.worker.snapshot import Snapshot
    from llmdbg.models.stages import Stage

_AFTER_THE_FORWARD = (StageKind.LOGITS, StageKind.PROCESSOR, StageKind.SAMPLE)


def has_run(shown: Snapshot, tree: StageTree, address: str) -> bool | None:
    """Whether a stage has run for the current token; None if the order in which it runs is not known yet."""
    here = shown.stop.stage
    if address == here.address:
        return True
    known = _comes_first(shown, tree, address, here)
    return (True if address in shown.seen else None) if known is None else known


def can_be_looked_at(shown: Snapshot, tree: StageTree, address: str) -> bool:
    """Whether a stage has run for the current token, as far as is known.

    Once there are scores the whole forward has run, modules outside the layers included.
    """
    ran = has_run(shown, tree, address)
    return ran is True or (ran is None and shown.stop.stage.kind in _AFTER_THE_FORWARD)


def way_to(shown: Snapshot, tree: StageTree, address: str) -> str:
    """The command that goes to a stage: back to one that has run for the current token, or else on to it."""
    ran = address != shown.stop.stage.address and can_be_looked_at(shown, tree, address)
    if not (ran and shown.goes_back):
        return f"until {address}"
    stage = tree.stage(address)
    once = stage is not None and stage.kind is StageKind.TOKENIZE
    return f"goto {address}@{0 if once else shown.stop.token}"


def why_not_looked_at(shown: Snapshot, tree: StageTree, address: str) -> str:
    """Why a selected stage is not described, if that is not plain to see; else empty."""
    unknown = has_run(shown, tree, address) is None and not can_be_looked_at(shown, tree, address)
    return f"when {address} runs is not known: Enter goes there" if unknown else ""


def _comes_first(shown: Snapshot, tree: StageTree, address: str, here: Stage) -> bool | None:
    stage = tree.stage(address)
    if stage is not None and here.kind is StageKind.GRADIENT:
        # Backward begins when the whole forward has run.
        return stage.kind not in (StageKind.PROCESSOR, StageKind.SAMPLE)
    if stage is None or _has_no_place(stage) or _has_no_place(here):
        return None
    if here.is_fine and stage.layer == here.layer:
        # Whether a module that was not seen to begin has run is not known.
        return True if address in shown.ran else False if address in tree.enclosing(here.address) else None
    if stage.kind is here.kind is StageKind.MODULE and stage.layer == here.layer:
        return known_first(shown.order, path_in_layer(stage), path_in_layer(here))
    return tree.position(address) < tree.position(here.address)


def _has_no_place(stage: Stage) -> bool:
    """Whether it is a module outside the layers, whose place in the order is unknown."""
    return stage.layer is None and (stage.kind is StageKind.MODULE or stage.is_fine)


def when_hit(shown: Snapshot, tree: StageTree, point: Breakpoint) -> str:
    """When a run from here will stop at a breakpoint, in words; empty for a breakpoint without a stage."""
    if point.kind is not BreakpointKind.BREAK:
        return ""
    text = _when_there(shown, tree, point)
    return text if not point.must_hold() else f"{text}, if its condition holds"


def _when_there(shown: Snapshot, tree: StageTree, point: Breakpoint) -> str:
    target, now = point.target, shown.stop.token
    again = "; r starts again, and c stops there" if shown.goes_back else ""
    if shown.end is not None:
        return f"this run is over{again}"
    if target.addresses == {"tokenize"}:
        return "every run starts there, and never returns to it"
    if target.token is not None and target.token > now:
        return f"hit next at token {target.token + 1}"
    runs = {has_run(shown, tree, address) for address in target.addresses}
    if (target.token is None or target.token == now) and False in runs:
        return "still to come for this token"
    if runs == {True} or target.token not in (None, now):
        last = shown.limit is not None and now + 1 >= shown.limit
        if last or target.token is not None:
            return f"it has passed and will not run again in this run{again}"
        return f"it has passed for this token, hit next at token {now + 2}"
    return "hit when it runs next"
