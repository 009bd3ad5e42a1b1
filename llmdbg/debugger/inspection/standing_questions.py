"""The questions that panes may ask, by name. While a pane is in view its question is asked again at every stop.

A front end sends the name and gets a frozen value of plain Python: no tensor leaves the engine's thread. Questions that
need more than the current stop are imported when they are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.inspection.additions_answer import LayerAdditions
from llmdbg.debugger.inspection.predictions_answer import LayerPredictions
from llmdbg.debugger.known_values import refuse_unrecorded
from llmdbg.errors import LlmdbgError
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.debugger.editing.edits import EditReport
    from llmdbg.debugger.execution.branches import BranchRow
    from llmdbg.debugger.inspection.cost import Cost
    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.debugger.inspection.local_values import Locals
    from llmdbg.debugger.inspection.memory import MemoryRow
    from llmdbg.debugger.inspection.nonfinite import NonfiniteHunt
    from llmdbg.debugger.inspection.sampling_answer import SamplingView
    from llmdbg.debugger.inspection.source import SourceCode
    from llmdbg.debugger.inspection.values_answer import Values
    from llmdbg.explain.explanation import Explanation
    from llmdbg.explain.tour_facts import TourPage
    from llmdbg.probes.attention import AttentionMap
    from llmdbg.probes.attribution import Attribution
    from llmdbg.probes.change import ResidualChange
    from llmdbg.probes.finiteness import TensorExtent
    from llmdbg.probes.histogram import Histogram
    from llmdbg.probes.kv import CacheMap
    from llmdbg.probes.lens_table import LensTable
    from llmdbg.probes.sampling_choice import SamplingChoice


@dataclass(frozen=True, slots=True)
class TensorView:
    """The current stop's tensor."""

    spread: Histogram | None
    """Its values' histogram; None without a tensor of activations or scores."""
    change: ResidualChange | None
    """How the stage changed the vector at the focus; None if it has no input of the same shape."""


@dataclass(frozen=True, slots=True)
class LensView:
    """What each layer so far would predict."""

    table: LensTable | str
    """The lens, or a sentence that says why there is none."""
    attribution: Attribution | None
    """What each part adds to the logit of its prediction; None if that cannot be attributed."""
    pinned: tuple[str, ...] = ()
    """The texts of the tokens that the user named to follow; empty if it follows the prediction."""


@dataclass(frozen=True, slots=True)
class CostView:
    """What is known about the cost without measuring times."""

    memory: tuple[MemoryRow, ...]
    """Who holds how many bytes."""
    kv_bytes: int | None
    """Bytes in the KV cache; None if there is none to read."""
    kv_growth: int | None
    """Bytes that one more token adds to it; None if unknown."""
    measured: Cost | None
    """The latest answer of `info cost`; None before the first."""


@dataclass(frozen=True, slots=True)
class FinitenessView:
    """Whether the current stage's output is finite."""

    outputs: tuple[tuple[str, TensorExtent], ...]
    """Name and extent of every floating-point tensor it returned."""
    cuts_scores: bool
    """Whether it is a logits processor, which cuts tokens by setting their scores to -inf."""
    hunt: NonfiniteHunt | None
    """The latest answer of `info nonfinite`; None before the first."""


@dataclass(frozen=True, slots=True)
class StandingQuestion:
    """A question that a pane may ask."""

    ask: Callable[[Inspector], Any]
    """Answers it."""
    fetch: Callable[[Inspector, Any], Any] | None = None
    """Fetches another part of a long answer; None if `ask` returns all of it."""
    shows: Callable[[Any], bool] | None = None
    """Whether its next answer will show what a command has just answered; None if it never does."""


def _tensor(inspector: Inspector) -> TensorView:
    from llmdbg.debugger.inspection.present_tensor import residual_change, spread

    no_activations = inspector.stop.stage.kind in (StageKind.SAMPLE, StageKind.TOKENIZE)
    return TensorView(None if no_activations else spread(inspector), residual_change(inspector))


def _lens(inspector: Inspector) -> LensView:
    from llmdbg.debugger.inspection.attribution import attributed, parts_request
    from llmdbg.debugger.inspection.lens import shown

    # The table and the attribution both need the token recorded: announcing both makes one rerun enough.
    inspector.run.recorder.expect(parts_request(inspector), inspector.event.token)
    pinned = tuple(map(inspector.vocabulary.text, inspector.asked.followed))
    try:
        table = shown(inspector)
    except LlmdbgError as error:
        return LensView(str(error), None, pinned)
    if isinstance(table, str) or table.prediction is None:
        return LensView(table, None, pinned)
    try:
        added = attributed(inspector, table.prediction.id)
    except LlmdbgError:
        return LensView(table, None, pinned)
    return LensView(table, None if isinstance(added, str) else added, pinned)


def _is_lens(answer: Any) -> bool:
    from llmdbg.probes.lens_table import LensTable

    # The pane has a column for one followed token only.
    return isinstance(answer, LensTable) and bool(answer.rows) and len(answer.rows[0].followed) == 1


def _layers(inspector: Inspector) -> LayerPredictions:
    from llmdbg.debugger.inspection.beside_answer import apart_from_reference
    from llmdbg.debugger.inspection.layer_predictions import layer_predictions

    apart = apart_from_reference(inspector)
    try:
        return replace(layer_predictions(inspector), apart=apart)
    except LlmdbgError as error:
        return LayerPredictions({}, why_none=str(error), apart=apart)


def _additions(inspector: Inspector) -> LayerAdditions:
    from llmdbg.debugger.inspection.layer_additions import layer_additions

    try:
        return layer_additions(inspector)
    except LlmdbgError as error:
        return LayerAdditions({}, str(error))


def _attention(inspector: Inspector) -> AttentionMap | str:
    from llmdbg.debugger.inspection.attention import shown

    return shown(inspector)


def _is_attention(answer: Any) -> bool:
    from llmdbg.probes.attention import AttentionMap

    return isinstance(answer, AttentionMap)


def _kv(inspector: Inspector) -> CacheMap | str:
    from llmdbg.debugger.inspection import kv
    from llmdbg.probes.kv import CacheMap

    found = kv.ask(inspector, "")
    assert isinstance(found, (CacheMap, str))
    return found


def _values(inspector: Inspector) -> Values | str:
    from llmdbg.debugger.inspection import values

    return values.shown(inspector)


def _more_values(inspector: Inspector, lacking: tuple[int, int]) -> Values | str:
    from llmdbg.debugger.inspection import values

    return values.fetch(inspector, lacking)


def _is_values(answer: Any) -> bool:
    from llmdbg.debugger.inspection.values_answer import Values

    # A further page has no summary. The pane does not show it; only the command's answer does.
    return isinstance(answer, Values) and answer.summary is not None


def _branches(inspector: Inspector) -> tuple[BranchRow, ...]:
    return inspector.branching.rows()


def _edits(inspector: Inspector) -> tuple[EditReport, ...]:
    return inspector.run.edits.report()


def _source(inspector: Inspector) -> SourceCode:
    from llmdbg.debugger.inspection.source import source

    return source(inspector)


def _is_frame(answer: Any) -> bool:
    from llmdbg.debugger.inspection.frames import FrameRow

    return isinstance(answer, FrameRow)


def _locals(inspector: Inspector) -> Locals:
    from llmdbg.debugger.inspection.local_values import Locals, ask

    found = ask(inspector)
    assert isinstance(found, Locals)
    return found


def _is_locals(answer: Any) -> bool:
    from llmdbg.debugger.inspection.local_values import Locals

    return isinstance(answer, Locals)


def _explain(inspector: Inspector) -> Explanation:
    from llmdbg.debugger.inspection.explaining import explain_here

    return explain_here(inspector, avoid_rerun=True)


def _tour(inspector: Inspector) -> TourPage:
    from llmdbg.debugger.inspection.tour_page import tour_page

    return tour_page(inspector)


def _cost(inspector: Inspector) -> CostView:
    from llmdbg.debugger.inspection.memory import cache_size, memory

    held = cache_size(inspector)
    kv_bytes, kv_growth = (None, None) if held is None else held
    return CostView(memory(inspector), kv_bytes, kv_growth, inspector.asked.last_answers.get("cost"))


def _finiteness(inspector: Inspector) -> FinitenessView:
    from llmdbg.probes.finiteness import extents, tensors_in

    refuse_unrecorded(inspector.event)
    named = list(tensors_in(inspector.event.output, "output"))
    found = extents([(tensor, None) for _, tensor in named])
    outputs = tuple((name, extent) for (name, _), extent in zip(named, found, strict=True))
    cuts = inspector.event.stage.kind is StageKind.PROCESSOR
    return FinitenessView(outputs, cuts, inspector.asked.last_answers.get("nonfinite"))


def _sampling(inspector: Inspector) -> SamplingView | None:
    from llmdbg.debugger.inspection import sampling_sliders

    return sampling_sliders.shown(inspector)


def _sampling_changed(inspector: Inspector, wanted: SamplingChoice) -> SamplingView | None:
    from llmdbg.debugger.inspection import sampling_sliders

    return sampling_sliders.fetch(inspector, wanted)


STANDING_QUESTIONS: Mapping[str, StandingQuestion] = {
    "tensor": StandingQuestion(_tensor),
    "layers": StandingQuestion(_layers),
    "additions": StandingQuestion(_additions),
    "sampling": StandingQuestion(_sampling, _sampling_changed),
    "lens": StandingQuestion(_lens, shows=_is_lens),
    "attention": StandingQuestion(_attention, shows=_is_attention),
    "kv": StandingQuestion(_kv),
    "values": StandingQuestion(_values, _more_values, _is_values),
    "source": StandingQuestion(_source, shows=_is_frame),
    "locals": StandingQuestion(_locals, shows=_is_locals),
    "branches": StandingQuestion(_branches),
    "edits": StandingQuestion(_edits),
    "explain": StandingQuestion(_explain),
    "tour": StandingQuestion(_tour),
    "cost": StandingQuestion(_cost),
    "finiteness": StandingQuestion(_finiteness),
}
