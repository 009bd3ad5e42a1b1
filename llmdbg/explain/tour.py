"""The tour: a walk from a prompt to its first token, and to the second, for newcomers. There are two routes.

Which stops a route has depends on the model: one without attention, or with a single layer, has fewer. Several stops
may be at one stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.explain.facts import ModuleRole
from llmdbg.explain.roles import role_of
from llmdbg.explain.tour_routes import MISTRAL, MODEL
from llmdbg.explain.tour_topics import Topic
from llmdbg.models.attentions import attentions, is_inside
from llmdbg.models.remembered import remembered
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.stages import Stage


@dataclass(frozen=True, slots=True)
class TourStop:
    """One stop of the tour."""

    address: str
    """The stage's address."""
    token: int
    """Which generated token is being produced, counted from 0."""
    title: str
    """What happens there, in a few words."""
    topic: Topic
    """What it is about."""


def itinerary(anatomy: Anatomy, processors: Sequence[Stage], route: str = MODEL) -> tuple[TourStop, ...]:
    """The stops of a route through a model, in the order of the stages."""
    return tuple(_stops(anatomy, processors, route))


def _stops(anatomy: Anatomy, processors: Sequence[Stage], route: str) -> Iterator[TourStop]:
    kinds = {stage.kind for stage in anatomy.stages}
    for title, topic in _BEFORE_THE_MODEL[route]:
        yield TourStop("tokenize", 0, title, topic)
    if StageKind.EMBED in kinds:
        yield TourStop("embed", 0, "tokens become vectors", Topic.EMBEDDING)
    yield from _layers(anatomy, route)
    yield TourStop("logits", 0, "every token gets a score", Topic.SCORES)
    reshaped = processors[-1].address if processors else "logits"
    yield TourStop(reshaped, 0, "settings change the chances", Topic.SETTINGS)
    yield TourStop("sample", 0, "the first token is chosen", Topic.CHOICE)
    yield TourStop("sample", 0, "when it stops", Topic.ENDING)
    if StageKind.EMBED in kinds:
        yield TourStop("embed", 1, "the second token: only one position", Topic.CACHE)


_BEFORE_THE_MODEL = {
    MODEL: (
        ("your text becomes tokens", Topic.PIECES),
        ("tokens that are not text", Topic.MARKS),
    ),
    MISTRAL: (
        ("the tokenizer cuts your text", Topic.PIECES),
        ("the mark of the beginning: <s>", Topic.BEGINNING),
        ("a word that the vocabulary lacks", Topic.SPELLING),
        ("who speaks: [INST]", Topic.CHAT),
        ("the weights are loaded", Topic.LOADING),
        ("the move to the GPU", Topic.DEVICE),
    ),
}


@remembered
def _every_layer(anatomy: Anatomy) -> tuple[TourStop, ...]:
    return tuple(_in_layers(anatomy))


_ON_ONE_ROUTE = {Topic.SHARED_KEYS: MISTRAL, Topic.WINDOW: MISTRAL}


def _layers(anatomy: Anatomy, route: str) -> Iterator[TourStop]:
    return (stop for stop in _every_layer(anatomy) if _ON_ONE_ROUTE.get(stop.topic, route) == route)


def _in_layers(anatomy: Anatomy) -> Iterator[TourStop]:
    layers = anatomy.layers()
    if not layers:
        return
    found = _parts(anatomy, layers[0])
    reader = found.get(ModuleRole.ATTENTION) or found.get(ModuleRole.STATE_SPACE) or found.get(ModuleRole.RECURRENT)
    if (product := _first_product(anatomy, layers[0], reader)) is not None:
        yield TourStop(product.address, 0, "numbers times weights, summed", Topic.PRODUCT)
    if ModuleRole.ATTENTION in found:
        address = found[ModuleRole.ATTENTION].address
        yield TourStop(address, 0, "a position reads from others", Topic.ATTENTION)
        yield TourStop(address, 0, "heads share keys and values", Topic.SHARED_KEYS)
        yield TourStop(address, 0, "how far back it reads", Topic.WINDOW)
    elif reader is not None:
        yield TourStop(reader.address, 0, "a position takes in the ones before it", Topic.STATE)
    for role in (ModuleRole.MLP, ModuleRole.MIXTURE):
        if role in found:
            yield TourStop(found[role].address, 0, "each position is processed by itself", Topic.MLP)
            break
    yield TourStop(layers[0].address, 0, "a layer adds to the vector", Topic.STREAM)
    if len(layers) > 1:
        yield TourStop(layers[-1].address, 0, "layer by layer to the prediction", Topic.GROWTH)


def _parts(anatomy: Anatomy, layer: Stage) -> dict[ModuleRole, Stage]:
    """The outermost module of each role in a layer; without a live model there are none."""
    inside = [stage for stage in anatomy.stages if stage.layer == layer.layer and stage.depth > 1]
    found = {}
    for stage in sorted(inside, key=lambda each: -each.depth):
        if (module := anatomy.modules.get(stage.address)) is not None:
            found[role_of(stage, module, anatomy)] = stage
    known = [stage for stage in attentions(anatomy) if stage.layer == layer.layer]
    return {**found, ModuleRole.ATTENTION: known[0]} if known else found


def _first_product(anatomy: Anatomy, layer: Stage, reader: Stage | None) -> Stage | None:
    """The first matrix product of a layer: inside what reads from other positions, if that has one."""
    inside = [stage for stage in anatomy.stages if stage.layer == layer.layer and stage.depth > 1]
    products = [
        stage
        for stage in inside
        if (module := anatomy.modules.get(stage.address)) is not None
        and role_of(stage, module, anatomy) is ModuleRole.PROJECTION
    ]
    first = [stage for stage in products if reader is not None and is_inside(stage, reader)]
    return next(iter(first or products), None)
