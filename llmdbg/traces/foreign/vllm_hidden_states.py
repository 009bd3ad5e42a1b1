"""Hidden states that vLLM saves: its `ExampleHiddenStatesConnector`, with the method `extract_hidden_states`.

A safetensors file for each request: `hidden_states` (tokens, layers, width) and `token_ids` (tokens,). Which layers
these are is in vLLM's configuration alone (`eagle_aux_hidden_state_layer_ids`). Id N is what layer N is given, which is
what layer N - 1 returns; the number of layers itself is what the last one returns.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.errors import TraceError, UsageError
from llmdbg.models.stages import Stage, StageKind
from llmdbg.traces.foreign.dump import Dump, ForeignForward, ForeignOutput
from llmdbg.traces.foreign.looking import beginning
from llmdbg.traces.foreign.names import EMBED

if TYPE_CHECKING:
    from torch import Tensor

_MOST_HEADER = 2**16
_MOST_LAYERS = 4096


@dataclass(frozen=True, slots=True)
class VllmHiddenStates:
    """Files of vLLM's hidden states."""

    layers: tuple[int, ...] = ()
    """Which layers' inputs they are, as vLLM's configuration says; empty if that is not known."""

    @property
    def name(self) -> str:
        """The tool."""
        return "vLLM's hidden states"

    def recognises(self, path: Path) -> bool:
        """A safetensors file of exactly the two tensors."""
        data = beginning(path, _MOST_HEADER) if path.suffix == ".safetensors" else b""
        if len(data) < 8 or (length := struct.unpack("<Q", data[:8])[0]) > len(data) - 8:
            return False
        try:
            header = json.loads(data[8 : 8 + length])
        except (ValueError, RecursionError):
            return False
        return isinstance(header, dict) and header.keys() - {"__metadata__"} == {"hidden_states", "token_ids"}

    def read(self, path: Path) -> Dump:
        """Open one. Raises TraceError, and UsageError for another number of layers than it has."""
        from llmdbg.traces.foreign.values import ids_in, safetensors_in

        values = safetensors_in(path)
        states, ids = values["hidden_states"], ids_in(values["token_ids"])
        if states.dim() != 3 or len(states) != len(ids) or states.shape[1] > _MOST_LAYERS or not len(ids):
            raise TraceError(f"{path} is damaged: its hidden states are not those of its {len(ids):,} token ids")
        if self.layers and len(self.layers) != states.shape[1]:
            raise UsageError(f"{path} has hidden states of {states.shape[1]} layers, and {len(self.layers)} were named")
        dump = Dump(self.name, path, iter(()))
        dump.forwards = iter([ForeignForward(lambda: _outputs(states, self.layers), ids, length=len(ids))])
        if not self.layers:
            dump.notes.append("it does not say which layers its hidden states are of: name them with --layers")
        return dump


def _outputs(states: Tensor, layers: Sequence[int]) -> Iterator[ForeignOutput]:
    for at in range(states.shape[1]):
        yield ForeignOutput(_stage(at, layers), {"output": states[:, at].clone()})


def _stage(at: int, layers: Sequence[int]) -> Stage:
    """The stage that returns what a layer is given."""
    if not layers:
        return Stage(StageKind.MODULE, f"hidden_states.{at}", None, None, 2)
    before = layers[at] - 1
    return EMBED if before < 0 else Stage(StageKind.LAYER, str(before), None, before)
