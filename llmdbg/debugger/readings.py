"""What conditions and expressions are told of a visit: measured once for all of them, in one copy to the host."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.positions import positions
from llmdbg.debugger.triggers import CHOSEN_PROB
from llmdbg.engine.visit import main_tensor
from llmdbg.errors import LensError
from llmdbg.models.stages import StageKind
from llmdbg.probes.lens import UNVERIFIED, Lens, build_lens
from llmdbg.probes.measures import measure, needs_output, needs_scores

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.run import Run
    from llmdbg.engine.visit import Visit
    from llmdbg.probes.quantities import Value


class Readings:
    """Measures visits of one session. `no_lens` says why nothing can be predicted before `logits`, if so."""

    def __init__(self, session: Run) -> None:
        self._session = session
        self._prompt_length = len(session.prompt.ids)
        self._lens: Lens | None = None
        self.no_lens = ""
        self._ids: dict[str, int] = {}
        self._built = False
        self._verified = False
        self._last: Tensor | None = None

    def place(self, visit: Visit) -> dict[str, Value]:
        """What is known without looking at a tensor."""
        known: dict[str, Value] = {
            "token": visit.token,
            "phase": visit.phase.value,
            "stage": visit.stage.address,
        }
        if visit.stage.layer is not None:
            known["layer"] = visit.stage.layer
        return known

    def of(self, visit: Visit, names: Collection[str], tokens: Collection[str]) -> dict[str, Value]:
        """Everything of `names` that can be known at a visit. `tokens` are the texts in `rank("…")` and `prob("…")`."""
        values = self.place(visit)
        if "ms" in names:
            values["ms"] = self._session.engine.milliseconds(visit)
        if CHOSEN_PROB in names and visit.chosen is not None:
            values[CHOSEN_PROB] = float(torch.softmax(visit.trail[0][1][0], dim=-1)[visit.chosen])
        output = main_tensor(visit.output) if needs_output(names) else None
        scores = self.scores(visit) if needs_scores(names) else None
        ids = {text: id for text in tokens if (id := self._id_of(text)) is not None}
        return values | measure(names, output, scores=scores, tokens=ids, text_of=self._session.vocabulary.text)

    def scores(self, visit: Visit) -> Tensor | None:
        """The next token's scores (1, vocabulary): the visit's own from `logits` on, the lens's before."""
        if visit.trail:
            return visit.trail[-1][1]
        if visit.stage.kind is StageKind.TOKENIZE:
            return None
        lens, output = self.lens(), main_tensor(visit.output)
        if lens is None or output is None:
            return None
        residual = lens.last_position(output, positions(visit, self._prompt_length)[1])
        return None if residual is None else lens.logits(residual, normed=visit.stage.kind is StageKind.NORM)

    def lens(self) -> Lens | None:
        """The model's lens, None (and `no_lens` says why) where it has none."""
        if not self._built:
            self._built = True
            try:
                self._lens = build_lens(self._session.loaded.model, self._session.anatomy)
            except LensError as error:
                self.no_lens = str(error)
        return self._lens

    def unverified(self) -> frozenset[str]:
        """The stages that `verify` still has to see, while a lens is in use that was never held against the model."""
        layers = self._session.anatomy.layers()
        if self._lens is None or self._verified or not layers:
            return frozenset()
        return frozenset((layers[-1].address, "logits"))

    def verify(self, visit: Visit) -> None:
        """Hold the lens against a whole forward, once: what it makes of the last layer's output, and the logits.

        Where they differ there is no lens any more, and `no_lens` says so. Waits for the device.
        """
        if self._lens is None or self._verified:
            return
        if visit.stage.kind is StageKind.LAYER and visit.stage.address in self.unverified():
            output = main_tensor(visit.output)
            length = positions(visit, self._prompt_length)[1]
            self._last = None if output is None else self._lens.last_position(output, length)
        elif visit.stage.kind is StageKind.LOGITS and self._last is not None:
            self._verified = True
            if not self._lens.verified_against(self._last, visit.trail[0][1]):
                self._lens, self.no_lens = None, UNVERIFIED
            self._last = None

    def _id_of(self, text: str) -> int | None:
        if text not in self._ids:
            id = self._session.vocabulary.id_of(text)
            self._ids[text] = -1 if id is None else id
        return self._ids[text] if self._ids[text] >= 0 else None
