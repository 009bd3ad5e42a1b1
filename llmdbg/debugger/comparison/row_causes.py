"""Why a row of a batch differs from its single run, found by running the batch again with one thing put right.

Nothing is guessed from what looks wrong: position ids that are shifted do not matter to rotary embeddings, and a mask
that shows padding behind a prompt matters to nothing in front of it. What makes the row the same is the cause.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.alone import measure_changed
from llmdbg.debugger.comparison.row_outcome import RowCause
from llmdbg.engine.single_runs import RowChange
from llmdbg.errors import GenerationError
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.alone import MeasuredRow
    from llmdbg.debugger.comparison.row_outcome import RowStage
    from llmdbg.engine.single_runs import SingleRuns
    from llmdbg.models.anatomy import Anatomy

_CAUSES = {
    RowChange.MASK: RowCause.MASK,
    RowChange.POSITIONS: RowCause.POSITIONS,
    RowChange.ROWS: RowCause.ROWS,
    RowChange.PADDING: RowCause.PADDING,
}


@dataclass(frozen=True, slots=True)
class Found:
    """What sets a row apart, and the first stage where it shows."""

    causes: tuple[RowCause, ...]
    stage: RowStage | None
    """The first stage that returns other values; None where none is known."""
    address: str | None
    """That stage, or where it is given other values, the module around it, whose code has made them; None as above."""


def sets_it_apart(stages: tuple[RowStage, ...], anatomy: Anatomy) -> bool:
    """Whether a row differs from its single run in what the model's layers make of it.

    Other values of what only serves the layers, such as the angles of shifted positions, may come to the same.
    """
    kinds = {each.address: each.kind for each in anatomy.stages}
    layers = [each for each in stages if kinds[each.address] is StageKind.LAYER]
    return any(each.differs for each in layers or stages[-1:])


def find_causes(runs: SingleRuns, measured: MeasuredRow, anatomy: Anatomy) -> Found:
    """Look for the fewest changes that make a row the same. Only inside `runs.undisturbed()`."""
    for changes in _tries(runs, measured):
        try:
            stages = measure_changed(runs, changes, measured.floor)
        except GenerationError:  # a model need not take what it takes in principle
            continue
        if not sets_it_apart(stages, anatomy):
            causes = tuple(_CAUSES[each] for each in changes)
            if causes == (RowCause.PADDING,) and _counts_padding(runs, measured):
                causes = (RowCause.POSITIONS,)
            return _found(causes, measured.stages, stages, anatomy)
    return _found((RowCause.BATCH,) if runs.rows > 1 else (), measured.stages, (), anatomy)


def _counts_padding(runs: SingleRuns, measured: MeasuredRow) -> bool:
    """Whether a model that is given no position ids counts padding in its own, and another value comes of that."""
    counted = measured.positions
    if counted is None or runs.can(RowChange.POSITIONS):
        return False
    return any(each.differs for each in measured.stages if each.address == counted.address)


def _tries(runs: SingleRuns, measured: MeasuredRow) -> Iterator[tuple[RowChange, ...]]:
    """What to put right, the likeliest first, more at once later."""
    has_other_positions = measured.positions is not None and runs.can(RowChange.POSITIONS)
    wrong = [RowChange.MASK] if runs.can(RowChange.MASK) else []
    wrong += [RowChange.POSITIONS] if has_other_positions else []
    if len(wrong) > 1:
        yield (RowChange.MASK,)
        # transformers takes position ids that begin anew for several texts in a row, if it is given no mask.
        if runs.row.mask is not None:
            yield (RowChange.POSITIONS,)
    if wrong:
        yield tuple(wrong)
    if runs.can(RowChange.ROWS):
        yield (RowChange.ROWS,)
        if wrong:
            yield (*wrong, RowChange.ROWS)
    if runs.can(RowChange.PADDING):
        yield (RowChange.PADDING,)


def _found(
    causes: tuple[RowCause, ...], stages: tuple[RowStage, ...], right: tuple[RowStage, ...], anatomy: Anatomy
) -> Found:
    """Where the causes show first: `right` are the stages where they have been put right."""
    still = {each.address for each in right if each.differs}
    stage = next((each for each in stages if each.differs and each.address not in still), None)
    if stage is None:
        return Found(causes, None, None)
    around = anatomy.enclosing(anatomy.stage(stage.address)) if stage.reached else ()
    given = {each.address for each in stages if each.reached} - {each.address for each in right if each.reached}
    return Found(causes, stage, next((each.address for each in around if each.address not in given), stage.address))
