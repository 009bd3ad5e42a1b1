"""Fidelity over real text: SmolLM2, and a Mistral with its weights and a short sliding window."""

import pytest
import torch
import transformers

from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.tokens import encode_prompt
from tests.engine.runs import under_llmdbg, untouched
from tests.engine.test_fidelity import assert_bitwise_equal

QUESTION = "Can you write an email explaining what an LLM is?"


@pytest.fixture(scope="module")
def asked(smollm2):
    """The demo model, and the ids of a question to it."""
    return smollm2.model, encode_prompt(smollm2.tokenizer, QUESTION, chat=True).ids


def as_mistral(model: transformers.PreTrainedModel, window: int) -> transformers.PreTrainedModel:
    """The same weights in Mistral's class, whose attention sees `window` tokens back."""
    old = model.config
    config = transformers.MistralConfig(
        **{
            name: getattr(old, name)
            for name in (
                "vocab_size",
                "hidden_size",
                "intermediate_size",
                "num_hidden_layers",
                "num_attention_heads",
                "num_key_value_heads",
                "head_dim",
                "hidden_act",
                "max_position_embeddings",
                "rms_norm_eps",
                "rope_parameters",
                "tie_word_embeddings",
                "bos_token_id",
                "eos_token_id",
                "pad_token_id",
            )
        },
        sliding_window=window,
    )
    mistral = transformers.MistralForCausalLM(config)
    mistral.load_state_dict(model.state_dict())
    mistral.generation_config = model.generation_config
    return mistral.eval()


def test_smollm2_greedy_at_every_module(asked):
    model, prompt = asked
    settings = GenerationSettings(max_new_tokens=24, greedy=True)
    wanted = untouched(model, prompt, settings)

    assert_bitwise_equal(under_llmdbg(model, prompt, settings, everything=True), wanted)
    assert_bitwise_equal(under_llmdbg(model, prompt, settings, everything=False), wanted)


def test_smollm2_sampled(asked):
    model, prompt = asked
    settings = GenerationSettings(
        max_new_tokens=24, temperature=0.8, top_k=50, top_p=0.9, min_p=0.02, repetition_penalty=1.1, seed=11
    )
    wanted = untouched(model, prompt, settings)

    assert_bitwise_equal(under_llmdbg(model, prompt, settings, everything=True), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mistral_that_speaks_english_well_past_its_window(asked, dtype):
    model, prompt = asked
    mistral = as_mistral(model, window=64).to(dtype)
    settings = GenerationSettings(max_new_tokens=96, greedy=True)
    wanted = untouched(mistral, prompt, settings)
    if dtype is torch.float32:
        whole = untouched(model, prompt, settings)
        assert wanted.ids[:20] == whole.ids[:20], "within the window the two must say the same"

    assert len(wanted.ids) > 80
    assert_bitwise_equal(under_llmdbg(mistral, prompt, settings, everything=True), wanted)
    assert_bitwise_equal(under_llmdbg(mistral, prompt, settings, everything=False), wanted)
