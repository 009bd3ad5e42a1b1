"""The page of the tour where the run stands: its facts are collected here, its words come from `explain/`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.inspection import tour_chances, tour_numbers
from llmdbg.debugger.inspection.explaining import model_facts, module_facts, split_words
from llmdbg.debugger.inspection.touring import tour_place, tour_stops
from llmdbg.errors import CommandError, LensError
from llmdbg.explain.tour_facts import TourFacts
from llmdbg.explain.tour_text import between_stops, page
from llmdbg.explain.tour_topics import Topic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.explain.facts import ModuleFacts
    from llmdbg.explain.tour_facts import TourPage, TourPicture

_MISTRALS = ("mistral", "mixtral", "ministral")


def tour_page(inspector: Inspector) -> TourPage:
    """The page of the tour's stop where the run stands, or of the way to the next one."""
    place, stops = tour_place(inspector), tour_stops(inspector)
    if inspector.debuggee.loaded is not None:
        tour_numbers.announce(inspector, stops)
    if not place.title:
        return between_stops(place.number, place.of)
    here = stops[place.number - 1]
    part = module_facts(inspector, inspector.stop.stage)
    picture: TourPicture | str | None
    try:
        picture = _PICTURES[here.topic](inspector, part)
    except (CommandError, LensError) as error:
        picture = str(error)
    rows = inspector.run.tokens()[: len(inspector.prompt.ids)]
    begins = rows[inspector.prompt.padding :][:1]
    special = tuple(tour_chances.special_names(inspector))
    sampling, has_model = inspector.debuggee.sampling, inspector.debuggee.loaded is not None
    facts = TourFacts(
        topic=here.topic,
        route=inspector.asked.tour.route,
        address=here.address,
        model=model_facts(inspector) if has_model else None,
        is_mistral=has_model and str(inspector.model.config.model_type).startswith(_MISTRALS),
        tokens=len(rows) - inspector.prompt.padding,
        special=special,
        begins_with=begins[0].piece if begins and begins[0].special else None,
        chat=len(special) > 1 or "[INST]" in inspector.prompt.text,
        last=rows[-1].text if rows else "",
        part=part,
        layer_weights=tour_numbers.layer_weights(inspector) if has_model else None,
        sampling="" if sampling is None else sampling.description,
        samples=sampling is not None and sampling.samples,
        picture=None if isinstance(picture, str) else picture,
        not_drawn=picture if isinstance(picture, str) else "",
    )
    return page(place.number, place.of, place.title, facts)


_PICTURES: Mapping[Topic, Callable[[Inspector, ModuleFacts | None], TourPicture | str | None]] = {
    Topic.PIECES: lambda inspector, _: tour_chances.pieces(inspector),
    Topic.MARKS: lambda inspector, _: tour_chances.pieces(inspector, only_special=True),
    Topic.BEGINNING: lambda inspector, _: tour_chances.pieces(inspector, only_special=True),
    Topic.CHAT: lambda inspector, _: tour_chances.pieces(inspector, only_special=True),
    Topic.SPELLING: lambda inspector, _: tour_chances.spelling(inspector, split_words(inspector)),
    Topic.LOADING: lambda inspector, _: tour_chances.weights(inspector),
    Topic.DEVICE: lambda inspector, _: tour_chances.traffic(inspector),
    Topic.EMBEDDING: lambda inspector, _: tour_numbers.table(inspector),
    Topic.PRODUCT: lambda inspector, _: tour_numbers.product(inspector),
    Topic.ATTENTION: lambda inspector, _: tour_numbers.reading(inspector),
    Topic.SHARED_KEYS: tour_numbers.sharing,
    Topic.WINDOW: tour_numbers.window,
    Topic.STATE: lambda inspector, _: tour_numbers.strips(inspector, tour_stops(inspector)),
    Topic.MLP: lambda inspector, _: tour_numbers.strips(inspector, tour_stops(inspector)),
    Topic.STREAM: lambda inspector, _: tour_numbers.lengths(inspector, tour_stops(inspector)),
    Topic.GROWTH: lambda inspector, _: tour_numbers.growth(inspector),
    Topic.SCORES: lambda inspector, _: tour_chances.scores(inspector),
    Topic.SETTINGS: lambda inspector, _: tour_chances.settings(inspector),
    Topic.CHOICE: lambda inspector, _: tour_chances.choice(inspector),
    Topic.ENDING: lambda inspector, _: tour_chances.ending(inspector),
    Topic.CACHE: lambda inspector, _: tour_chances.cached(inspector),
}
