"""What layers predict, read once each: the answers of a token are kept while the run steps through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.inspection.predictions_answer import LayerPrediction
from llmdbg.probes.likeliest import likeliest

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.probes.lens import Lens

TOP = 8
"""How many of the likeliest tokens are kept of each layer."""


class ReadLayers:
    """The predictions of the current token's layers, each kept for as long as it is about the same tensor."""

    def __init__(self) -> None:
        self._lens: Lens | None = None
        self._known: dict[str, tuple[Tensor, LayerPrediction]] = {}
        self._offered: dict[str, tuple[Tensor, LayerPrediction]] = {}

    def offer(
        self,
        address: str,
        residual: Tensor,
        likeliest: Sequence[tuple[int, float]],
        text_of: Callable[[int], str],
    ) -> None:
        """Take the `TOP` likeliest tokens (id, probability) after a layer that another question has found by the lens.

        They are used if the next call of `of` is about the same vector, (width,): a product with the head less.
        """
        self._offered[address] = residual, _prediction(likeliest, text_of)

    def of(
        self, lens: Lens, residuals: Mapping[str, Tensor], text_of: Callable[[int], str]
    ) -> dict[str, LayerPrediction]:
        """The prediction after each layer, given its residual vector (width,) by address. Waits for the device once."""
        if lens is not self._lens:
            self._lens, self._known = lens, {}
        known = {address: self._known[address] for address in residuals if address in self._known}
        self._known = {address: each for address, each in known.items() if each[0] is residuals[address]}
        offered, self._offered = self._offered, {}
        for address, (vector, prediction) in offered.items():
            if address in residuals and address not in self._known and torch.equal(vector, residuals[address]):
                self._known[address] = residuals[address], prediction
        fresh = {address: vector for address, vector in residuals.items() if address not in self._known}
        found = likeliest(lens, list(fresh.values()), top=TOP)
        for (address, vector), tokens in zip(fresh.items(), found, strict=True):
            self._known[address] = vector, _prediction(tokens, text_of)
        return {address: self._known[address][1] for address in residuals}

    def known(self, address: str, residual: Tensor | None) -> LayerPrediction | None:
        """The prediction after a layer, if it has been read from this very vector."""
        tensor, prediction = self._known.get(address, (None, None))
        return prediction if residual is not None and tensor is residual else None


def _prediction(likeliest: Sequence[tuple[int, float]], text_of: Callable[[int], str]) -> LayerPrediction:
    best, *others = likeliest
    return LayerPrediction(best[0], text_of(best[0]), best[1], tuple((id, text_of(id), prob) for id, prob in others))
