"""Modules that are named or cut differently find their counterparts by weights and shapes."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from llmdbg.debugger.comparison.comparing import compare
from llmdbg.debugger.comparison.mapping import Source, map_stages
from llmdbg.debugger.comparison.outcome import Comparison, FindingKind, Verdict
from llmdbg.debugger.comparison.weights import named_weights
from llmdbg.models.anatomy import dissect
from tests.debugger.comparison.sides import faulty, side
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def fused() -> PreTrainedModel:
    """Phi-3: one projection for queries, keys and values, one for gate and up."""
    return tiny_model("phi3")


@pytest.fixture(scope="module")
def split(fused: PreTrainedModel) -> PreTrainedModel:
    """Llama with the same weights in projections of their own."""
    config = fused.config
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            num_key_value_heads=config.num_key_value_heads,
            max_position_embeddings=256,
            rms_norm_eps=config.rms_norm_eps,
            rope_parameters=config.rope_parameters,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=0,
        )
    )
    model.generation_config.pad_token_id = 0
    width = config.hidden_size // config.num_attention_heads
    cuts = [config.num_attention_heads * width, *[config.num_key_value_heads * width] * 2]
    weights = {}
    for name, tensor in fused.state_dict().items():
        parts = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
        of = next((each for each in parts if each in name), None)
        if of is None:
            weights[name] = tensor.clone()
            continue
        pieces = tensor.split(cuts) if of == "qkv_proj" else tensor.chunk(2)
        weights |= {name.replace(of, part): piece.clone() for part, piece in zip(parts[of], pieces, strict=True)}
    model.load_state_dict(weights)
    return model.eval()


def _compared(reference: PreTrainedModel, candidate: PreTrainedModel) -> Comparison:
    return compare(side(reference), side(candidate))


def test_fused_and_split_projections_are_paired(fused: PreTrainedModel, split: PreTrainedModel) -> None:
    """By the rows of their weights, in both directions."""
    one, other = dissect(split), dissect(fused)
    theirs, ours = named_weights(split, one), named_weights(fused, other)
    found = map_stages(one, other, theirs, ours)
    names = ("q_proj", "k_proj", "v_proj")
    assert found.sources["1.self_attn.qkv_proj"] == tuple(Source(f"1.self_attn.{each}") for each in names)
    back = map_stages(other, one, ours, theirs)
    assert back.sources["0.mlp.up_proj"] == (Source("0.mlp.gate_up_proj", slice(64, 128)),)


def test_another_layout_is_the_same(fused: PreTrainedModel, split: PreTrainedModel) -> None:
    """Nothing is accused in either direction, in another dtype neither."""
    assert _compared(split, fused).verdict is Verdict.SAME
    assert _compared(fused, split).verdict is Verdict.SAME
    assert _compared(split, faulty(fused, lambda _: None, torch.bfloat16)).findings == ()


def test_a_fault_in_a_fused_projection_is_named(fused: PreTrainedModel, split: PreTrainedModel) -> None:
    """A row that is no one's does not keep its projection from being paired."""
    bad = copy.deepcopy(fused)
    bad.model.layers[1].self_attn.qkv_proj.weight.data[3] *= 1.5
    first = _compared(split, bad).first
    assert first is not None
    assert (first.address, first.kind) == ("1.self_attn.qkv_proj", FindingKind.WEIGHTS)
    first = _compared(bad, split).first
    assert first is not None
    assert (first.address, first.kind) == ("1.self_attn.q_proj", FindingKind.WEIGHTS)


def test_shapes_pair_what_weights_do_not(fused: PreTrainedModel, split: PreTrainedModel) -> None:
    """A projection with weights of its own is paired with the neighbours that have as many rows."""
    bad = copy.deepcopy(fused)
    torch.nn.init.normal_(bad.model.layers[1].self_attn.qkv_proj.weight)
    first = _compared(split, bad).first
    assert first is not None
    assert first.address == "1.self_attn.qkv_proj"


def test_a_given_name_is_taken(fused: PreTrainedModel, split: PreTrainedModel) -> None:
    """What the user names is not looked up."""
    one, other = dissect(split), dissect(fused)
    given = {"gate_up_proj": ("up_proj", "gate_proj")}
    found = map_stages(one, other, named_weights(split, one), named_weights(fused, other), given)
    assert found.sources["0.mlp.gate_up_proj"] == (Source("0.mlp.up_proj"), Source("0.mlp.gate_proj"))
