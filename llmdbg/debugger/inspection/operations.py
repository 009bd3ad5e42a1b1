"""`info ops`: the operations of one stage, rerun for that: shapes, time, bytes, FLOPs, and the line that called each.

The token's forward runs again in its own place, as for any question, with the user's edits, up to the stage. Only the
stage's module is watched. What it returned is compared with what it returned before.
"""

from __future__ import annotations

import linecache
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.inspection.frames import module_at
from llmdbg.debugger.inspection.timed_runs import forward_of
from llmdbg.display import Displayed
from llmdbg.engine.fingerprints import fingerprint_of
from llmdbg.engine.op_capture import OpCall, TensorFacts, watching_operations
from llmdbg.engine.stage_event import StageEvent, main_tensor
from llmdbg.errors import CommandError
from llmdbg.models.stages import StageKind, line_parts, op_parts
from llmdbg.probes.statistics import dtype_name

if TYPE_CHECKING:
    from torch import nn

    from llmdbg.debugger.inspection.inspector import Inspector


_IN_PASSING = "`set depth op` and `step` go through the operations that are still to come"


@dataclass(frozen=True, slots=True)
class OpTensor:
    """A tensor of an operation."""

    shape: tuple[int, ...]
    """Its shape."""
    dtype: str
    """Its dtype, without `torch.`."""


@dataclass(frozen=True, slots=True)
class OpRow:
    """One call of an operation."""

    number: int
    """From 1, in the order of the calls."""
    op: str
    """Its name: `aten.mm`."""
    inputs: tuple[OpTensor, ...]
    """The tensors among its arguments."""
    outputs: tuple[OpTensor, ...]
    """The tensors it returned."""
    ms: float
    """How long it took, in milliseconds."""
    bytes: int
    """Bytes of the tensors it read and wrote; 0 for a view."""
    flops: int | None
    """Floating point operations; None if torch has no formula for it."""
    file: str
    """The source file of the nearest caller outside torch."""
    line: int
    """The caller's line, from 1."""
    code: str
    """That line, without its indentation; empty if there is no source."""


@dataclass(frozen=True, slots=True)
class OpTotal:
    """All calls of one operation."""

    op: str
    """Its name."""
    count: int
    """How often it was called."""
    ms: float
    """Their time together, in milliseconds."""
    bytes: int
    """Bytes they read and wrote together."""
    flops: int | None
    """Their floating point operations; None without a formula."""


@dataclass(frozen=True, slots=True, repr=False)
class Operations(Displayed):
    """The operations of a stage."""

    address: str
    """The stage."""
    token: int
    """The generated token, counted from 0."""
    rows: tuple[OpRow, ...]
    """Each call, in order."""
    totals: tuple[OpTotal, ...]
    """The calls of each operation together, those that take longest first."""
    ms: float
    """The time of all, in milliseconds."""
    bytes: int
    """The bytes of all."""
    flops: int
    """The floating point operations of those with a formula."""
    notes: tuple[str, ...]
    """What limits these numbers, a sentence each."""


def ask(inspector: Inspector, arguments: str = "") -> Operations | str:
    """Answer `info ops [ADDRESS[@T]]`; without an address, of the current stage, or a sentence if no module runs it.

    Raises AddressError for an unknown stage, and CommandError if no module runs it, if it does not run for the token,
    or if the debuggee cannot go back.
    """
    address, token = _stage(inspector, arguments)
    module = module_at(inspector, address)
    if module is None:
        none = f"no module runs {address}, so it has no operations to list: name a layer or a module"
        if arguments:
            raise CommandError(none)
        return none
    here, before = inspector.event, None
    if (here.stage.address, here.token) == (address, token):
        before = _bits(here)
    with inspector.replay.elsewhere(_IN_PASSING):
        calls, after = _watched(inspector, module, address, token)
    rows = tuple(_row(number, each) for number, each in enumerate(calls, 1))
    notes = []
    if inspector.run.edits.addresses():
        notes.append("with your edits")
    if before is not None and before != after:
        notes.append("while it was watched, the stage returned other bits than before")
    return Operations(
        address,
        token,
        rows,
        _totals(rows),
        sum(each.ms for each in rows),
        sum(each.bytes for each in rows),
        sum(each.flops or 0 for each in rows),
        tuple(notes),
    )


def _stage(inspector: Inspector, arguments: str) -> tuple[str, int]:
    event = inspector.event
    if not arguments:
        # At a line or an op, those of the module that it is in.
        fine = line_parts(event.stage.address) or op_parts(event.stage.address)
        return event.stage.address if fine is None else fine[0], event.token
    target = inspector.run.stages.addresses.resolve(arguments)
    if len(target.addresses) > 1:
        raise CommandError(f"{arguments} names {len(target.addresses)} stages: `info ops` takes one")
    token, reached = event.token if target.token is None else target.token, len(inspector.debuggee.timeline.ids)
    if token > reached:
        raise CommandError(f"token {token} has not been reached: the newest is {reached}")
    return next(iter(target.addresses)), token


def _watched(
    inspector: Inspector, module: nn.Module, address: str, token: int
) -> tuple[tuple[OpCall, ...], int | None]:
    """The operations of the stage's call, and a hash of what it returned."""
    with (
        watching_operations(module) as calls,
        forward_of(inspector, token, {address}, lambda event: event.stage.address == address) as run,
    ):
        for event in run:
            if event.stage.address == address:
                # A module that is called several times has been called for this stage last.
                return (calls[-1] if calls else ()), _bits(event)
            if event.stage.kind is not StageKind.TOKENIZE:
                break
    raise CommandError(f"{address} does not run for token {token}")


def _bits(event: StageEvent) -> int | None:
    tensor = main_tensor(event.output)
    if tensor is None or tensor.is_complex() or tensor.is_quantized:
        return None
    return int(fingerprint_of(tensor))


def _row(number: int, call: OpCall) -> OpRow:
    return OpRow(
        number,
        call.name,
        tuple(map(_tensor, call.inputs)),
        tuple(map(_tensor, call.outputs)),
        call.milliseconds(),
        call.bytes,
        call.flops,
        call.file,
        call.line,
        linecache.getline(call.file, call.line).strip(),
    )


def _tensor(facts: TensorFacts) -> OpTensor:
    return OpTensor(facts.shape, dtype_name(facts.dtype))


def _totals(rows: tuple[OpRow, ...]) -> tuple[OpTotal, ...]:
    grouped: dict[str, list[OpRow]] = {}
    for each in rows:
        grouped.setdefault(each.op, []).append(each)
    totals = (_total(op, each) for op, each in grouped.items())
    return tuple(sorted(totals, key=lambda each: -each.ms))


def _total(op: str, rows: list[OpRow]) -> OpTotal:
    known: list[Any] = [each.flops for each in rows if each.flops is not None]
    return OpTotal(
        op,
        len(rows),
        sum(each.ms for each in rows),
        sum(each.bytes for each in rows),
        sum(known) if known else None,
    )
