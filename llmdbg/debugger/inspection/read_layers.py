"""What layers predict, read once each: the answers of a token are kept while the run steps through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from llmdbg.debugger.inspection.predictions_answer import LayerPrediction
from llmdbg.probes.likeliest import likeliest

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.probes.lens import Lens

_TOP = 8


class ReadLayers:
    """The predictions of the current token's layers, each kept for as long as it is about the same tensor."""

    def __init__(self) -> None:
        self._lens: Lens | None = None
        self._known: dict[str, tuple[Tensor, LayerPrediction]] = {}

    def of(
        self, lens: Lens, residuals: Mapping[str, Tensor], text_of: Callable[[int], str]
    ) -> dict[str, LayerPrediction]:
        """The prediction after each layer, given its residual vector (width,) by address. Waits for the device once."""
        if lens is not self._lens:
            self._lens, self._known = lens, {}
        known = {address: self._known[address] for address in residuals if address in self._known}
        self._known = {address: each for address, each in known.items() if each[0] is residuals[address]}
        fresh = {address: vector for address, vector in residuals.items() if address not in self._known}
        for (address, vector), (best, *others) in zip(
            fresh.items(), likeliest(lens, list(fresh.values()), top=_TOP), strict=True
        ):
            more = tuple((id, text_of(id), prob) for id, prob in others)
            self._known[address] = vector, LayerPrediction(best[0], text_of(best[0]), best[1], more)
        return {address: self._known[address][1] for address in residuals}

    def known(self, address: str, residual: Tensor | None) -> LayerPrediction | None:
        """The prediction after a layer, if it has been read from this very vector."""
        tensor, prediction = self._known.get(address, (None, None))
        return prediction if residual is not None and tensor is residual else None
