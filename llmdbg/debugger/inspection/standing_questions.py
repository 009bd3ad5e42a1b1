"""Questions that are asked again at every stop while somebody looks, by name: one place for what a pane may ask.

A front end sends the name of a question and gets a frozen value of plain Python: no tensor leaves the engine's thread.
What needs more than the present stop is imported when it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmdbg.errors import LlmdbgError
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.cost import Cost
    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.debugger.inspection.memory import MemoryRow
    from llmdbg.debugger.inspection.nonfinite import NonfiniteHunt
    from llmdbg.debugger.inspection.source import SourceCode
    from llmdbg.debugger.inspection.touring import TourPlace
    from llmdbg.debugger.inspection.values_answer import Values
    from llmdbg.explain.explanation import Explanation
    from llmdbg.probes.attention import AttentionMap
    from llmdbg.probes.attribution import Attribution
    from llmdbg.probes.change import ResidualChange
    from llmdbg.probes.finiteness import TensorExtent
    from llmdbg.probes.histogram import Histogram
    from llmdbg.probes.kv import CacheMap
    from llmdbg.probes.lens_table import LensTable


@dataclass(frozen=True, slots=True)
class TensorView:
    """The present stop's tensor."""

    spread: Histogram | None
    """How its values are spread, None where there is no tensor of activations or scores."""
    change: ResidualChange | None
    """What the stage did to the vector at the focus, None where no vector of that shape went in."""


@dataclass(frozen=True, slots=True)
class LensView:
    """What each layer so far would predict."""

    table: LensTable | str
    """The lens, or a sentence that says why there is none."""
    attribution: Attribution | None
    """What each part adds to its prediction, None where that cannot be said."""


@dataclass(frozen=True, slots=True)
class CostView:
    """What is known of the cost without measuring anything."""

    memory: tuple[MemoryRow, ...]
    """Who holds how many bytes."""
    kv_bytes: int | None
    """Bytes in the KV cache, None where there is no cache to read."""
    kv_growth: int | None
    """Bytes that one more token adds, None where that is not known yet."""
    measured: Cost | None
    """What `info cost` measured last, None before it was asked."""


@dataclass(frozen=True, slots=True)
class FinitenessView:
    """Whether what the present stage returned is finite."""

    outputs: tuple[tuple[str, TensorExtent], ...]
    """Every tensor of floating-point numbers it returned, by its name there."""
    cuts_scores: bool
    """Whether -inf is how this stage rules tokens out."""
    hunt: NonfiniteHunt | None
    """What `info nonfinite` found last, None before it was asked."""


@dataclass(frozen=True, slots=True)
class ExplainView:
    """The present stop in plain English, and where it is on the tour."""

    explanation: Explanation
    """The present stage's explanation."""
    tour: TourPlace
    """Where it is on the tour."""


@dataclass(frozen=True, slots=True)
class StandingQuestion:
    """A question by its name."""

    ask: Callable[[Inspector], Any]
    """Answers it."""
    fetch: Callable[[Inspector, Any], Any] | None = None
    """Answers it with more of a long answer, given what is lacking; None where the first answer is all there is."""
    shows: Callable[[Any], bool] | None = None
    """Whether this question's next answer shows what a command answered just now; None where it never does."""


def _tensor(inspector: Inspector) -> TensorView:
    from llmdbg.debugger.inspection.present_tensor import residual_change, spread

    no_activations = inspector.stop.stage.kind in (StageKind.SAMPLE, StageKind.TOKENIZE)
    return TensorView(None if no_activations else spread(inspector), residual_change(inspector))


def _lens(inspector: Inspector) -> LensView:
    from llmdbg.debugger.inspection.attribution import attributed, parts_request
    from llmdbg.debugger.inspection.lens import shown

    # Both questions need the token to have been recorded: one run is enough for the two.
    inspector.run.recorder.expect(parts_request(inspector), inspector.event.token)
    try:
        table = shown(inspector)
    except LlmdbgError as error:
        return LensView(str(error), None)
    if isinstance(table, str) or table.prediction is None:
        return LensView(table, None)
    try:
        added = attributed(inspector, table.prediction.id)
    except LlmdbgError:
        return LensView(table, None)
    return LensView(table, None if isinstance(added, str) else added)


def _attention(inspector: Inspector) -> AttentionMap | str:
    from llmdbg.debugger.inspection.attention import shown

    return shown(inspector)


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

    # A further page has no summary: only the command that asked for it shows that one.
    return isinstance(answer, Values) and answer.summary is not None


def _source(inspector: Inspector) -> SourceCode:
    from llmdbg.debugger.inspection.source import source

    return source(inspector)


def _explain(inspector: Inspector) -> ExplainView:
    from llmdbg.debugger.inspection.explaining import explain_here
    from llmdbg.debugger.inspection.touring import tour_place

    return ExplainView(explain_here(inspector, avoid_rerun=True), tour_place(inspector))


def _cost(inspector: Inspector) -> CostView:
    from llmdbg.debugger.inspection.memory import cache_size, memory

    held = cache_size(inspector)
    kv_bytes, kv_growth = (None, None) if held is None else held
    return CostView(memory(inspector), kv_bytes, kv_growth, inspector.asked.last_answers.get("cost"))


def _finiteness(inspector: Inspector) -> FinitenessView:
    from llmdbg.probes.finiteness import extents, tensors_in

    named = list(tensors_in(inspector.event.output, "output"))
    found = extents([(tensor, None) for _, tensor in named])
    outputs = tuple((name, extent) for (name, _), extent in zip(named, found, strict=True))
    cuts = inspector.event.stage.kind is StageKind.PROCESSOR
    return FinitenessView(outputs, cuts, inspector.asked.last_answers.get("nonfinite"))


STANDING_QUESTIONS: Mapping[str, StandingQuestion] = {
    "tensor": StandingQuestion(_tensor),
    "lens": StandingQuestion(_lens),
    "attention": StandingQuestion(_attention),
    "kv": StandingQuestion(_kv),
    "values": StandingQuestion(_values, _more_values, _is_values),
    "source": StandingQuestion(_source),
    "explain": StandingQuestion(_explain),
    "cost": StandingQuestion(_cost),
    "finiteness": StandingQuestion(_finiteness),
}
