"""Every operation of a module: names, shapes, bytes and FLOPs, with the module's output unchanged."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from llmdbg.engine.op_capture import OpCall, watching_operations
from tests.engine.runs import hooks_on
from tests.tiny import tiny_model


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(100, 8)
        self.project = nn.Linear(8, 16, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        found = self.project(self.table(ids))
        return functional.silu(found.transpose(0, 1)).expand(2, 3, 16) + 1


def calls_of(module: nn.Module, *args: torch.Tensor) -> tuple[OpCall, ...]:
    with watching_operations(module) as calls, torch.no_grad():
        module(*args)
    (found,) = calls
    return found


def test_each_call_with_its_shapes_bytes_and_flops() -> None:
    ids = torch.tensor([[1], [2], [3]])
    found = {each.name: each for each in calls_of(Small(), ids)}
    embedding, product = found["aten.embedding"], found["aten.mm"]
    assert [each.shape for each in embedding.inputs] == [(100, 8), (3, 1)]
    assert embedding.bytes == 2 * 3 * 8 * 4 + 3 * 8, "of the table only the rows that are taken"
    assert [each.shape for each in product.inputs] == [(3, 8), (8, 16)]
    assert (product.flops, product.bytes) == (2 * 3 * 8 * 16, 4 * (3 * 8 + 8 * 16 + 3 * 16))
    assert found["aten.transpose"].bytes == 0, "a view moves nothing"
    assert found["aten._unsafe_view"].bytes == 0, "neither does what only says that it is none"
    assert found["aten.silu"].flops is None
    add = found["aten.add"]
    assert add.bytes == 4 * (3 * 16 + 2 * 3 * 16), "what is only expanded is read once"
    assert all(each.milliseconds() >= 0 for each in found.values())
    assert {each.file for each in found.values()} == {__file__}
    assert found["aten.mm"].line == found["aten.embedding"].line == found["aten.add"].line - 1


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3_moe", "mamba", "gemma2"])
def test_a_forward_returns_the_same_bits_and_its_flops_are_those_of_torchs_counter(name: str) -> None:
    model, ids = tiny_model(name).eval(), torch.arange(12)[None]
    with torch.no_grad():
        expected = model(ids).logits
        with FlopCounterMode(display=False) as counter:
            model(ids)
        with watching_operations(model) as calls:
            found = model(ids).logits
    assert torch.equal(found, expected)
    ours = sum(each.flops or 0 for each in calls[0] if "flash_attention_for_cpu" not in each.name)
    assert ours == counter.get_total_flops()
    assert not hooks_on(model)


def test_what_fails_leaves_nothing_behind() -> None:
    module = Small()
    with pytest.raises(IndexError), watching_operations(module):
        module(torch.tensor([1000]))
    with watching_operations(module) as calls:
        functional.silu(torch.zeros(2))
    assert calls == []
    assert not hooks_on(module)
