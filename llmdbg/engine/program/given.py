"""What a program's forward was given, to be given again: references that keep none of the program's tensors alive."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from llmdbg.engine._compat import any_autocast
from llmdbg.errors import UnableError

if TYPE_CHECKING:
    from torch import nn

    from llmdbg.engine.program.arguments import Reading
    from llmdbg.engine.program.known_model import KnownModel

_MADE_ANEW = frozenset(
    {
        "attention_mask", "decoder_attention_mask", "position_ids", "cache_position",
        "past_key_values", "cache_params", "encoder_outputs", "labels", "num_items_in_batch",
        "logits_to_keep", "num_logits_to_keep", "output_attentions", "output_hidden_states", "return_dict",
    }
)  # fmt: skip
"""What a forward that runs a sequence anew gets its own of, or does without."""
_MASKS = ("attention_mask", "decoder_attention_mask")


@dataclass(frozen=True, slots=True)
class _Object:
    """An argument that is neither a tensor nor plain."""

    kind: str


class Given:
    """The arguments of a forward of `module`, a part of the model `known`."""

    def __init__(self, known: KnownModel, module: nn.Module, reading: Reading) -> None:
        self.known, self.module = known, module
        # Those of the thread that runs the forward.
        self.read, self.lanes = known.read, known.read if known.is_encoder(module) else known.lanes
        self.fed_as, self.length, self.rows = reading.fed_as, reading.length, reading.rows
        self.device = _device(reading)
        self.autocast = _autocast() if any_autocast() else {}
        self._named = {name: _referred(value) for name, value in reading.named.items()}
        self._has_mask, self._has_places = reading.mask is not None, reading.places is not None

    @property
    def is_of_decoder(self) -> bool:
        """Whether the forward is one of an encoder-decoder, fed what its decoder reads."""
        return self.fed_as.startswith("decoder_")

    def takes(self, name: str) -> bool:
        """Whether the forward has an argument of that name, or was given one."""
        if self._named.get(name) is not None:
            return True
        try:
            return name in inspect.signature(self.module.forward).parameters
        except (TypeError, ValueError):
            return False

    def vectors(self) -> Tensor | None:
        """The vectors (rows, positions, width) it was fed; None where they are gone."""
        found = self._named.get(self.fed_as)
        return found() if isinstance(found, ReferenceType) else None

    def others(self) -> dict[str, Any]:
        """Its other arguments: plain values, and tensors (rows, positions) such as token types.

        Raises UnableError where one is neither: which part of it is a row's is not known.
        """
        mask = self._named.get(_MASKS[self.is_of_decoder])
        if mask is not None and not self._has_mask:
            raise UnableError("its attention mask is none of rows and positions, and cannot be cut to one row")
        if self._named.get("position_ids") is not None and not self._has_places:
            raise UnableError("its position ids are none of rows and positions, and cannot be cut to one row")
        read = {"input_ids"} if self.is_of_decoder else set()
        return {
            name: self._other(name, value)
            for name, value in self._named.items()
            if name not in _MADE_ANEW | {self.fed_as} | read and value is not None
        }

    def _other(self, name: str, value: Any) -> Any:
        if isinstance(value, _Object):
            raise UnableError(f"it is given {name} ({value.kind}), of which no part is known to be one row's")
        if not isinstance(value, ReferenceType):
            return value
        tensor = value()
        if tensor is None:
            raise UnableError(f"it was given {name}, which is gone: ask inside the forward")
        if tuple(tensor.shape) != (self.rows, self.length):
            raise UnableError(f"it is given {name}, of which no part is known to be one row's")
        return tensor


def _referred(value: Any) -> Any:
    if isinstance(value, Tensor):
        return ref(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return None if isinstance(value, Mapping) and not value else _Object(type(value).__name__)


def _device(reading: Reading) -> torch.device | None:
    fed = reading.ids if reading.ids is not None else reading.vectors
    return None if fed is None else fed.device


def _autocast() -> dict[str, torch.dtype]:
    devices = ("cpu", "cuda")
    return {each: torch.get_autocast_dtype(each) for each in devices if torch.is_autocast_enabled(each)}
