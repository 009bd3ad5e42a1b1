"""The tour in batch mode: every stop explained, as text or as JSON Lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.explaining import explain_here
from llmdbg.debugger.inspection.touring import TourPlace, go_on, tour_place
from llmdbg.frontends.answers import answer_json, answer_lines
from llmdbg.frontends.answers.stops import end_lines
from llmdbg.frontends.batch.events import end_event, line
from llmdbg.frontends.batch.progress import LoadingBar
from llmdbg.frontends.log import route_libraries, route_transformers
from llmdbg.frontends.opening import open_generation, opening_notes
from llmdbg.frontends.sanitize import sanitize

if TYPE_CHECKING:
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.explain.explanation import Explanation
    from llmdbg.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class _ExplainedStop:
    place: TourPlace
    explanation: Explanation


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
    route_libraries()
    route_transformers()
    with LoadingBar() as bar:
        debuggee = open_generation(spec, text, settings, chat=chat, system=system, report=bar.update, left_pad=left_pad)
    for note in opening_notes(debuggee):
        sys.stderr.write(f"note: {sanitize(note)}\n")
    debugger = Debugger(debuggee)
    try:
        walk(debugger, sys.stdout, json=json)
    finally:
        ended = debugger.close()
    _write([line(end_event(ended))] if json else end_lines(ended), sys.stdout)
    return 0


def walk(debugger: Debugger, out: IO[str], *, json: bool = False) -> int:
    """Write every stop of the tour to `out`. Returns how many there were. Raises LlmdbgError."""
    stops = 0
    while True:
        stops += 1
        stop = _ExplainedStop(tour_place(debugger.inspector), explain_here(debugger.inspector))
        _write([_json(stop)] if json else _lines(stop), out)
        if go_on(debugger.inspector) is None:
            return stops


def _json(stop: _ExplainedStop) -> str:
    place = stop.place
    event = {"event": "tour", "stop": place.number, "of": place.of, "title": place.title}
    return line({**event, "explanation": answer_json(stop.explanation)})


def _lines(stop: _ExplainedStop) -> list[str]:
    place = stop.place
    return [f"stop {place.number} of {place.of}: {place.title}", *answer_lines(stop.explanation), ""]


def _write(lines: Iterable[str], out: IO[str]) -> None:
    for each in lines:
        out.write(each.encode("utf-8", "backslashreplace").decode() + "\n")
    out.flush()
