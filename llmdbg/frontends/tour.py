"""The tour in batch mode: every stop explained, as text or as JSON Lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from llmdbg.frontends.answers import answer_json, answer_lines
from llmdbg.frontends.answers.stops import end_lines
from llmdbg.frontends.batch.events import Event, end_event
from llmdbg.frontends.batch.foreign_output import libraries_in_log
from llmdbg.frontends.batch.progress import LoadingBar
from llmdbg.frontends.opening import open_generation, opening_notes
from llmdbg.frontends.output import note, write_json, write_lines

if TYPE_CHECKING:
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.inspection.touring import TourPlace
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.explain.explanation import Explanation
    from llmdbg.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class _ExplainedStop:
    """A stop of the tour."""

    place: TourPlace
    """Where it is on the tour."""
    explanation: Explanation
    """The explanation of its stage."""


@libraries_in_log()
def launch(
    spec: ModelSpec,
    text: str,
    settings: GenerationSettings,
    *,
    chat: bool,
    system: str | None,
    json: bool,
    left_pad: int = 0,
) -> int:
    """Load the model, write every stop to stdout and return the exit code. Raises LlmdbgError."""
    with LoadingBar() as bar:
        debuggee = open_generation(spec, text, settings, chat=chat, system=system, report=bar.update, left_pad=left_pad)
    for each in opening_notes(debuggee):
        note(each)
    # Only now: it imports torch, which is a step of the start.
    from llmdbg.debugger.debugger import Debugger

    debugger = Debugger(debuggee)
    try:
        walk(debugger, json=json)
    finally:
        ended = debugger.close()
    if json:
        write_json(end_event(ended))
    else:
        write_lines(end_lines(ended))
    return 0


def walk(debugger: Debugger, out: IO[str] | None = None, *, json: bool = False) -> int:
    """Write every stop of the tour to `out`, or to stdout. Returns how many there were. Raises LlmdbgError."""
    from llmdbg.debugger.inspection.explaining import explain_here
    from llmdbg.debugger.inspection.touring import go_on, tour_place

    stops = 0
    while True:
        stops += 1
        stop = _ExplainedStop(tour_place(debugger.inspector), explain_here(debugger.inspector))
        if json:
            write_json(_event(stop), out)
        else:
            write_lines(_lines(stop), out)
        if go_on(debugger.inspector) is None:
            return stops


def _event(stop: _ExplainedStop) -> Event:
    place = stop.place
    event = {"event": "tour", "stop": place.number, "of": place.of, "title": place.title}
    return {**event, "explanation": answer_json(stop.explanation)}


def _lines(stop: _ExplainedStop) -> list[str]:
    place = stop.place
    return [f"stop {place.number} of {place.of}: {place.title}", *answer_lines(stop.explanation), ""]
