"""Attention weights from what the kernel was called with, against eager attention's own.

Tolerances: 2e-5 in float32, 2e-2 in bfloat16 (eager rounds its weights to 8 bits of mantissa).
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.attentions import KernelCall, attentions
from llmdbg.models.tokens import encode_prompt
from llmdbg.probes.attention import AttentionMap, QueryPosition, attention_map
from llmdbg.probes.kernel_rows import rows
from tests.attention_kernels import eager_weights, heated_kernel, opaque_kernel, registered, session_over
from tests.engine.test_real_text import as_mistral
from tests.sessions import do
from tests.tiny import tiny_model

# Grouped queries, window, alternating layers, soft-cap, multi-query, sinks, latent attention, learned positions,
# partial rotary, alibi-free and biased projections.
WITH_SDPA = ("llama", "mistral", "gemma3", "qwen3", "gpt2", "opt", "gpt_neox", "falcon", "deepseek_v3", "starcoder2")
EAGER_ALONE = ("gemma2", "gpt_oss", "bloom", "gptj", "gpt_neo")
WITH_INTERFACE = ("llama", "mistral", "gemma2", "gpt2", "gpt_oss", "qwen3", "deepseek_v3", "phi3")


def _asked(session: Debugger, line: str) -> AttentionMap:
    found = do(session, line).data
    assert isinstance(found, AttentionMap), found
    return found


def _check(session: Debugger, name: str, tolerance: float = 2e-5, **changes: Any) -> None:
    """Every layer's weights at the last position, the prompt's and a later token's, and at an earlier focus."""
    prompt = len(session.debuggee.prompt.ids)
    do(session, "goto logits@3")
    ids = [*session.debuggee.prompt.ids, *session.run.generated_ids()[:3]]
    expected = eager_weights(name, ids, prompt, **changes)
    for token, focus in ((3, None), (0, None), (0, 9), (0, 0)):
        do(session, f"goto logits@{token}")
        do(session, f"focus {'last' if focus is None else focus}")
        for stage, whole in zip(attentions(session.debuggee.anatomy), expected[token], strict=True):
            found = _asked(session, f"info attention {stage.layer}")
            row = whole[:, -1 if focus is None else focus]
            shown = row[:, : found.keys]
            assert not row[:, found.keys :].any()
            np.testing.assert_allclose(found.weights, shown.numpy(), atol=tolerance, rtol=0)
            assert found.position == (prompt + token - 1 if focus is None else focus)
            assert found.first_key + found.keys - 1 == found.position
            assert not found.notes


@pytest.mark.parametrize("name", WITH_SDPA)
def test_what_sdpa_was_called_with_gives_eager_attentions_weights(name: str) -> None:
    _check(session_over(tiny_model(name, attn="sdpa")), name)


@pytest.mark.parametrize("name", (*WITH_SDPA[:4], *EAGER_ALONE))
def test_eager_attentions_own_weights_are_heard(name: str) -> None:
    session = session_over(tiny_model(name, attn="eager"), "eager")
    _check(session, name, tolerance=1e-7)
    assert "softmax" in _asked(session, "info attention 1").kernel


@pytest.mark.parametrize("name", WITH_INTERFACE)
def test_a_kernel_of_the_users_own_is_heard_by_its_arguments(name: str) -> None:
    with registered("opaque", opaque_kernel) as attn:
        session = session_over(tiny_model(name, attn=attn), attn)
        _check(session, name)
        found = _asked(session, "info attention 0")
        assert found.kernel == "opaque"
        assert found.difference is not None
        assert found.difference < 1e-5


@pytest.mark.parametrize("name", ("llama", "mistral", "qwen3"))
def test_a_kernel_that_gets_no_mask_is_causal_and_as_wide_as_its_window(name: str) -> None:
    with registered("maskless", opaque_kernel, with_mask=False) as attn:
        _check(session_over(tiny_model(name, attn=attn), attn), name)


def test_a_kernel_that_does_something_else_than_its_arguments_say_is_not_told_wrong() -> None:
    with registered("heated", heated_kernel) as attn:
        session = session_over(tiny_model("llama", attn=attn), attn)
        do(session, "goto logits")
        said = do(session, "info attention 1").data
        assert isinstance(said, str)
        assert "heated" in said
        assert "not shown" in said


@pytest.mark.parametrize("name", ("llama", "mistral", "gpt_neox"))
def test_bfloat16(name: str) -> None:
    session = session_over(tiny_model(name, attn="sdpa", dtype=torch.bfloat16))
    _check(session, name, tolerance=2e-2, dtype=torch.bfloat16)


def test_a_learned_sink_has_a_share_of_its_own() -> None:
    session = session_over(tiny_model("gpt_oss"))
    do(session, "goto logits@2")
    found = _asked(session, "info attention 1")
    for head in found.heads:
        assert head.sink is not None
        assert head.sum == pytest.approx(1, abs=1e-5)
        assert head.sink == pytest.approx(1 - float(found.weights[head.head].sum()), abs=1e-5)


def test_flex_attentions_block_mask_is_asked_for_the_row() -> None:
    session = session_over(tiny_model("mistral"))
    do(session, "goto logits")
    expected = _asked(session, "info attention 0").weights
    flex = session_over(tiny_model("mistral", attn="flex_attention"), "flex_attention")
    try:
        do(flex, "goto logits")
    except Exception as error:
        pytest.skip(f"flex attention cannot be compiled here: {type(error).__name__}")
    found = _asked(flex, "info attention 0")
    assert found.kernel == "flex_attention"
    np.testing.assert_allclose(found.weights, expected, atol=2e-5)


def _call(**changes: Any) -> KernelCall:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, 6, 8, generator=generator) for heads in (4, 2, 2))
    return KernelCall(**{"kernel": "mine", "query": query, "key": key, "value": value, "is_causal": True, **changes})


def _map(calls: list[KernelCall], position: int = 5, **changes: Any) -> AttentionMap | str:
    found = rows(calls, position, 6)
    assert not isinstance(found, str), found
    return attention_map(found, QueryPosition("0", 0, position, 6, changes.pop("padding", 0), str), **changes)


def test_the_numbers_told_are_those_of_the_weights() -> None:
    found = _map([_call()], head=2)
    assert isinstance(found, AttentionMap)
    weights = found.weights.astype(np.float64)
    for head in found.heads:
        row = weights[head.head]
        assert head.entropy == pytest.approx(-(row * np.log(row)).sum(), abs=1e-6)
        assert head.first == pytest.approx(row[0])
        assert head.reads[0].position == row.argmax()
        assert [read.weight for read in head.reads] == sorted((read.weight for read in head.reads), reverse=True)
        assert len(head.reads) == (6 if head.head == 2 else 5)
    assert found.mean[0].weight == pytest.approx(weights.mean(0).max())
    assert found.largest[0].weight == pytest.approx(weights.max())


def test_padding_is_not_the_first_token() -> None:
    mask = torch.zeros(1, 1, 6, 6).masked_fill(torch.arange(6) < 2, -torch.inf)
    found = _map([_call(mask=mask, is_causal=False)], padding=2)
    assert isinstance(found, AttentionMap)
    assert not found.weights[:, :2].any()
    assert found.first_position == 2
    assert found.heads[1].first == pytest.approx(float(found.weights[1, 2]))


def test_rows_that_do_not_sum_to_1_are_said_to() -> None:
    weights = torch.full((1, 2, 6, 6), 1 / 6)
    weights[0, 1] *= 0.9
    found = _map([KernelCall("softmax", weights=weights)])
    assert isinstance(found, AttentionMap)
    assert "head 1 sum to 0.9000" in found.notes[0]
    assert found.weights[1].sum() == pytest.approx(0.9)


def test_a_query_that_may_see_nothing_reads_nothing() -> None:
    mask = torch.full((1, 1, 6, 6), False)
    found = _map([_call(mask=mask, is_causal=False)])
    assert isinstance(found, AttentionMap)
    assert not found.weights.any()
    assert "no key" in found.notes[0]


def test_nan_is_told_and_not_hidden() -> None:
    call = _call()
    assert call.query is not None
    call.query[0, 1, 5] = torch.nan
    found = _map([call])
    assert isinstance(found, AttentionMap)
    assert "not finite" in found.notes[0]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (_call(mask=object()), "mask of its own"),
        (_call(query=torch.zeros(2, 4, 6, 8)), "2 sequences"),
        (_call(query=torch.zeros(1, 4, 3, 8)), "3 of the forward's 6 queries"),
        (_call(key=torch.zeros(1, 3, 6, 8)), "not understood"),
        (KernelCall("softmax", weights=torch.zeros(1, 2, 3, 6)), "3 of the forward's 6 queries"),
    ],
)
def test_what_cannot_be_told_is_refused_in_one_line(call: KernelCall, said: str) -> None:
    found = rows([call], 2, 6)
    assert isinstance(found, str)
    assert said in found
    assert "\n" not in found


def test_a_prompt_that_was_fed_in_pieces_says_so() -> None:
    found = rows([_call()], -2, 6)
    assert isinstance(found, str)
    assert "pieces" in found


def test_no_call_at_all_says_so() -> None:
    assert "neither a softmax over keys nor an attention kernel" in str(rows([], 0, 6))


@pytest.mark.slow
@pytest.mark.parametrize("window", [None, 16])
def test_the_demo_models_weights_are_eager_attentions(smollm2: Any, window: int | None) -> None:
    """Over its weights in Mistral's class too, with a window that the prompt is longer than."""
    model = smollm2.model if window is None else as_mistral(smollm2.model, window)
    loaded = dataclasses.replace(smollm2, model=model)
    prompt = encode_prompt(loaded.tokenizer, "Can you write an email explaining what an LLM is?", chat=True)
    session = Debugger(Generation(loaded, prompt, GenerationSettings(max_new_tokens=3, greedy=True)))
    do(session, "goto logits@2")
    ids = [*prompt.ids, *session.run.generated_ids()[:2]]
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        expected = eager(torch.tensor([ids]), output_attentions=True, use_cache=False).attentions
    for layer in (0, 7, 29):
        found = _asked(session, f"info attention {layer}")
        row = expected[layer][0, :, -1]
        np.testing.assert_allclose(found.weights, row[:, found.first_key :].numpy(), atol=2e-5, rtol=0)
        assert found.first_key == (0 if window is None else len(ids) - window)
        assert not row[:, : found.first_key].any()
    do(session, "goto logits@0")
    do(session, "focus 20")
    found = _asked(session, "info attention 12")
    np.testing.assert_allclose(found.weights, expected[12][0, :, 20, : found.keys].numpy(), atol=2e-5, rtol=0)
