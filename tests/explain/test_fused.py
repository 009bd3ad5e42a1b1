"""Fused projections as vLLM has them, which are no `nn.Linear`: what they are made of is said."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from llmdbg.explain.facts import ModuleRole
from llmdbg.explain.layer_text import about_module
from llmdbg.explain.roles import part_facts
from llmdbg.models.anatomy import Anatomy
from llmdbg.models.stages import Stage, StageKind


class ParallelLinear(nn.Module):
    """As vLLM's: it knows its sizes, and packed weights are empty."""

    def __init__(self, given: int, *made: int, packed: bool = False) -> None:
        super().__init__()
        self.input_size, self.output_size, self.output_sizes = given, sum(made), list(made)
        self.weight = nn.Parameter(torch.zeros(0 if packed else sum(made) * given))


class SiluAndMul(nn.Module):
    def forward(self, both: torch.Tensor) -> torch.Tensor:
        gate, up = both.chunk(2, dim=-1)
        return nn.functional.silu(gate) * up


class GatedMLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_up_proj, self.down_proj, self.act_fn = ParallelLinear(4, 6, 6), ParallelLinear(6, 4), SiluAndMul()


def facts(address: str, module: nn.Module):
    stage = Stage(StageKind.MODULE, address, address, 0, 2)
    found = part_facts(stage, Anatomy((stage,), {address: module}, None), SimpleNamespace())
    assert found is not None
    return found


def said(part: Any) -> str:
    return " ".join(about_module(SimpleNamespace(part=part, reads=None)))  # type: ignore[arg-type]


@pytest.mark.parametrize(("packed", "weights"), [(False, 32), (True, None)])
def test_a_fused_projection_says_what_is_in_it(packed: bool, weights: int | None):
    found = facts("0.self_attn.qkv_proj", ParallelLinear(4, 4, 2, 2, packed=packed))
    assert (found.role, found.sizes, found.weights) == (ModuleRole.PROJECTION, (4, 8), weights)
    assert found.fused == (("q", 4), ("k", 2), ("v", 2))
    assert "3 projections in one: its output is q (4), k (2) and v (2) side by side" in said(found)


def test_a_single_projection_does_not():
    found = facts("0.self_attn.o_proj", ParallelLinear(4, 4))
    assert found.fused == () and "in one" not in said(found)


def test_a_gated_mlp_with_one_projection_for_both_is_one():
    found = facts("0.mlp", GatedMLP())
    assert (found.role, found.widens) == (ModuleRole.MLP, (4, 6))
    assert found.formula == "down_proj(act(gate) * up), gate and up the halves of gate_up_proj(x)"
    assert facts("0.mlp.act_fn", SiluAndMul()).role is ModuleRole.ACTIVATION
