"""`info lanes`: the rows of a program's batch, each with its own tokens and its own part of the tensor here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.display import Displayed
from llmdbg.engine.lanes import HasLanes
from llmdbg.engine.stage_event import main_tensor
from llmdbg.formatting import printable

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.engine.lanes import LaneFacts
    from llmdbg.probes.value_statistics import ValueStatistics


@dataclass(frozen=True, slots=True)
class LaneRow:
    """One row of the batch."""

    lane: int
    """Its place in the batch, from 0."""
    padding: int
    """How many of its first positions are padding, which the mask hides."""
    prompt: int
    """How many tokens its prompt has, without the padding."""
    ids: tuple[int, ...]
    """The ids it was fed after that."""
    text: str
    """Their text."""
    numbers: ValueStatistics | None
    """Statistics of its part of the tensor here, without padding; None where the tensor has no row for it."""
    likeliest: str | None
    """From the head on, the text of the token that it gives the highest score; None before."""
    prob: float | None
    """That token's probability by these scores, from 0 to 1; None before."""
    request: str = ""
    """The engine's id of it, where it is a request; else empty."""
    rows: tuple[int, int] | None = None
    """Its rows of a flattened batch, from the first up to the one behind; None where each lane is one row."""


@dataclass(frozen=True, slots=True, repr=False)
class LaneTable(Displayed):
    """All rows of the batch."""

    rows: tuple[LaneRow, ...]
    """In the order of the batch."""
    shown: int | None
    """The lane that stops and panes describe; None for all of them."""
    note: str
    """What the user should know about them; empty if nothing."""


_BEAMS = (
    "the program has moved its rows, as beams do, and their tokens with them: `info beams` shows what continues what"
)


def lanes(inspector: Inspector) -> LaneTable | str:
    """The rows of the batch here; a sentence where one sequence runs."""
    debuggee = inspector.debuggee
    if not isinstance(debuggee, HasLanes):
        return f"{printable(debuggee.name)} runs one sequence, which `info tokens` shows"
    known = debuggee.lanes()
    tensor = main_tensor(inspector.whole_event.output)
    parts = _parts(tensor, known)
    rows = []
    for at, (lane, part) in enumerate(zip(known, parts, strict=True)):
        text, prob = _likeliest(inspector, debuggee.scores(inspector.whole_event, at), part)
        rows.append(
            LaneRow(
                lane=at,
                padding=lane.padding,
                prompt=lane.prompt,
                ids=lane.ids,
                text=debuggee.vocabulary.decode(lane.ids),
                numbers=_numbers(part),
                likeliest=text,
                prob=prob,
                request=lane.request,
                rows=lane.rows,
            )
        )
    return LaneTable(tuple(rows), debuggee.lane, _BEAMS if debuggee.family() else "")


def _parts(tensor: Tensor | None, known: tuple[LaneFacts, ...]) -> list[Tensor | None]:
    """Each lane's part of a tensor whose first dimension is the batch, without the padding in front of it."""
    spans = [each.rows for each in known if each.rows is not None]
    if tensor is not None and tensor.dim() and spans and len(tensor) == spans[-1][1]:
        return [tensor[start:end] for start, end in spans]
    if tensor is None or tensor.dim() < 2 or len(tensor) != len(known):
        return [None] * len(known)
    parts: list[Tensor | None] = []
    for lane, row in zip(known, tensor, strict=True):
        fed = lane.padding + lane.prompt
        hidden = lane.padding if tensor.dim() > 2 and not spans and len(row) == fed and not lane.ids else 0
        parts.append(row[hidden:])
    return parts


def _numbers(part: Tensor | None) -> ValueStatistics | None:
    from llmdbg.probes.statistics import measure, read

    return None if part is None or not part.numel() else read([measure(part)])[0]


def _likeliest(inspector: Inspector, scores: Tensor | None, part: Tensor | None) -> tuple[str | None, float | None]:
    """What a lane's scores say: those of the choice, or at the head its part of the output; nothing elsewhere."""
    if scores is None:
        head = None if inspector.debuggee.loaded is None else inspector.model.get_output_embeddings()
        if part is None or head is None or inspector.anatomy.modules.get(inspector.stop.stage.address) is not head:
            return None, None
        scores = part
    prob, id = scores.reshape(-1, scores.shape[-1])[-1].float().softmax(-1).max(-1)
    return inspector.debuggee.vocabulary.text(int(id)), float(prob)
