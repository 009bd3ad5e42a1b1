"""The values that conditions and expressions see at an event: measured once for all, with one copy to the host."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Protocol

from llmdbg.debugger.breakpoints.known_place import known_place
from llmdbg.debugger.breakpoints.local_tensors import measure_locals
from llmdbg.debugger.breakpoints.origins import Origins
from llmdbg.debugger.breakpoints.triggers import BEGINS_HERE, CHOSEN_PROB, DIVERGES, UNEQUAL
from llmdbg.debugger.known_values import known_of, probability_of_chosen
from llmdbg.debugger.nonfinite_ranks import not_finite_on_any
from llmdbg.debugger.positions import positions
from llmdbg.engine.lockstep import InLockstep
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import LensError
from llmdbg.models.stages import StageKind
from llmdbg.probes.lens import UNVERIFIED, Lens, build_lens
from llmdbg.probes.measures import measure, needs_output, needs_scores
from llmdbg.probes.quantities import APART

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from transformers import PreTrainedModel

    from llmdbg.engine.debuggee import Clock, Vocabulary
    from llmdbg.engine.lockstep import HeldByRanks
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.models.anatomy import Anatomy
    from llmdbg.probes.quantities import QuantityValue


class ComparedReference(Protocol):
    """A run that stands beside this one."""

    def apart(self, event: StageEvent) -> float | None:
        """How far an event's values are from the reference's, relative to their norm."""

    def distances(self, token: int) -> Mapping[str, float]:
        """The same of each stage that has been compared while `token` was produced, in the order they ran."""

    def measured(self, event: StageEvent) -> tuple[float | None, bool]:
        """How far they are, and whether that is more than rounding and the stages before it explain."""


def _as_it_is(value: Any) -> Any:
    """What one process alone has measured."""
    return value


class StageMetrics:
    """Measures stage events of one debuggee. `ranks` is the debuggee if its values lie on several.

    `reference` is the run that stands beside it, None if none does. `no_lens` says why there is no lens before
    `logits`; empty if there is.
    """

    def __init__(
        self,
        model: PreTrainedModel | None,
        anatomy: Anatomy,
        vocabulary: Vocabulary,
        prompt_length: int,
        clock: Clock,
        ranks: HeldByRanks | None = None,
        *,
        seen: Callable[[StageEvent], StageEvent],
    ) -> None:
        """`seen` gives an event as the chosen lane has it."""
        self._seen = seen
        self._model = model
        self._anatomy = anatomy
        self._vocabulary = vocabulary
        self._prompt_length = prompt_length
        self._clock = clock
        self._ranks = ranks
        self._told: Callable[[Any], Any] = ranks.told if isinstance(ranks, InLockstep) else _as_it_is
        self._lens: Lens | None = None
        self.no_lens = ""
        self._ids: dict[str, int] = {}
        self._origins = Origins()
        self._built = False
        self._verified = False
        self._last: Tensor | None = None
        self.reference: ComparedReference | None = None

    def measure(self, event: StageEvent, names: Collection[str], tokens: Collection[str]) -> dict[str, QuantityValue]:
        """Measure those of `names` that exist at an event. `tokens` are the texts in `rank("…")` and `prob("…")`.

        Raises ConditionError for a local that is no tensor.
        """
        event = self._seen(event)
        values = known_place(event)
        if "ms" in names:
            values["ms"] = event.ms if event.ms is not None else self._clock.elapsed(event.stage.address)
        if CHOSEN_PROB in names and event.chosen is not None:
            prob = probability_of_chosen(event)
            values[CHOSEN_PROB] = None if prob is None else float(prob)
        if self._ranks is not None and UNEQUAL in names:
            values[UNEQUAL] = next(iter(self._ranks.differences(event)), "")
        if self.reference is not None and (APART in names or DIVERGES in names):
            values[APART], values[DIVERGES] = self.reference.measured(event)
        output = main_tensor(event.output) if needs_output(names) else None
        scores = self.scores(event) if needs_scores(names) else None
        ids = {text: id for text in tokens if (id := self._id_of(text)) is not None}
        if (known := known_of(event)) is not None:
            values |= known.measure(names, ids)
        values |= measure_locals(event, names)
        values |= measure(names, output, scores=scores, tokens=ids, text_of=self._vocabulary.text)
        if BEGINS_HERE in names and event.stage.kind is StageKind.OP:
            values[BEGINS_HERE] = self._origins.begins_here(event, bool(values.get("nan") or values.get("inf")))
        return values if self._ranks is None else not_finite_on_any(self._ranks, event, values)

    def scores(self, event: StageEvent) -> Tensor | None:
        """The next token's scores (1, vocabulary): the event's own from `logits` on, before that the lens's, if any."""
        if event.trail:
            return event.trail[-1][1]
        if event.stage.kind in (StageKind.TOKENIZE, StageKind.GRADIENT):
            return None
        lens, output = self.lens(), main_tensor(event.output)
        if lens is None or output is None:
            return None
        residual = lens.last_position(output, positions(event, self._prompt_length)[1])
        return None if residual is None else lens.logits(residual, normed=event.stage.kind is StageKind.NORM)

    def lens(self) -> Lens | None:
        """The model's lens, built on first use; None if it has none, and then `no_lens` says why."""
        if not self._built:
            self._built = True
            try:
                self._lens = self._build_lens()
            except LensError as error:
                self.no_lens = str(error)
        return self._lens

    def why_no_lens(self) -> str:
        """Why nothing can be predicted before `logits`; empty if it can. Builds the lens, which takes a while."""
        self.lens()
        return self.no_lens

    def _build_lens(self) -> Lens:
        if self._model is None:
            raise LensError("predictions before the logits need the model's head, and this debuggee has no live model")
        return build_lens(self._model, self._anatomy)

    def unverified(self) -> frozenset[str]:
        """The stages that `verify` still has to see while the lens in use has not been checked against the model."""
        layers = self._anatomy.layers()
        if self._lens is None or self._verified or not layers:
            return frozenset()
        return frozenset((layers[-1].address, "logits"))

    def verify(self, event: StageEvent) -> None:
        """Check the lens once against a whole forward: its logits from the last layer's output must be the model's.

        If they differ the lens is dropped, and `no_lens` says so. Waits for the device.
        """
        if self._lens is None or self._verified:
            return
        if event.stage.kind is StageKind.LAYER and event.stage.address in self.unverified():
            output = main_tensor(event.output)
            length = positions(event, self._prompt_length)[1]
            self._last = None if output is None else self._lens.last_position(output, length)
        elif event.stage.kind is StageKind.LOGITS and self._last is not None:
            self._verified = True
            if not self._told(self._lens.verified_against(self._last, event.trail[0][1])):
                self._lens, self.no_lens = None, UNVERIFIED
            self._last = None

    def _id_of(self, text: str) -> int | None:
        if text not in self._ids:
            id = self._vocabulary.id_of(text)
            self._ids[text] = -1 if id is None else id
        return self._ids[text] if self._ids[text] >= 0 else None
