"""Two live runs compared: the stage that differs by itself is named, and noise is not."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from llmdbg.debugger.comparison.comparing import compare
from llmdbg.debugger.comparison.measuring import Precision
from llmdbg.debugger.comparison.outcome import FindingKind, Verdict
from llmdbg.engine.settings import GenerationSettings
from tests.debugger.comparison.sides import PROMPT, faulty, planted, side
from tests.tiny import tiny_model

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])


def _nothing(_: PreTrainedModel) -> None:
    return None


def _add_to_one_weight(model: PreTrainedModel) -> None:
    model.model.layers[1].self_attn.k_proj.weight.data[3, 4] += 0.5


def _scale(model: PreTrainedModel) -> None:
    model.model.layers[1].self_attn.scaling *= 1.2


def _rope(model: PreTrainedModel) -> None:
    model.model.rotary_emb.inv_freq = model.model.rotary_emb.inv_freq * 0.7


def _eps(model: PreTrainedModel) -> None:
    model.model.layers[0].post_attention_layernorm.variance_epsilon = 1e-3


def _swap_projections(model: PreTrainedModel) -> None:
    attention = model.model.layers[1].self_attn
    attention.k_proj, attention.v_proj = attention.v_proj, attention.k_proj


def _double_an_mlp(model: PreTrainedModel) -> None:
    mlp = model.model.layers[0].mlp
    forward = mlp.forward
    mlp.forward = lambda hidden: forward(hidden) * 1.05


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3_moe", "mamba", "gemma2", "gpt_neox"])
def test_a_copy_is_the_same(name: str) -> None:
    """Two runs of the same weights are bitwise the same, and nothing is accused."""
    found = planted(tiny_model(name), _nothing)
    assert (found.verdict, found.findings) == (Verdict.SAME, ())


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3_moe", "gemma2", "gpt_neox", "phi3"])
def test_another_dtype_is_no_fault(name: str) -> None:
    """A candidate in bfloat16 differs in every value, and no stage by more than its own rounding."""
    found = planted(tiny_model(name), _nothing, torch.bfloat16)
    assert found.findings == ()
    assert found.verdict is Verdict.WITHIN_ARITHMETIC


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_another_kernel_is_no_fault(dtype: torch.dtype) -> None:
    """Eager attention and SDPA differ in their last bits alone."""
    found = planted(tiny_model("llama"), lambda model: model.set_attn_implementation("eager"), dtype)
    assert found.findings == ()


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "mistral"])
def test_left_padding_is_no_fault(name: str) -> None:
    """Padding is left out of the comparison, and changes nothing beside it."""
    model = tiny_model(name)
    found = compare(side(model), side(faulty(model, _nothing), padding=3))
    assert found.findings == ()
    found = compare(side(model, padding=3), side(faulty(model, _nothing)))
    assert found.findings == ()


@BOTH
@pytest.mark.parametrize(
    ("fault", "address", "kind"),
    [
        (_add_to_one_weight, "1.self_attn.k_proj", FindingKind.WEIGHTS),
        (_scale, "1.self_attn", FindingKind.FUNCTION),
        (_rope, "model.rotary_emb", FindingKind.FUNCTION),
        (_eps, "0.post_attention_layernorm", FindingKind.FUNCTION),
        (_swap_projections, "1.self_attn.k_proj", FindingKind.WEIGHTS),
        (_double_an_mlp, "0.mlp", FindingKind.FUNCTION),
    ],
)
def test_a_planted_fault_is_named(fault: object, address: str, kind: FindingKind, dtype: torch.dtype) -> None:
    """The stage that is wrong by itself comes first, whatever the candidate's dtype."""
    found = planted(tiny_model("llama"), fault, dtype)  # type: ignore[arg-type]
    assert found.verdict is Verdict.DIVERGED
    assert found.first is not None
    assert (found.first.address, found.first.kind) == (address, kind)


def test_a_stage_s_share_of_the_final_difference_is_measured() -> None:
    """Taking back what the one wrong stage adds repairs the logits."""
    found = planted(tiny_model("llama"), _scale)
    assert found.shares is not None
    assert found.shares.first > 0.99


def test_the_model_is_left_as_it_was() -> None:
    """A comparison computes in float64 in place, and puts every weight back bit by bit."""
    model = tiny_model("llama")
    other = faulty(model, _scale, torch.bfloat16)
    before = [weight.clone() for weight in other.parameters()]
    compare(side(model), side(other))
    assert all(
        one.dtype == now.dtype and torch.equal(one, now) for one, now in zip(before, other.parameters(), strict=True)
    )
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in other.modules())


def test_other_input_is_named_before_any_tensor() -> None:
    """A token too many is an input difference, and the stages are compared on the reference's input."""
    model = tiny_model("llama")
    found = compare(side(model), side(faulty(model, _nothing), (PROMPT[0], *PROMPT)))
    assert [(each.kind, each.address) for each in found.findings] == [(FindingKind.INPUT, "tokenize")]


def test_other_settings_are_named() -> None:
    """A setting that differs is a finding, with both values."""
    model = tiny_model("llama")
    hot = GenerationSettings(max_new_tokens=3, temperature=0.5)
    cold = GenerationSettings(max_new_tokens=3, temperature=0.7)
    found = compare(side(model, settings=hot), side(faulty(model, _nothing), settings=cold))
    assert found.first is not None
    assert found.first.kind is FindingKind.SETTINGS
    assert "temperature is 0.7 instead of 0.5" in found.first.sentence


def test_where_the_texts_part_is_told() -> None:
    """The token, both choices and the margin."""
    model = tiny_model("llama")

    def another_head(other: PreTrainedModel) -> None:
        other.lm_head.weight.data = other.lm_head.weight.data.flip(0)

    found = planted(model, another_head)
    assert found.parting is not None
    assert found.parting.token == 0
    assert found.parting.margin is not None
    assert found.parting.margin > 0


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.AS_IT_IS])
def test_without_room_for_float64_faults_are_named_all_the_same(precision: Precision) -> None:
    """Less exactly: what stands out of the noise is named, and noise is not."""
    model = tiny_model("llama")
    for fault, address in ((_scale, "1.self_attn"), (_rope, "model.rotary_emb"), (_double_an_mlp, "0.mlp")):
        found = compare(side(model), side(faulty(model, fault)), precision=precision)
        assert found.first is not None
        assert found.first.address == address
    for noise in (_nothing, lambda other: other.set_attn_implementation("eager")):
        for dtype in (torch.float32, torch.bfloat16):
            found = compare(side(model), side(faulty(model, noise, dtype)), precision=precision)
            assert found.findings == ()


def test_a_reference_without_float64_is_compared_less_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What memory does not allow is said in a note."""
    model = tiny_model("llama", dtype=torch.bfloat16)
    monkeypatch.setattr("llmdbg.debugger.comparison.variants.available", lambda _: 1_000)
    found = compare(side(model), side(faulty(model, _scale, torch.bfloat16)))
    assert any("a copy of the model in float64 needs" in note for note in found.notes)
    assert found.first is not None
    assert found.first.address == "1.self_attn"
