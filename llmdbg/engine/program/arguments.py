"""What can be read off the arguments of a model's forward without changing anything."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llmdbg.engine.program.masks import read_mask
from llmdbg.engine.stage_event import main_tensor

if TYPE_CHECKING:
    from torch import nn

    from llmdbg.engine.program.request_rows import RequestRows

_IDS = ("decoder_input_ids", "input_ids", "ids", "tokens", "idx")
_VECTORS = ("decoder_inputs_embeds", "inputs_embeds", "encoder_outputs")
_CACHES = ("past_key_values", "cache_params")
_MASKS = {"decoder_input_ids": "decoder_attention_mask"}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a forward is given."""

    ids: Tensor | None
    """Token ids (rows, positions); None if it is given none."""
    mask: Tensor | None
    """The mask (rows, positions) over everything that the forward may read, read off one for each query if it is given
    that; None without any."""
    first: int
    """The first position that it runs over: how many the cache holds."""
    length: int
    """How many positions it runs over."""
    rows: int
    """How many sequences."""
    cache: Any
    """The KV cache; None without one."""
    requests: tuple[RequestRows, ...] = ()
    """The requests of a vLLM engine whose rows lie one after the other in `ids`, which has one row then."""
    goes_on: bool = False
    """Whether the cache has states of earlier positions and does not say how many: `first` is 0 then."""
    vectors: Tensor | None = None
    """Vectors (rows, positions, width) that it is fed instead of ids; None where it is fed ids."""
    places: Tensor | None = None
    """The position ids (rows or 1, positions) it is given; None without any of that shape."""
    read: tuple[Tensor, Tensor | None] | None = None
    """The ids that the encoder reads in this very forward and their mask; None where it does not."""
    named: Mapping[str, Any] = field(default_factory=dict)
    """All its arguments by name."""
    fed_as: str = ""
    """The name of the one that has the ids or the vectors; empty if there is none."""
    mask_is_plain: Tensor | None = None
    """Whether a mask for each query hides no more than `mask` and what comes later; None where it is given none."""


def read_arguments(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Reading:
    """Read the arguments of a call of `module`."""
    named = _named(module, args, kwargs)
    name = next((each for each in _IDS if _is_ids(named.get(each))), None)
    if name is None:
        # Positional, under a name of the program's own.
        name = next((each for each, value in named.items() if _is_ids(value) and "mask" not in each), None)
    ids = None if name is None else named[name]
    if ids is not None and ids.dim() == 1:
        ids = ids[None]
    mask = named.get(_MASKS.get(name or "", "attention_mask"))
    cache = next((named[each] for each in _CACHES if named.get(each) is not None), None)
    first = _held(cache)
    of_vectors = next((each for each in _VECTORS if isinstance(named.get(each), Tensor)), None)
    vectors = None if of_vectors is None else named[of_vectors]
    fed = ids if ids is not None else vectors if vectors is not None else main_tensor([*named.values()])
    rows, length = _size(fed)
    keys = read_mask(mask, rows, first, length)
    return Reading(
        ids=ids,
        vectors=vectors if ids is None and vectors is not None and vectors.dim() == 3 else None,
        places=_places(named.get("position_ids"), length),
        read=_read_by_the_encoder(named) if name == "decoder_input_ids" else None,
        named=named,
        fed_as=name or of_vectors or "",
        mask=None if keys is None else keys.shown,
        mask_is_plain=None if keys is None else keys.is_plain,
        first=first,
        length=length,
        rows=rows,
        cache=cache,
        goes_on=not first and _has_states(cache),
    )


def _places(value: Any, length: int) -> Tensor | None:
    """Position ids (rows or 1, positions)."""
    if not _is_ids(value) or value.shape[-1] != length:
        return None
    found: Tensor = value if value.dim() == 2 else value[None]
    return found


def _read_by_the_encoder(named: Mapping[str, Any]) -> tuple[Tensor, Tensor | None] | None:
    ids, mask = named.get("input_ids"), named.get("attention_mask")
    if ids is None or not _is_ids(ids) or ids.dim() != 2:
        return None
    return ids, mask if isinstance(mask, Tensor) and mask.shape == ids.shape else None


def _named(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    try:
        bound = inspect.signature(module.forward).bind_partial(*args, **kwargs)
    except (TypeError, ValueError):
        return dict(kwargs)
    found: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            found |= value
        elif kind is inspect.Parameter.VAR_POSITIONAL:
            found |= {f"{name}{at}": each for at, each in enumerate(value)}
        else:
            found[name] = value
    return found


def _is_ids(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in (torch.int64, torch.int32) and value.dim() in (1, 2)


def _held(cache: Any) -> int:
    """How many positions a cache holds."""
    count = getattr(cache, "get_seq_length", None)
    if count is None:
        return 0
    try:
        return int(count())
    except Exception:  # a cache of the program's own, which may want arguments
        return 0


def _has_states(cache: Any) -> bool:
    """Whether a cache of recurrent states, which counts no positions, has been written."""
    try:
        return bool(cache.has_previous_state())
    except Exception:  # none, one of attentions alone, or of the program's own
        return False


def _size(given: Tensor | None) -> tuple[int, int]:
    """How many sequences a forward runs over, and how many positions of each."""
    if given is None or given.dim() == 0:
        return 1, 1
    if given.is_floating_point():
        return (int(given.shape[0]), int(given.shape[1])) if given.dim() == 3 else (int(given.shape[0]), 1)
    return (int(given.shape[0]), int(given.shape[1])) if given.dim() > 1 else (1, len(given))
