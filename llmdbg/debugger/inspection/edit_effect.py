"""`info effect`: what the edits of this token do to the prediction, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.inspection.likely import LikelyToken
from llmdbg.display import Displayed
from llmdbg.models.stages import SAMPLE, StageKind

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.editing.edits import Edit
    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.engine.stage_event import StageEvent

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class EffectRow:
    """The three likeliest next tokens at one stage, likeliest first."""

    address: str
    """The stage's address."""
    before: tuple[LikelyToken, ...]
    """Without this token's edits."""
    after: tuple[LikelyToken, ...]
    """With them."""


@dataclass(frozen=True, slots=True, repr=False)
class EditEffect(Displayed):
    """What the edits do to the prediction."""

    rows: tuple[EffectRow, ...]
    """One for each layer, the final norm and the logits, from the first edited stage on."""
    note: str = ""
    """Why layers are missing, and which edits changed nothing; empty if there is neither."""


def effect(inspector: Inspector) -> EditEffect | str:
    """Compare the predictions with and without this token's edits, or say that it has none. Runs the token twice."""
    place = inspector.run.place
    on = [each for each in inspector.run.edits.list() if each.enabled and each.since <= place.token]
    here = [each for each in on if each.token in (None, place.token)]
    if not here:
        return "no edit applies to this token: make one with zero, scale, ablate, patch or edit"
    after, ran = _predictions(inspector, place.token)
    passed = inspector.run.trace.order(inspector.run.place) or []
    with inspector.branching.without_edits():
        before, _ = _predictions(inspector, place.token)
    inspector.replay.come_back_to(place)
    edited = frozenset[str]().union(*(each.stages for each in here))
    first = next((index for index, address in enumerate(passed) if address in edited), 0)
    rows = [
        EffectRow(address, _likely(inspector, before[address]), _likely(inspector, after[address]))
        for address in passed[first:]
        if address in after and address in before
    ]
    idle = [f"edit {each.number} changed nothing: {_none_ran(each)}" for each in here if not each.stages & ran]
    return EditEffect(tuple(rows), "; ".join((*filter(None, [inspector.run.metrics.no_lens]), *idle)))


def _none_ran(edit: Edit) -> str:
    first, *others = sorted(edit.stages)
    return "none of its stages ran for this token" if others else f"{first} did not run for this token"


def _predictions(inspector: Inspector, token: int) -> tuple[dict[str, tuple[Tensor, Tensor]], set[str]]:
    """The likeliest next tokens and their probabilities at each layer, the final norm and the logits, on the device.

    Also returns the addresses of all stages that ran.
    """
    found: dict[str, tuple[Tensor, Tensor]] = {}
    ran: set[str] = set()

    def look(event: StageEvent) -> bool:
        ran.add(event.stage.address)
        if event.stage.kind in (StageKind.LAYER, StageKind.NORM, StageKind.LOGITS):
            scores = inspector.run.metrics.scores(event)
            if scores is not None:
                found[event.stage.address] = torch.softmax(scores[0].to(torch.float32), -1).topk(_SHOWN)
        return event.stage.address == SAMPLE.address

    inspector.replay.run_token(token, look)
    return found, ran


def _likely(inspector: Inspector, found: tuple[Tensor, Tensor]) -> tuple[LikelyToken, ...]:
    probs, ids = found[0].tolist(), found[1].tolist()
    return tuple(LikelyToken(id, inspector.vocabulary.text(id), prob) for id, prob in zip(ids, probs, strict=True))
