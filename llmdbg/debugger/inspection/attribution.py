"""`info attribution [TOKEN]`: what the embedding and each layer's attention and MLP add to one token's logit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from llmdbg.debugger.execution.recorder import RecordRequest
from llmdbg.debugger.inspection.lens import check_scored, usable_lens
from llmdbg.debugger.inspection.token_names import token_id
from llmdbg.debugger.nonfinite_ranks import not_finite
from llmdbg.engine.lockstep import InLockstep
from llmdbg.errors import LensError
from llmdbg.models.attentions import attentions
from llmdbg.models.stages import StageKind
from llmdbg.probes.attribution import Attribution, LayerResidual, ModuleOutput, attribution, readout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.models.stages import Stage
    from llmdbg.probes.attribution import Vector
    from llmdbg.probes.lens import Lens

_MLP_WORDS = ("mlp", "feed_forward", "feedforward", "ffn", "ff_", "fc", "moe", "expert", "dense_")
_ATTENTION_WORDS = ("attention", "attn")

_Vectors = tuple["Tensor", tuple["Tensor", ...]]
"""A stage's output at the focus (width,), and its inputs of that width."""


def ask(inspector: Inspector, arguments: str) -> Attribution | str:
    """Answer `info attribution`. Raises LensError if nothing can be attributed, CommandError for an unknown token."""
    return attributed(inspector, token_id(inspector, arguments) if arguments else inspector.event.chosen)


def attributed(inspector: Inspector, id: int | None) -> Attribution | str:
    """The attribution of one token's logit; None for the likeliest token here. Raises LensError.

    Of several ranks all do if one does.
    """
    debuggee = inspector.debuggee
    if not isinstance(debuggee, InLockstep):
        return _attributed(inspector, id)
    found, failed = None, ""
    try:
        found = _attributed(inspector, id)
    except LensError as error:
        failed = str(error)
    if failed := next(filter(None, debuggee.everyones(failed)), ""):
        raise LensError(failed)
    assert found is not None
    return found


def _attributed(inspector: Inspector, id: int | None) -> Attribution | str:
    if inspector.event.stage.kind is StageKind.TOKENIZE:
        return "nothing has run yet: attribution reads what the embedding and each layer add"
    inspector.run.recorder.expect(parts_request(inspector), inspector.event.token)
    lens = usable_lens(inspector)
    check_scored(lens, () if id is None else (id,))
    seen = inspector.replay.recorded(parts_request(inspector))
    done = [stage for stage in inspector.anatomy.layers() if stage.address in seen]
    if not done:
        return "no layer has run yet for this token"
    residual = _given(seen[done[-1].address], done[-1], lens)[0]
    if isinstance(inspector.debuggee, InLockstep) and any(inspector.debuggee.everyones(any(not_finite([residual])))):
        # What follows asks all ranks for their parts of the logits, so that none may stop on the way.
        raise LensError(
            f"what {done[-1].address} returned is not finite, on one rank at least: `info nonfinite` finds why"
        )
    if id is None:
        id = _likeliest(inspector, lens, residual)
    read = readout(lens, residual, id)
    epsilon = torch.finfo(residual.dtype).eps
    terms, whole = attribution(read, list(layer_residuals(inspector, seen, done, lens)), epsilon)
    return Attribution(
        id=id,
        text=inspector.vocabulary.text(id),
        position=inspector.focus_position(),
        after=done[-1].address,
        terms=terms,
        sum=sum(each.value for each in terms),
        logit=read.logit,
        capped=read.capped,
        whole=whole,
    )


def parts_request(inspector: Inspector) -> RecordRequest:
    """Records every layer and the modules directly inside it."""
    depths = {stage.layer: stage.depth for stage in inspector.anatomy.layers()}
    modules = [
        stage
        for stage in inspector.anatomy.stages
        if stage.layer is not None and stage.depth <= depths[stage.layer] + 1
    ]
    addresses = frozenset(stage.address for stage in modules)

    def take(event: StageEvent) -> _Vectors | None:
        output = inspector.focus.vector(event)
        if output is None:
            return None
        given = [each for each in (*event.args, *event.kwargs.values()) if isinstance(each, torch.Tensor)]
        vectors = [vector for each in given if (vector := inspector.focus.vector_of(event, each)) is not None]
        return output, tuple(vector for vector in vectors if len(vector) == len(output))

    return RecordRequest("parts", addresses, take, about=inspector.focus.position)


def _given(seen: _Vectors | None, stage: Stage, lens: Lens) -> _Vectors:
    if seen is None or len(seen[0]) != lens.width or not seen[1]:
        raise LensError(f"layer {stage.address} does not read from and write to a residual stream here")
    return seen


def _likeliest(inspector: Inspector, lens: Lens, residual: Tensor) -> int:
    """The likeliest token here: by the model's own logits once they exist, by the lens before."""
    first, length = inspector.forward_positions()
    trail = inspector.event.trail
    if trail and inspector.focus_position() == first + length - 1:
        return int(trail[0][1][0].argmax())
    return int(lens.logits(residual[None])[0].argmax())


def layer_residuals(
    inspector: Inspector, seen: dict[str, _Vectors | None], done: Sequence[Stage], lens: Lens
) -> Iterator[LayerResidual]:
    """The layers in `done` at the focus, from what `parts_request` has recorded, on the host. One copy a layer.

    Raises LensError for a layer that does not read from and write to a residual stream.
    """
    attending = {stage.address for stage in attentions(inspector.anatomy)}
    stages = [stage for address in seen if (stage := inspector.anatomy.stage(address)).kind is StageKind.MODULE]
    for layer in done:
        output, inputs = _given(seen[layer.address], layer, lens)
        inside = [stage for stage in stages if stage.layer == layer.layer]
        wide = [
            (stage, each)
            for stage in inside
            if (each := seen[stage.address]) is not None and len(each[0]) == lens.width
        ]
        vectors = [inputs[0], output, *(vector for _, (out, given) in wide for vector in (out, *given))]
        numbers = iter(_host(vectors))
        before, after = next(numbers), next(numbers)
        modules = []
        for stage, (_, given) in wide:
            made = next(numbers)
            what = _what(stage, attending)
            modules.append(ModuleOutput(stage.address, what, made, tuple(next(numbers) for _ in given)))
        yield LayerResidual(layer.address, layer.layer, before, after, tuple(modules))


def _host(vectors: list[Tensor]) -> Iterator[Vector]:
    together = torch.stack([each.to(torch.float32) for each in vectors]).cpu().numpy().astype(np.float64)
    return iter(together)


def _what(stage: Stage, attending: set[str]) -> str:
    name = stage.address.rpartition(".")[2].lower()
    if stage.address in attending or any(word in name for word in _ATTENTION_WORDS):
        # OPT's and BERT's norms before the MLP are called after the attention they follow.
        return "attention"
    return "mlp" if any(word in name for word in _MLP_WORDS) else "other"
