"""The pictures of the tour's stops inside the model: this run's own vectors, weights and layers, as frozen values.

A function for each topic. It returns a picture, or a sentence that says why there is none. What has to be recorded in
passing is announced at every stop by `announce`, so that no stop runs the prompt again for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

import torch

from llmdbg.debugger.execution.recorder import RecordRequest
from llmdbg.debugger.inspection.layer_predictions import layer_predictions
from llmdbg.debugger.inspection.lens import residuals_request
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import LlmdbgError
from llmdbg.explain.facts import ModuleRole
from llmdbg.explain.roles import part_facts, role_of
from llmdbg.explain.tour_facts import (
    GrowthPicture,
    LengthsPicture,
    Piece,
    ProductPicture,
    ReadingPicture,
    SharingPicture,
    StripsPicture,
    TablePicture,
    WindowPicture,
)
from llmdbg.explain.tour_topics import Topic
from llmdbg.models.attentions import is_inside
from llmdbg.probes.change import input_like
from llmdbg.probes.kv import layer_cache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.explain.facts import ModuleFacts
    from llmdbg.explain.tour import TourStop
    from llmdbg.models.stages import Stage
    from llmdbg.probes.kv import CacheLayer

MOST_PIECES = 400
"""How many tokens of a prompt a picture holds: more than any screen shows."""
_LOOKED_AT, _ROWS, _MOST_NUMBERS, _PRODUCTS = 50, 5, 192, 4
_WINDOW_ROWS = 8
_ALIKE = 1e-2
"""How far, relative to its length, a vector may be from the sum of its parts to count as that sum, in bfloat16 too."""


def announce(inspector: Inspector, stops: Sequence[TourStop]) -> None:
    """Record what later stops of this token show, from now on and through the next command."""
    token, recorder = inspector.event.token, inspector.run.recorder
    recorder.expect(residuals_request(inspector), token, standing=True)
    recorder.expect(_parts_request(inspector, stops), token, standing=True)


def _parts_request(inspector: Inspector, stops: Sequence[TourStop]) -> RecordRequest:
    """What attention and MLP of the first layer add at the focus, and what is inside the MLP."""
    parts = [each.address for each in stops if each.topic in (Topic.ATTENTION, Topic.STATE, Topic.MLP)]
    inner = {each.address for part in parts if (each := _narrowing(inspector, part)) is not None}

    def take(event: StageEvent) -> Tensor | None:
        if event.stage.address in inner:
            given = _given(event)
            return None if given is None else inspector.focus.vector_of(event, given)
        return inspector.focus.vector(event)

    return RecordRequest("tour", frozenset((*parts, *inner)), take, about=inspector.focus.position)


def _narrowing(inspector: Inspector, mlp: str) -> Stage | None:
    """The projection of an MLP whose input is the wide vector inside it; None if there is none of that shape."""
    stage = inspector.anatomy.stage(mlp)
    widens = _facts_of(inspector, stage)
    if widens is None or widens.widens is None:
        return None
    inside = [each for each in inspector.anatomy.stages if is_inside(each, stage)]
    sizes = [(each, found.sizes) for each in inside if (found := _facts_of(inspector, each)) is not None]
    return next((each for each, size in sizes if size == widens.widens[::-1]), None)


def _facts_of(inspector: Inspector, stage: Stage) -> ModuleFacts | None:
    return part_facts(stage, inspector.anatomy, inspector.model.config.get_text_config(decoder=True))


def _given(event: StageEvent) -> Tensor | None:
    return main_tensor((*event.args, *event.kwargs.values()))


def _numbers(vector: Tensor, most: int | None = None) -> tuple[float, ...]:
    found: list[float] = vector.detach().flatten()[:most].float().cpu().tolist()
    return tuple(found)


def table(inspector: Inspector) -> TablePicture | str:
    """The rows of the embedding that the last tokens up to the focus were looked up in."""
    weight = getattr(inspector.model.get_input_embeddings(), "weight", None)
    if not _is_plain(weight):
        return "the table is stored in another form than plain numbers (quantised or kept elsewhere)"
    tokens = inspector.run.tokens()[: inspector.focus_position() + 1]
    last = {row.id: row.piece if row.special else row.text for row in reversed(tokens[-_LOOKED_AT:])}
    ids = list(last)[:_ROWS][::-1]
    part = weight[ids, :_MOST_NUMBERS].detach().float().cpu().tolist()
    rows = tuple((id, last[id], tuple(numbers)) for id, numbers in zip(ids, part, strict=True))
    return TablePicture(rows, tokens[-1].id, int(weight.shape[1]))


def _is_plain(weight: object) -> TypeGuard[Tensor]:
    return isinstance(weight, torch.Tensor) and weight.dim() == 2 and weight.is_floating_point() and not weight.is_meta


@torch.no_grad()
def product(inspector: Inspector) -> ProductPicture | str:
    """The largest number that the current projection computed at the focus, product by product."""
    event = inspector.event
    module = inspector.anatomy.modules[event.stage.address]
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    given, output = _given(event), inspector.focus.vector(event)
    x = None if given is None else inspector.focus.vector_of(event, given)
    if not _is_plain(weight):
        return "the weights are stored in another form than plain numbers (quantised or kept elsewhere)"
    if x is None or output is None:
        return "it has no vector for each position here"
    sizes = (len(x), len(output))
    if isinstance(module, torch.nn.Linear):
        weight = weight.T
    if tuple(weight.shape) != sizes:
        return f"its weights are {tuple(weight.shape)}, and do not fit vectors of {sizes[0]} and {sizes[1]} numbers"
    row = int(output.float().abs().argmax())
    column = weight[:, row].to(x.device)
    products = x.double() * column.double()
    best = products.abs().topk(min(_PRODUCTS, len(products))).indices
    terms = zip(best.tolist(), x[best].tolist(), column[best].tolist(), strict=True)
    others = float(products.sum() - products[best].sum())
    shift = float(bias[row]) if isinstance(bias, torch.Tensor) else None
    return ProductPicture(tuple(terms), sizes[0], others, shift, row, sizes[1], float(output[row]))


def reading(inspector: Inspector) -> ReadingPicture | str:
    """What the focus reads, on average over the heads of the current attention."""
    from llmdbg.debugger.inspection import attention

    if inspector.is_long():
        return "the prompt is long, and would have to be run again: `info attention` does that"
    try:
        found = attention.following(inspector)
    except LlmdbgError as error:
        return str(error)
    if isinstance(found, str):
        return found
    mean = found.weights.astype("float64").mean(axis=0)
    kept = min(len(mean), MOST_PIECES)
    first = found.first_key + len(mean) - kept
    tokens = inspector.run.tokens()[first : first + kept]
    pieces = tuple(
        Piece(row.index, row.id, row.piece if row.special else row.text, row.special, float(share))
        for row, share in zip(tokens, mean[-kept:], strict=False)
    )
    return ReadingPicture(pieces, first, float(mean[:-kept].sum()) if kept < len(mean) else 0.0, len(found.heads))


def sharing(inspector: Inspector, part: ModuleFacts | None) -> SharingPicture | str:
    """How the heads of the current attention share keys and values."""
    if part is None or part.heads is None:
        return "the configuration does not say how many heads there are"
    held = _first_layer_cache(inspector)
    kept = 0 if held is None or held.first is None or held.last is None else held.last - held.first + 1
    per_token = held.bytes // kept if held is not None and kept else None
    return SharingPicture(*part.heads, per_token, len(inspector.anatomy.layers()))


def _first_layer_cache(inspector: Inspector) -> CacheLayer | None:
    layers = getattr(inspector.debuggee.cache, "layers", None) or ()
    return layer_cache(layers[0], 0, position=0, padding=0) if layers else None


def window(inspector: Inspector, part: ModuleFacts | None) -> WindowPicture:
    """How far back the last positions read in the current attention."""
    tokens = inspector.run.tokens()[: len(inspector.prompt.ids)][-_WINDOW_ROWS:]
    texts = tuple(row.piece if row.special else row.text for row in tokens)
    # Some attentions know their window, others only have a cache and a mask that do.
    held, own = _first_layer_cache(inspector), None if part is None else part.window
    return WindowPicture(texts, tokens[0].index, own if held is None or held.window is None else held.window)


def strips(inspector: Inspector, stops: Sequence[TourStop]) -> StripsPicture | str:
    """The vector at the focus before, inside and after the current module."""
    event = inspector.event
    given, output = _given(event), inspector.focus.vector(event)
    into = None if given is None else inspector.focus.vector_of(event, given)
    if into is None or output is None:
        return "it has no vector for each position here"
    inner = _narrowing(inspector, event.stage.address)
    inside = None
    if inner is not None and not (inspector.is_long() and not _recorded(inspector, stops)):
        inside = inspector.replay.recorded(_parts_request(inspector, stops)).get(inner.address)
    named = (("goes in", into), ("inside", inside), ("comes out", output))
    return StripsPicture(tuple((name, _numbers(each)) for name, each in named if each is not None))


def _recorded(inspector: Inspector, stops: Sequence[TourStop]) -> dict[str, Any]:
    return inspector.run.recorder.found(_parts_request(inspector, stops), inspector.event.token)


@torch.no_grad()
def lengths(inspector: Inspector, stops: Sequence[TourStop]) -> LengthsPicture | str:
    """How long the vector at the focus is before and after the first layer, and what its parts added."""
    event, output = inspector.event, main_tensor(inspector.event.output)
    before = None if output is None else input_like(output, (*event.args, *event.kwargs.values()))
    after = inspector.focus.vector(event)
    into = None if before is None else inspector.focus.vector_of(event, before)
    if into is None or after is None:
        return "this layer has no vector of the same size before and after it"
    long_and_unknown = inspector.is_long() and not _recorded(inspector, stops)
    found = {} if long_and_unknown else inspector.replay.recorded(_parts_request(inspector, stops))
    topics = {each.address: each.topic for each in stops if each.topic in _ADDED}
    added = [
        (f"{_ADDED[topics[address]]} adds", vector)
        for address, vector in found.items()
        if address in topics and vector is not None and len(vector) == len(after)
    ]
    whole = into.float() + sum(vector.float().to(into.device) for _, vector in added)
    off = torch.linalg.vector_norm(whole.to(after.device) - after.float()) / torch.linalg.vector_norm(after.float())
    adds_up = bool(added) and bool(off < _ALIKE)
    rows = [("before the layer", into), *(added if adds_up else []), ("after the layer", after)]
    norms = torch.stack([torch.linalg.vector_norm(each.float().to(after.device)) for _, each in rows]).tolist()
    return LengthsPicture(tuple(zip((name for name, _ in rows), norms, strict=True)), adds_up)


_ADDED = {Topic.ATTENTION: "attention", Topic.STATE: "its reader", Topic.MLP: "the MLP"}


@torch.no_grad()
def growth(inspector: Inspector) -> GrowthPicture | str:
    """The residual stream's length at the focus after each stage, and what the model would say there."""
    request, token = residuals_request(inspector), inspector.event.token
    if inspector.is_long() and not inspector.run.recorder.found(request, token):
        return "the prompt is long, and would have to be run again: `info lens` does that"
    try:
        found = inspector.replay.recorded(request)
        said = layer_predictions(inspector)
    except LlmdbgError as error:
        return str(error)
    vectors = [(address, each) for address, each in found.items() if each is not None]
    if not vectors:
        return "this model's layers return no vector for each position"
    norms = torch.stack([torch.linalg.vector_norm(each.float()).cpu() for _, each in vectors]).tolist()
    layers = said.layers
    return GrowthPicture(
        tuple(
            (address, norm, layers[address].text, layers[address].prob)
            if address in layers
            else (address, norm, None, None)
            for (address, _), norm in zip(vectors, norms, strict=True)
        ),
        said.why_none,
    )


def layer_weights(inspector: Inspector) -> int | None:
    """How many weights the layer around the current stage has; None outside the layers."""
    layer = inspector.event.stage.layer
    stage = next((each for each in inspector.anatomy.layers() if each.layer == layer), None)
    if layer is None or stage is None or (module := inspector.anatomy.modules.get(stage.address)) is None:
        return None
    return sum(each.numel() for each in module.parameters())


def weight_kinds(inspector: Inspector) -> tuple[tuple[str, int], ...]:
    """What the model's weights are for, and their bytes, the largest first."""
    anatomy, kinds, seen = inspector.anatomy, dict[str, int](), set[int]()

    def count(name: str, module: torch.nn.Module) -> None:
        for each in module.parameters():
            if id(each) not in seen:
                seen.add(id(each))
                kinds[name] = kinds.get(name, 0) + each.nbytes

    count("embedding", inspector.model.get_input_embeddings())
    for stage in anatomy.stages:
        module = anatomy.modules.get(stage.address)
        role = None if module is None or stage.depth < 2 else _role(inspector, stage)
        if module is not None and role in (ModuleRole.ATTENTION, ModuleRole.MLP, ModuleRole.MIXTURE):
            count(str(role), module)
    if (head := inspector.model.get_output_embeddings()) is not None:
        count("output head", head)
    count("the rest", inspector.model)
    return tuple(sorted(kinds.items(), key=lambda each: -each[1]))


def _role(inspector: Inspector, stage: Stage) -> ModuleRole | None:
    module = inspector.anatomy.modules.get(stage.address)
    return None if module is None else role_of(stage, module, inspector.anatomy)
