"""What attention and MLP each added in every layer that has run for this token.

The stages pane shows it where it is wide enough. Each layer goes through the head once, in as many rows as it has parts
and one more: what the model would say after the layer is compared with what it would say without the part. Compared are
probabilities: the token whose score rises most is usually one that the model would never say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from llmdbg.debugger.inspection.additions_answer import Addition, LayerAdditions
from llmdbg.debugger.inspection.attribution import layer_residuals, parts_request
from llmdbg.debugger.inspection.read_layers import TOP
from llmdbg.models.stages import StageKind
from llmdbg.probes.attribution import parts_of

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.probes.attribution import LayerResidual, ResidualPart
    from llmdbg.probes.lens import Lens

_LAYERS_AT_A_TIME = 8


def layer_additions(inspector: Inspector) -> LayerAdditions:
    """What attention and MLP each added in every layer so far, recorded in passing as long as it is asked.

    A token that has run without is rerun up to the stop, unless its forward is long. Raises LensError if a layer does
    not read from and write to a residual stream.
    """
    lens = inspector.run.metrics.lens()
    if lens is None:
        return LayerAdditions({}, inspector.run.metrics.no_lens)
    request = parts_request(inspector)
    recorded = inspector.run.recorder.expect(request, inspector.event.token, standing=True)
    if inspector.event.stage.kind is StageKind.TOKENIZE:
        return LayerAdditions({})
    if not recorded and inspector.is_long():
        return LayerAdditions({}, "the prompt is long and has run without: from the next token on")
    seen = inspector.replay.recorded(request)
    done = [stage for stage in inspector.anatomy.layers() if seen.get(stage.address) is not None]
    outputs = {stage.address: seen[stage.address][0] for stage in done}
    fresh = set(inspector.read_additions.unread(lens, outputs))
    layers = list(layer_residuals(inspector, seen, [stage for stage in done if stage.address in fresh], lens))
    for start in range(0, len(layers), _LAYERS_AT_A_TIME):
        some = layers[start : start + _LAYERS_AT_A_TIME]
        for layer, found in zip(some, _additions(inspector, lens, some, outputs), strict=True):
            inspector.read_additions.keep(layer.address, outputs[layer.address], found)
    return LayerAdditions(inspector.read_additions.known(list(outputs)))


def _additions(
    inspector: Inspector, lens: Lens, layers: Sequence[LayerResidual], outputs: Mapping[str, Tensor]
) -> list[Mapping[str, Addition]]:
    """What each of some layers added, by its parts, with one product with the head."""
    parts = [_parts(layer, outputs[layer.address]) for layer in layers]
    rows: list[Tensor] = []
    for layer, vectors in zip(layers, parts, strict=True):
        output = outputs[layer.address]
        without = [torch.as_tensor(layer.after - vector).to(output) for vector in vectors.values()]
        rows += [output, *without] if vectors else []
    if not rows:
        return [{} for _ in layers]
    chances = lens.logits(torch.stack(rows)).softmax(-1)
    pushed: list[Tensor] = []
    whole, at = dict[str, int](), 0
    for layer, vectors in zip(layers, parts, strict=True):
        if vectors:
            whole[layer.address] = at
            pushed.append(chances[at] - chances[at + 1 : at + 1 + len(vectors)])
            at += 1 + len(vectors)
    _hand_on(inspector, chances, whole, outputs)
    raised = torch.cat(pushed)
    best, finite = raised.nan_to_num(nan=-torch.inf).argmax(-1), raised.isfinite().all(-1)
    texts = [
        inspector.vocabulary.text(id) if usable else None
        for id, usable in zip(*(each.tolist() for each in (best, finite)), strict=True)
    ]
    named = iter(texts)
    return [
        {what: Addition(_share(vector, layer), next(named)) for what, vector in vectors.items()}
        for layer, vectors in zip(layers, parts, strict=True)
    ]


def _hand_on(inspector: Inspector, chances: Tensor, whole: Mapping[str, int], outputs: Mapping[str, Tensor]) -> None:
    """Leave to the question of what each layer would say the rows of `chances` (n, vocabulary) that answer it."""
    found = chances[list(whole.values())].topk(min(TOP, chances.shape[-1]))
    # Ids are exact in float64, so that one copy brings both.
    ids, probs = torch.stack((found.indices.double(), found.values.double())).tolist()
    for address, numbers, shares in zip(whole, ids, probs, strict=True):
        if all(map(math.isfinite, shares)):
            likeliest = [(int(id), prob) for id, prob in zip(numbers, shares, strict=True)]
            inspector.read_layers.offer(address, outputs[address], likeliest, inspector.vocabulary.text)


def _parts(layer: LayerResidual, output: Tensor) -> dict[str, np.ndarray]:
    """What the attention, the MLP and the rest of a layer added: (width,) float64 each; empty if nothing adds up."""
    found: tuple[ResidualPart, ...] = parts_of(layer, torch.finfo(output.dtype).eps) or ()
    whole: dict[str, np.ndarray] = {}
    for part in found:
        whole[part.what] = whole.get(part.what, 0.0) + part.vector
    return whole


def _share(vector: np.ndarray, layer: LayerResidual) -> float:
    length = float(np.linalg.norm(layer.before))
    return float(np.linalg.norm(vector)) / length if length else float("inf")
