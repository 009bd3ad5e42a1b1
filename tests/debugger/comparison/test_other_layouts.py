"""Recordings of other engines: outputs in a tuple, activation functions of another width, weights packed away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from llmdbg.debugger.comparison.comparing_recorded import compare_with_recording
from llmdbg.traces.reader import Trace
from llmdbg.traces.recorder import Recorder
from tests.debugger.comparison.sides import PROMPT, faulty, side
from tests.tiny import tiny_model


class _InATuple(nn.Module):
    """A projection that returns its output and no bias, as vLLM's do, and keeps its weight elsewhere."""

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(0))
        self._inner = [inner]

    def forward(self, hidden: Tensor) -> tuple[Tensor, None]:
        return self._inner[0](hidden), None


class _SiluAndMul(nn.Module):
    """An activation function over gate and up in one."""

    def forward(self, both: Tensor) -> Tensor:
        gate, up = both.chunk(2, -1)
        return nn.functional.silu(gate) * up


class _Mlp(nn.Module):
    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.act_fn = mlp.gate_proj, mlp.up_proj, _SiluAndMul()
        self.down_proj = _InATuple(mlp.down_proj)

    def forward(self, hidden: Tensor) -> Tensor:
        both = torch.cat([self.gate_proj(hidden), self.up_proj(hidden)], -1)
        return self.down_proj(self.act_fn(both))[0]


@pytest.mark.parametrize("tensors", ["none", "inputs"])
def test_another_engine_s_modules_are_held_against_their_counterparts(tensors: str, tmp_path: Path) -> None:
    """What has a stage's name and does something else is left out; a fault in a counterpart is named."""
    model = tiny_model("llama")
    for fault, address in ((1.0, None), (1.05, "1.mlp.down_proj")):
        other = faulty(model, lambda _: None)
        for layer in other.model.layers:
            layer.mlp = _Mlp(layer.mlp)
        other.model.layers[1].mlp.down_proj._inner[0].weight.data.mul_(fault)
        ids = torch.tensor([PROMPT])
        folder = tmp_path / str(fault)
        with Recorder(other, folder, tensors=tensors) as recorder, torch.no_grad():
            logits = other(ids).logits[0, -1]
            recorder.token(int(logits.argmax()), logits)
        found = compare_with_recording(Trace.open(folder), side(model), lambda _: None, {}, live_is_reference=True)
        assert found.first is None if address is None else found.first is not None and found.first.address == address
        assert "1.mlp.act_fn" not in {stage.address for stage in found.stages}
