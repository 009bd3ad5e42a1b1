"""`info kv [LAYER]`: what the KV cache holds, and how positions are encoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from llmdbg.debugger.execution.recorder import RecordRequest
from llmdbg.debugger.inspection.focus_row import focus_row
from llmdbg.debugger.inspection.kv_blocks import held_in_blocks
from llmdbg.engine.debuggee import Capability, PagedCache
from llmdbg.engine.lockstep import HeldByRanks
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import CommandError
from llmdbg.formatting import printable, with_article
from llmdbg.models.attentions import attentions
from llmdbg.models.stages import StageKind
from llmdbg.probes.kernel_rows import visible_keys
from llmdbg.probes.kv import (
    CacheLayer,
    CacheLayerDetail,
    CacheMap,
    RotaryAngles,
    layer_cache,
    norms,
    rotary_row,
    rotation,
)
from llmdbg.probes.sight import ReadingPosition, with_sight

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.models.stages import Stage

_ROTARY_WORDS = ("rotary", "rope")
_POSITION_WORDS = ("position", "wpe")
_BIAS_NAMES = ("alibi", "position_bias")
_LEAST_AXES = 2
_RESIDUAL_AXES = 3


@dataclass(frozen=True, slots=True, eq=False)
class _PositionInfo:
    """What a stage receives to encode positions: rotary numbers on the device, or a bias on the scores."""

    address: str
    """The stage's address."""
    numbers: Tensor | None
    """Rotary cosines and sines at the focus, as `rotary_row` packs them; None if there are none."""
    has_position: bool
    """Whether the rotation starts from position ids."""
    has_bias: bool
    """Whether it receives a bias on attention scores."""


def ask(inspector: Inspector, arguments: str) -> CacheMap | CacheLayerDetail | str:
    """Answer `info kv [LAYER]`. Raises CommandError for an unknown layer, and for a debuggee without a cache."""
    word = arguments.strip()
    if inspector.event.stage.kind is StageKind.TOKENIZE:
        return "there is no cache yet: the first forward creates it"
    if inspector.debuggee.cache is None and Capability.MODEL not in inspector.debuggee.capabilities:
        raise CommandError(f"{printable(inspector.debuggee.name)} has no KV cache to show")
    if isinstance(paged := inspector.debuggee.cache, PagedCache):
        return held_in_blocks(paged, sum(inspector.forward_positions()))
    inspector.run.recorder.expect(_mask_request(inspector), inspector.event.token)
    info = _position_info(inspector, int(word) if word.isdecimal() else None)
    masks = inspector.replay.recorded(_mask_request(inspector))
    # Only now: the question above may have rerun the token, with a new cache.
    cache = inspector.debuggee.cache
    layers = getattr(cache, "layers", None)
    if cache is None or layers is None:
        return _no_cache(inspector, cache)
    position, padding = inspector.focus_position(), inspector.prompt.padding
    text = inspector.run.tokens()[position].text
    if not word:
        found = _layers(inspector, enumerate(layers), masks)
        growths = [each.growth for each in found if each.growth is not None]
        return CacheMap(
            cache=_cache_name(inspector, cache),
            layers=found,
            bytes=sum(each.bytes for each in found),
            storage=sum(each.storage for each in found),
            growth=sum(growths) if len(growths) == len(found) else None,
            position=position,
            text=text,
            padding=padding,
            positions=_position_scheme(inspector, info),
            rotation=_rotation(info),
        )
    if not word.isdecimal() or int(word) >= len(layers):
        raise CommandError(f"the cache has no layer {word!r}: its layers are 0 to {len(layers) - 1}, as in `info kv 0`")
    index = int(word)
    [held] = _layers(inspector, [(index, layers[index])], masks)
    keys, values = norms(layers[index], held)
    scheme = _position_scheme(inspector, info)
    return CacheLayerDetail(_cache_name(inspector, cache), held, position, text, scheme, _rotation(info), keys, values)


def _cache_name(inspector: Inspector, cache: Any) -> str:
    """The class of a cache, and whose part of it this is where one rank is chosen."""
    name, debuggee = type(cache).__name__, inspector.debuggee
    chosen = debuggee.rank if isinstance(debuggee, HeldByRanks) else None
    return name if chosen is None else f"{name} on rank {chosen}"


def _layers(
    inspector: Inspector, layers: Iterable[tuple[int, Any]], masks: dict[str, Tensor | str]
) -> tuple[CacheLayer, ...]:
    """What some layers of the cache hold, and what the focus can read in each."""
    position, padding = inspector.focus_position(), inspector.prompt.padding
    stages = {stage.layer: stage for stage in reversed(attentions(inspector.anatomy))}
    found, seen = [], []
    for index, each in layers:
        stage = stages.get(index)
        limits = _limits(inspector, stage, index)
        found.append(layer_cache(each, index, position=position, padding=padding, **limits))
        seen.append(None if stage is None else masks.get(stage.address, f"{stage.address} has not run yet"))
    first, length = inspector.forward_positions()
    return with_sight(found, seen, ReadingPosition(position, first + length, padding))


def _limits(inspector: Inspector, stage: Stage | None, index: int) -> dict[str, int | None]:
    """The window or chunks that the configuration confines an attention to, for caches that do not know of them."""
    module = None if stage is None else inspector.anatomy.modules[stage.address]
    config = inspector.model.config.get_text_config(decoder=True)
    kinds = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None) or ()
    kind = kinds[index] if index < len(kinds) else ""
    window = getattr(config, "window_size", None) if kind == "local" else getattr(module, "sliding_window", None)
    chunk = getattr(config, "attention_chunk_size", None) if kind == "chunked_attention" else None
    return {"limit": window if isinstance(window, int) and window > 0 else None, "chunk": chunk}


def _mask_request(inspector: Inspector) -> RecordRequest:
    """Which keys the focus can see, in every attention."""

    def take(event: StageEvent) -> Tensor | str:
        made = main_tensor(event.output)
        ran = made.shape[1] if made is not None and made.dim() == _RESIDUAL_AXES else None
        return visible_keys(event.kernel_calls, *focus_row(inspector, event, ran))

    addresses = frozenset(each.address for each in attentions(inspector.anatomy))
    return RecordRequest("masks", addresses, take, about=inspector.focus.position, captures=addresses)


def _no_cache(inspector: Inspector, cache: Any) -> str:
    name = type(inspector.model).__name__
    if cache is None:
        return f"{name} was given no cache object: it keeps earlier tokens somewhere else, or not at all"
    return f"{name} keeps earlier tokens in {with_article(type(cache).__name__)}, whose layers cannot be read"


def _position_info(inspector: Inspector, layer: int | None) -> _PositionInfo | None:
    """How positions are encoded, in `layer` or the first layer that shows it. Costs a forward the first time."""
    rotary = [stage for stage in _modules(inspector, _ROTARY_WORDS) if layer is None or stage.layer in (None, layer)]
    own = str(layer or 0)
    addresses = frozenset((own, *(stage.address for stage in rotary)))

    def take(event: StageEvent) -> _PositionInfo:
        return _captured(inspector, event)

    found = inspector.replay.recorded(
        RecordRequest("rotation", addresses, take, about=(inspector.focus.position, layer))
    )
    with_angles = [each for each in found.values() if each.numbers is not None]
    # What the layer itself received is more certain than what a rotary module made for some layer.
    return next(
        (each for each in with_angles if each.address == own), with_angles[-1] if with_angles else found.get(own)
    )


def _captured(inspector: Inspector, event: StageEvent) -> _PositionInfo:
    """What a layer received, or a rotary module returned. Runs inside the forward."""
    given = event.kwargs.get("position_embeddings") if event.stage.kind is StageKind.LAYER else event.output
    address = event.stage.address
    has_bias = any(isinstance(event.kwargs.get(name), Tensor) for name in _BIAS_NAMES)
    if not (isinstance(given, tuple) and len(given) == 2 and all(map(_is_rows, given))):
        return _PositionInfo(address, None, False, has_bias)
    cos, sin = given
    over = main_tensor(event.output) if event.stage.kind is StageKind.LAYER else cos
    row, _ = focus_row(inspector, event, None if over is None or over.dim() < _LEAST_AXES else over.shape[-2])
    if row < 0:
        return _PositionInfo(address, None, False, has_bias)
    ids = event.kwargs.get("position_ids")
    if ids is None:
        ids = next((each for each in event.args if isinstance(each, Tensor) and not each.is_floating_point()), None)
    return _PositionInfo(address, rotary_row(cos, sin, ids, row), ids is not None, has_bias)


def _is_rows(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 1


def _rotation(info: _PositionInfo | None) -> RotaryAngles | None:
    if info is None or info.numbers is None:
        return None
    return rotation(info.address, info.numbers, has_position=info.has_position)


def _position_scheme(inspector: Inspector, info: _PositionInfo | None) -> str:
    """How the model knows which position is which, in a few words."""
    if info is not None and info.numbers is not None:
        return "rotary: queries and keys are turned by an angle for each position and frequency"
    if tables := [stage for stage in _modules(inspector, _POSITION_WORDS) if _is_table(inspector, stage)]:
        return f"position embeddings, added at the input: {tables[0].module}"
    if info is not None and info.has_bias:
        return "biases on the attention scores that grow with the distance (alibi)"
    inside = attentions(inspector.anatomy)
    if not inside:
        return "by the order in which they are fed: there is no attention"
    if isinstance(getattr(inspector.anatomy.modules[inside[0].address], "embed_positions", None), Tensor):
        return "rotary, by a table inside the attention: no module shows its angles"
    return "unknown: no module shows how"


def _modules(inspector: Inspector, words: tuple[str, ...]) -> list[Stage]:
    """The stages whose class, or whose own name in the module tree, contains one of `words`."""
    found = []
    for stage in inspector.anatomy.stages:
        module = inspector.anatomy.modules.get(stage.address)
        named = f"{type(module).__name__} {(stage.module or '').rpartition('.')[2]}".lower()
        if module is not None and any(word in named for word in words):
            found.append(stage)
    return found


def _is_table(inspector: Inspector, stage: Stage) -> bool:
    module = inspector.anatomy.modules[stage.address]
    return isinstance(module, nn.Embedding) or "embedding" in type(module).__name__.lower()
