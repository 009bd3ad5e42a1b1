"""`info lens [TOKEN …]`: what each layer so far would predict, and the rank of given tokens after each layer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from llmdbg.debugger.execution.recorder import RecordRequest
from llmdbg.debugger.inspection.token_names import token_id
from llmdbg.debugger.quoting import pieces
from llmdbg.engine.debuggee import Capability
from llmdbg.errors import CommandError, LensError
from llmdbg.models.stages import StageKind
from llmdbg.probes.lens_table import LensRow, LensTable, lens_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.probes.lens import Lens

_TOP = 5
_READS_ITSELF = (
    "`embed` reads back the token itself: this model uses one table at both ends (tied weights), so it says nothing of "
    "what comes next"
)
_BEFORE_PROCESSORS = "this is the model's own prediction, before temperature, penalties and cuts"


def ask(inspector: Inspector, arguments: str) -> LensTable | str:
    """Answer `info lens`, and make the pane follow the same tokens, or the prediction if none are given.

    Raises LensError for a model without a lens, CommandError for an unknown token.
    """
    inspector.asked.followed = tuple(token_id(inspector, word) for word in pieces(arguments, " ") if word)
    return shown(inspector)


def shown(inspector: Inspector) -> LensTable | str:
    """What the pane shows: the lens, with the tokens the user last asked about. Raises LensError."""
    follow = list(inspector.asked.followed)
    if inspector.event.stage.kind is StageKind.TOKENIZE:
        return f"nothing has run yet: the lens reads the output of `embed` and of each of {_layers(inspector)} layers"
    if not follow and inspector.event.chosen is not None:
        follow = [inspector.event.chosen]
    inspector.run.recorder.expect(residuals_request(inspector), inspector.event.token)
    lens = usable_lens(inspector)
    check_scored(lens, follow)
    residuals = _residuals(inspector, lens)
    own = _own(inspector)
    if not residuals and own is None:
        return f"`embed` does not return a vector of {lens.width} numbers: the lens reads from layer 0 on"
    layers = {stage.address: stage.layer for stage in inspector.anatomy.layers()}
    table = lens_table(
        lens,
        residuals,
        layers,
        inspector.vocabulary.text,
        position=inspector.focus_position(),
        own=own,
        top=_TOP,
        follow=follow,
        notes=(_BEFORE_PROCESSORS,) if len(inspector.event.trail) > 1 else (),
    )
    reads_itself = _is_tied(inspector) and table.rows and _is_own_token(inspector, table.rows[0])
    return replace(table, notes=(*table.notes, _READS_ITSELF)) if reads_itself else table


def _is_tied(inspector: Inspector) -> bool:
    head = inspector.model.get_output_embeddings()
    return head is not None and getattr(head, "weight", None) is inspector.model.get_input_embeddings().weight


def _is_own_token(inspector: Inspector, row: LensRow) -> bool:
    """Whether a row of the embedding predicts the token that was looked up there."""
    own = inspector.run.tokens()[inspector.focus_position()].id
    return row.address == "embed" and bool(row.top) and row.top[0].id == own


def usable_lens(inspector: Inspector) -> Lens:
    """The model's lens, checked once against a whole forward. Raises LensError, which says why there is none."""
    lens = inspector.run.metrics.lens()
    unseen = inspector.run.metrics.unverified()
    # What cannot go back is checked as it runs on.
    if lens is not None and unseen and Capability.GO_BACK in inspector.debuggee.capabilities:
        inspector.replay.look_through(lambda _: None, unseen)
        lens = inspector.run.metrics.lens()
    if lens is None:
        raise LensError(inspector.run.metrics.no_lens)
    return lens


def check_scored(lens: Lens, ids: Iterable[int]) -> None:
    """Raise CommandError for an id that the head does not score: an embedding may have more rows."""
    scored = getattr(lens.head, "out_features", None)
    if isinstance(scored, int) and (beyond := [id for id in ids if id >= scored]):
        raise CommandError(f"this model's head scores ids 0 to {scored - 1}, not {beyond[0]}")


def residuals_request(inspector: Inspector) -> RecordRequest:
    """The residual stream at the focus, after the embedding and after each layer."""
    outline = [stage.address for stage in inspector.anatomy.stages if stage.kind in (StageKind.EMBED, StageKind.LAYER)]
    return RecordRequest("residuals", frozenset(outline), inspector.focus.vector, about=inspector.focus.position)


def _residuals(inspector: Inspector, lens: Lens) -> dict[str, Tensor]:
    """The residual stream at the focus after each stage of the outline that has run for this token."""
    found = inspector.replay.recorded(residuals_request(inspector))
    if not found:
        raise CommandError("no stage of the residual stream has run yet for this token: run to `embed` first")
    layers = {address: vector for address, vector in found.items() if address != "embed"}
    unlike = [address for address, vector in layers.items() if vector is None or len(vector) != lens.width]
    if unlike:
        raise LensError(
            f"layer {unlike[0]} does not return a vector of {lens.width} numbers at this position: there is no "
            "residual stream to read from"
        )
    # An embedding may be narrower and be projected before the first layer.
    return {address: vector for address, vector in found.items() if vector is not None and len(vector) == lens.width}


def _own(inspector: Inspector) -> tuple[str, Tensor] | None:
    """The model's own logits; None before they exist, or if the focus is not the position they are about."""
    event = inspector.event
    first, length = inspector.forward_positions()
    if not event.trail or inspector.focus_position() != first + length - 1:
        return None
    stage, logits = event.trail[0]
    return stage.address, logits


def _layers(inspector: Inspector) -> int:
    return len(inspector.anatomy.layers())
