"""`info kv [LAYER]`: what the KV cache holds, and how positions are told apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from llmdbg.debugger.execution.recorder import RecordRequest
from llmdbg.debugger.inspection.focus_row import focus_row
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import CommandError
from llmdbg.models.attentions import attentions
from llmdbg.models.stages import StageKind
from llmdbg.probes.kv import CacheMap, LayerMap, Rotation, layer_cache, norms, rotary_row, rotation

if TYPE_CHECKING:
    from llmdbg.debugger.execution.session import Session
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.models.stages import Stage

_ROTARY_WORDS = ("rotary", "rope")
_POSITION_WORDS = ("position", "wpe")
_BIAS_NAMES = ("alibi", "position_bias")
_LEAST_AXES = 2


@dataclass(frozen=True, slots=True, eq=False)
class _Heard:
    """What a stage was given to tell positions apart: rotary numbers on the device, or a bias on the scores."""

    address: str
    numbers: Tensor | None
    has_position: bool
    has_bias: bool


def ask(session: Session, arguments: str) -> CacheMap | LayerMap | str:
    """Answer `info kv [LAYER]`. Raises CommandError for a layer that the cache does not have."""
    word = arguments.strip()
    if session.event.stage.kind is StageKind.TOKENIZE:
        return "there is no cache yet: the first forward begins one"
    heard = _heard(session, int(word) if word.isdecimal() else None)
    # Only now: what is heard may have run the token again, with another cache.
    cache = session.engine.cache
    layers = getattr(cache, "layers", None)
    if cache is None or layers is None:
        return _no_cache(session, cache)
    position, padding = session.focus_position(), session.prompt.padding
    text = session.tokens()[position].text
    if not word:
        found = tuple(layer_cache(each, index, position=position, padding=padding) for index, each in enumerate(layers))
        growths = [each.growth for each in found if each.growth is not None]
        return CacheMap(
            cache=type(cache).__name__,
            layers=found,
            bytes=sum(each.bytes for each in found),
            storage=sum(each.storage for each in found),
            growth=sum(growths) if len(growths) == len(found) else None,
            position=position,
            text=text,
            padding=padding,
            positions=_told_apart(session, heard),
            rotation=_rotation(heard),
        )
    if not word.isdecimal() or int(word) >= len(layers):
        raise CommandError(f"the cache has no layer {word!r}: its layers are 0 to {len(layers) - 1}, as in `info kv 0`")
    index = int(word)
    held = layer_cache(layers[index], index, position=position, padding=padding)
    keys, values = norms(layers[index], held)
    told = _told_apart(session, heard)
    return LayerMap(type(cache).__name__, held, position, text, told, _rotation(heard), keys, values)


def _no_cache(session: Session, cache: Any) -> str:
    name = type(session.loaded.model).__name__
    if cache is None:
        return f"{name} was given no cache object: what it remembers of earlier tokens it keeps elsewhere, or nowhere"
    return f"{name} keeps its past in a {type(cache).__name__}, which says nothing of its layers"


def _heard(session: Session, layer: int | None) -> _Heard | None:
    """How positions are told apart, in one layer or in the first that says so. Costs a forward, the first time."""
    rotary = [stage for stage in _modules(session, _ROTARY_WORDS) if layer is None or stage.layer in (None, layer)]
    own = str(layer or 0)
    addresses = frozenset((own, *(stage.address for stage in rotary)))

    def take(event: StageEvent) -> _Heard:
        return _listen(session, event)

    found = session.recorder.get(session, RecordRequest("rotation", addresses, take, about=(session.focus, layer)))
    told = [each for each in found.values() if each.numbers is not None]
    # What the layer itself was given says more than what was made for some layer.
    return next((each for each in told if each.address == own), told[-1] if told else found.get(own))


def _listen(session: Session, event: StageEvent) -> _Heard:
    """What a layer was given, or a rotary module gave. Runs inside the forward."""
    given = event.kwargs.get("position_embeddings") if event.stage.kind is StageKind.LAYER else event.output
    address = event.stage.address
    has_bias = any(isinstance(event.kwargs.get(name), Tensor) for name in _BIAS_NAMES)
    if not (isinstance(given, tuple) and len(given) == 2 and all(map(_is_rows, given))):
        return _Heard(address, None, False, has_bias)
    cos, sin = given
    over = main_tensor(event.output) if event.stage.kind is StageKind.LAYER else cos
    row, _ = focus_row(session, event, None if over is None or over.dim() < _LEAST_AXES else over.shape[-2])
    if row < 0:
        return _Heard(address, None, False, has_bias)
    ids = event.kwargs.get("position_ids")
    if ids is None:
        ids = next((each for each in event.args if isinstance(each, Tensor) and not each.is_floating_point()), None)
    return _Heard(address, rotary_row(cos, sin, ids, row), ids is not None, has_bias)


def _is_rows(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 1


def _rotation(heard: _Heard | None) -> Rotation | None:
    if heard is None or heard.numbers is None:
        return None
    return rotation(heard.address, heard.numbers, has_position=heard.has_position)


def _told_apart(session: Session, heard: _Heard | None) -> str:
    """How the model knows which position is which, in a few words."""
    if heard is not None and heard.numbers is not None:
        return "rotary: queries and keys are turned by an angle for each position and frequency"
    if tables := [stage for stage in _modules(session, _POSITION_WORDS) if _is_table(session, stage)]:
        return f"position embeddings, added at the input: {tables[0].module}"
    if heard is not None and heard.has_bias:
        return "biases on the attention scores that grow with the distance (alibi)"
    inside = attentions(session.anatomy)
    if not inside:
        return "by the order they are fed in: no attention looks back at them"
    if isinstance(getattr(session.anatomy.modules[inside[0].address], "embed_positions", None), Tensor):
        return "rotary, by a table inside the attention: there is no module to hear its angles from"
    return "in a way that no module of it tells"


def _modules(session: Session, words: tuple[str, ...]) -> list[Stage]:
    """The stages whose class or whose own name in the module tree has one of some words in it."""
    found = []
    for stage in session.anatomy.stages:
        module = session.anatomy.modules.get(stage.address)
        named = f"{type(module).__name__} {(stage.module or '').rpartition('.')[2]}".lower()
        if module is not None and any(word in named for word in words):
            found.append(stage)
    return found


def _is_table(session: Session, stage: Stage) -> bool:
    module = session.anatomy.modules[stage.address]
    return isinstance(module, nn.Embedding) or "embedding" in type(module).__name__.lower()
