"""`info beams`: the family tree of a batch whose rows the program moves, as a beam search does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.display import Displayed
from llmdbg.engine.lanes import HasLanes
from llmdbg.formatting import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.engine.lanes import FamilyStep


@dataclass(frozen=True, slots=True)
class Beam:
    """One row of the batch after one token was added to it."""

    parent: int
    """The row that it continues."""
    id: int
    """The token that was added."""
    text: str
    """That token's text."""
    children: int
    """How many rows continue it at the next token; at the last step 1."""


@dataclass(frozen=True, slots=True)
class BeamStep:
    """All rows after one token was added to each."""

    token: int
    """The number of that token, from 0."""
    beams: tuple[Beam, ...]
    """In the order of the batch."""


@dataclass(frozen=True, slots=True, repr=False)
class BeamFamily(Displayed):
    """Where the rows have come from."""

    steps: tuple[BeamStep, ...]
    """Token by token."""
    note: str
    """How much all rows have in common."""


def beams(inspector: Inspector) -> BeamFamily | str:
    """The family tree of the current batch; a sentence where the rows have kept their places."""
    debuggee = inspector.debuggee
    steps = debuggee.family() if isinstance(debuggee, HasLanes) else ()
    moved = [f"lane {at} continues lane {row}" for at, row in enumerate(inspector.stop.reordered) if at != row]
    if not steps and moved:
        return f"the rows have just moved for the first time: {', '.join(moved)}; the tree begins with the next forward"
    if not steps:
        return f"{printable(debuggee.name)} has not moved the rows of a batch: each continues itself"
    text, prompt = debuggee.vocabulary.text, len(inspector.prompt.ids)
    found = []
    for at, step in enumerate(steps):
        following = steps[at + 1].parents if at + 1 < len(steps) else range(len(step.ids))
        found.append(
            BeamStep(
                step.position - prompt,
                tuple(
                    Beam(parent, id, text(id), sum(each == row for each in following))
                    for row, (parent, id) in enumerate(zip(step.parents, step.ids, strict=True))
                ),
            )
        )
    return BeamFamily(tuple(found), _in_common(steps, prompt))


def _in_common(steps: Sequence[FamilyStep], prompt: int) -> str:
    """Up to which token all rows are one."""
    rows = set(range(len(steps[-1].ids)))
    for step in reversed(steps):
        if len(rows) == 1:
            return f"all rows continue lane {rows.pop()} of token {step.position - prompt}"
        rows = {step.parents[row] for row in rows}
    return "the rows have parted at the first token"
