"""The tour in batch mode: every stop said and drawn, as text or as JSON Lines."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from llmdbg.explain.tour_routes import MODEL
from llmdbg.frontends.answers import answer_json
from llmdbg.frontends.answers.stops import end_lines
from llmdbg.frontends.batch.events import Event, end_event
from llmdbg.frontends.batch.foreign_output import libraries_in_log
from llmdbg.frontends.batch.progress import LoadingBar
from llmdbg.frontends.opening import open_generation, opening_notes
from llmdbg.frontends.output import note, write_json, write_lines
from llmdbg.frontends.sanitize import token_text
from llmdbg.frontends.tour_drawing import as_text, drawn

if TYPE_CHECKING:
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.explain.tour_facts import TourPage
    from llmdbg.models.spec import ModelSpec

_WIDTH, _HEIGHT = 100, 40
"""How many cells a picture may take where there is no screen."""


@libraries_in_log()
def launch(
    spec: ModelSpec,
    text: str,
    settings: GenerationSettings,
    route: str,
    *,
    chat: bool,
    system: str | None,
    json: bool,
    left_pad: int = 0,
) -> int:
    """Load the model, write every stop of a route to stdout and return the exit code. Raises LlmdbgError."""
    with LoadingBar() as bar:
        debuggee = open_generation(spec, text, settings, chat=chat, system=system, report=bar.update, left_pad=left_pad)
    for each in opening_notes(debuggee):
        note(each)
    # Only now: it imports torch, which is a step of the start.
    from llmdbg.debugger.debugger import Debugger

    debugger = Debugger(debuggee)
    try:
        walk(debugger, json=json, route=route)
    finally:
        ended = debugger.close()
    if json:
        write_json(end_event(ended))
    else:
        write_lines(end_lines(ended))
    return 0


def walk(debugger: Debugger, out: IO[str] | None = None, *, json: bool = False, route: str = MODEL) -> int:
    """Write every stop of a route to `out`, or to stdout. Returns how many there were. Raises LlmdbgError."""
    from llmdbg.debugger.inspection.tour_page import tour_page
    from llmdbg.debugger.inspection.touring import begin, go_on

    stops = 0
    begin(debugger.inspector, route)
    while True:
        stops += 1
        page = tour_page(debugger.inspector)
        if json:
            write_json(_event(page, debugger), out)
        else:
            write_lines(_lines(page), out)
        if go_on(debugger.inspector) is None:
            return stops


def _picture(page: TourPage) -> list[str]:
    if page.facts is None or page.facts.picture is None:
        return []
    return as_text(drawn(page.facts.picture, _WIDTH, _HEIGHT))


def _event(page: TourPage, debugger: Debugger) -> Event:
    from llmdbg.debugger.inspection.explaining import explain_here

    return {
        "event": "tour",
        "stop": page.number,
        "of": page.of,
        "title": page.title,
        "key": page.key,
        "plain": list(page.plain),
        "note": page.note,
        "picture": _picture(page),
        "facts": answer_json(page.facts),
        "explanation": answer_json(explain_here(debugger.inspector)),
    }


def _lines(page: TourPage) -> list[str]:
    words = [token_text(text) for text in (*page.plain, page.note) if text]
    picture = [f"    {line}".rstrip() for line in _picture(page)]
    head = [f"stop {page.number} of {page.of}: {page.title}", token_text(page.key), ""]
    return [*head, *picture, *([""] if picture else []), *words, ""]
