"""What the model would say after each layer that has run for this token, and where its prediction forms.

The stages pane shows it at every stop. `info lens` reads all layers again each time; here a layer goes through the head
once, so a step pays for one layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmdbg.debugger.inspection.lens import residuals_request
from llmdbg.debugger.inspection.predictions_answer import LayerPrediction, LayerPredictions
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.inspector import Inspector


def layer_predictions(inspector: Inspector) -> LayerPredictions:
    """What each layer so far would predict.

    The residual stream is recorded from now on for as long as this is asked at every stop. A token that has run
    without is rerun up to the stop, unless its forward is long. The lens is used before it has been verified, and
    dropped if that fails.
    """
    request, token = residuals_request(inspector), inspector.event.token
    metrics = inspector.run.metrics
    lens = metrics.lens()
    if lens is None:
        return LayerPredictions({}, why_none=metrics.no_lens)
    recorded = inspector.run.recorder.expect(request, token, standing=True)
    if inspector.event.stage.kind is StageKind.TOKENIZE:
        return LayerPredictions({})
    if not recorded and inspector.is_long():
        return LayerPredictions({}, why_none="the prompt is long and has run without: from the next token on")
    found = inspector.replay.recorded(request)
    layers = {stage.address for stage in inspector.anatomy.layers()}
    residuals = {
        address: vector
        for address, vector in found.items()
        if address in layers and vector is not None and len(vector) == lens.width
    }
    read = inspector.read_layers.of(lens, residuals, inspector.vocabulary.text)
    prediction = _prediction(inspector, read)
    first, stays = _where(read, prediction)
    return LayerPredictions(read, prediction, first, stays, verified=not metrics.unverified())


def _prediction(inspector: Inspector, read: Mapping[str, LayerPrediction]) -> LayerPrediction | None:
    stop = inspector.stop
    first, length = inspector.forward_positions()
    if inspector.focus_position() == first + length - 1:
        if stop.chosen is not None:
            return LayerPrediction(stop.chosen.id, stop.chosen.text, stop.chosen.prob)
        if stop.candidates is not None and stop.candidates.rows:
            best = stop.candidates.rows[0]
            return LayerPrediction(best.id, best.text, best.prob)
    return next(reversed(list(read.values())), None)


def _where(read: Mapping[str, LayerPrediction], prediction: LayerPrediction | None) -> tuple[str | None, str | None]:
    """The first layer that predicts the same token, and the one from which on all do."""
    if prediction is None:
        return None, None
    first = next((address for address, each in read.items() if each.id == prediction.id), None)
    stays = None
    for address, each in reversed(list(read.items())):
        if each.id != prediction.id:
            break
        stays = address
    return first, stays
