"""The tour: about ten stops on the way from a prompt to its first token, and one at the second, for newcomers.

Which stages they are depends on the model: one without attention, or with a single layer, has fewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.explain.facts import ModuleRole
from llmdbg.explain.roles import role_of
from llmdbg.models.attentions import attentions
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


def itinerary(anatomy: Anatomy, processors: Sequence[Stage]) -> tuple[TourStop, ...]:
    """The stops of a tour through a model, in the order of the stages."""
    return tuple(_stops(anatomy, processors))


def _stops(anatomy: Anatomy, processors: Sequence[Stage]) -> Iterator[TourStop]:
    kinds = {stage.kind for stage in anatomy.stages}
    yield TourStop("tokenize", 0, "your text becomes tokens")
    if StageKind.EMBED in kinds:
        yield TourStop("embed", 0, "tokens become vectors")
    yield from _layers(anatomy)
    if StageKind.NORM in kinds:
        yield TourStop("norm", 0, "the last vector is prepared")
    yield TourStop("logits", 0, "every token gets a score")
    if processors:
        yield TourStop(processors[0].address, 0, "the settings change the scores")
    yield TourStop("sample", 0, "the first token is chosen")
    if StageKind.EMBED in kinds:
        yield TourStop("embed", 1, "the second token: only one position")


@remembered
def _layers(anatomy: Anatomy) -> tuple[TourStop, ...]:
    return tuple(_in_layers(anatomy))


def _in_layers(anatomy: Anatomy) -> Iterator[TourStop]:
    layers = anatomy.layers()
    if not layers:
        return
    found = _parts(anatomy, layers[0])
    if ModuleRole.ATTENTION in found:
        yield TourStop(found[ModuleRole.ATTENTION].address, 0, "a position reads from others")
    elif reader := found.get(ModuleRole.STATE_SPACE) or found.get(ModuleRole.RECURRENT):
        yield TourStop(reader.address, 0, "a position takes in the ones before it")
    for role in (ModuleRole.MLP, ModuleRole.MIXTURE):
        if role in found:
            yield TourStop(found[role].address, 0, "each position is processed by itself")
            break
    yield TourStop(layers[0].address, 0, "the first layer is done")
    middle = len(layers) // 2
    if 0 < middle < len(layers) - 1:
        yield TourStop(layers[middle].address, 0, "halfway through")
    if len(layers) > 1:
        yield TourStop(layers[-1].address, 0, "the last layer is done")


def _parts(anatomy: Anatomy, layer: Stage) -> dict[ModuleRole, Stage]:
    """The outermost module of each role in a layer; without a live model there are none."""
    inside = [stage for stage in anatomy.stages if stage.layer == layer.layer and stage.depth > 1]
    found = {}
    for stage in sorted(inside, key=lambda each: -each.depth):
        if (module := anatomy.modules.get(stage.address)) is not None:
            found[role_of(stage, module, anatomy)] = stage
    known = [stage for stage in attentions(anatomy) if stage.layer == layer.layer]
    return {**found, ModuleRole.ATTENTION: known[0]} if known else found
