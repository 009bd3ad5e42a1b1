"""What `info kv` says a position reads, against the mask that the attention of this run was really given."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Llama4TextConfig, PreTrainedModel

from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import LlmdbgError
from llmdbg.frontends.answers import answer_json, answer_lines
from llmdbg.models.spec import LoadedModel
from llmdbg.models.tokens import encode_prompt
from tests.attention_kernels import TEXT, opaque_kernel, registered, session_over
from tests.frontends.tui.states import drawn_pane, state_at, text
from tests.sessions import do
from tests.tiny import ARCHITECTURES, attention_implementations, tiny_model

WINDOW = 8
PROMPT = len(TEXT)


def layers(session: Debugger, place: str) -> Any:
    do(session, place)
    return do(session, "info kv").data.layers


def every_kernel(name: str) -> list[str | None]:
    return [*attention_implementations(name)] or [None]


@pytest.mark.parametrize(
    "name", ["llama", "mistral", "gemma2", "gemma3", "gpt2", "gpt_neo", "gpt_oss", "falcon", "opt"]
)
def test_an_ordinary_model_reads_what_its_configuration_says(name: str) -> None:
    for attn in every_kernel(name):
        session = session_over(tiny_model(name, attn=attn), attn or "sdpa")
        for place, position in (("goto logits", PROMPT - 1), ("goto logits@3", PROMPT + 2)):
            for layer in layers(session, place):
                assert layer.sees == ((layer.window_from, position),), (attn, place, layer)
                assert not layer.mask_differs
                assert not layer.some_heads
        session.close()


def widened(module: Any, args: Any, kwargs: dict[str, Any], *, more: int) -> tuple[Any, dict[str, Any]]:
    """A bug: the mask lets attention read `more` positions than the window, 0 for all before."""
    made = args[0] if args else kwargs["hidden_states"]
    keys = queries = made.shape[1]
    if queries == 1:
        return args, kwargs
    away = torch.arange(queries)[:, None] - torch.arange(keys)[None]
    seen = (away >= 0) & (away < WINDOW + more if more else away >= 0)
    mask = torch.zeros(queries, keys).masked_fill(~seen, torch.finfo(torch.float32).min)
    return args, {**kwargs, "attention_mask": mask[None, None]}


@pytest.mark.parametrize("more", [0, 3, -2])
@pytest.mark.parametrize("attn", ["eager", "sdpa", "mine"])
def test_a_mask_that_is_not_the_configurations_is_told_as_it_is(attn: str, more: int) -> None:
    with registered("mine", opaque_kernel):
        model = tiny_model("mistral", attn=attn)
        hook = partial(widened, more=more)
        model.model.layers[1].self_attn.register_forward_pre_hook(hook, with_kwargs=True)
        session = session_over(model, attn)
        first, second = layers(session, "goto logits")
        last = PROMPT - 1
        reads = 0 if more == 0 else last - WINDOW - more + 1

        assert (first.sees, first.mask_differs) == (((last - WINDOW + 1, last),), False)
        assert (second.sees, second.mask_differs) == (((reads, last),), True)
        whole = "\n".join(answer_lines(do(session, "info kv").data))
        assert f"{reads} to {last} (not as configured)" in whole
        detail = "\n".join(answer_lines(do(session, "info kv 1").data))
        assert f"reads {reads} to {last}, by the mask of this run" in detail
        assert f"NOT as configured: by its window of {WINDOW} it would read {last - WINDOW + 1} to {last}" in detail
        assert "NOT" not in "\n".join(answer_lines(do(session, "info kv 0").data))
        assert answer_json(do(session, "info kv 1").data)["layer"]["sees"] == [[reads, last]]
        assert f"{reads}-{last}!" in text(drawn_pane("kv", state_at(session, "kv"), 60))
        assert not any(layer.mask_differs for layer in layers(session, "goto logits@1"))
        session.close()


@pytest.mark.slow
def test_flex_attentions_block_mask_is_asked() -> None:
    session = session_over(tiny_model("mistral", attn="flex_attention"), "flex_attention")
    try:
        do(session, "goto logits")
    except LlmdbgError as error:
        pytest.skip(f"flex attention cannot be compiled here: {type(error).__name__}")
    for layer in do(session, "info kv").data.layers:
        assert (layer.sees, layer.mask_differs) == (((PROMPT - WINDOW, PROMPT - 1),), False)


def test_a_mask_that_lets_later_positions_be_read_is_told() -> None:
    def blind(_module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, {**kwargs, "attention_mask": torch.zeros(1, 1, PROMPT, PROMPT)}

    model = tiny_model("llama")
    model.model.layers[0].self_attn.register_forward_pre_hook(blind, with_kwargs=True)
    session = session_over(model)
    do(session, "goto logits")
    do(session, "focus 5")
    first, second = do(session, "info kv").data.layers
    assert (first.sees, first.mask_differs) == (((0, PROMPT - 1),), True)
    assert (second.sees, second.mask_differs) == (((0, 5),), False)


def padded_session(model: PreTrainedModel, padding: int) -> Debugger:
    prompt = encode_prompt(None, TEXT, vocabulary_size=128, left_pad=padding)
    loaded = LoadedModel("tiny", model, None, "sdpa")
    return Debugger(Generation(loaded, prompt, GenerationSettings(max_new_tokens=5, greedy=True)))


@pytest.mark.parametrize("attn", ["eager", "sdpa"])
def test_padding_is_hidden_unless_the_mask_lets_it_be_read(attn: str) -> None:
    session = padded_session(tiny_model("llama", attn=attn), 3)
    for layer in layers(session, "goto logits@1"):
        assert (layer.sees, layer.mask_differs) == (((3, PROMPT + 3),), False)
    model = tiny_model("llama", attn=attn)
    for each in model.model.layers:
        each.self_attn.register_forward_pre_hook(
            lambda _module, args, kwargs: (args, {**kwargs, "attention_mask": None}), with_kwargs=True
        )
    session = padded_session(model, 3)
    for layer in layers(session, "goto logits@1"):
        assert (layer.sees, layer.mask_differs) == (((0, PROMPT + 3),), True)
    assert "causality alone and the padding" in "\n".join(answer_lines(do(session, "info kv 0").data))


def chunked_model(attn: str) -> PreTrainedModel:
    config = Llama4TextConfig(
        vocab_size=128, hidden_size=32, intermediate_size=64, intermediate_size_mlp=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, num_local_experts=2, num_experts_per_tok=1,
        attention_chunk_size=6, layer_types=["chunked_attention", "full_attention"], pad_token_id=0, bos_token_id=None,
        eos_token_id=None, max_position_embeddings=256,
    )  # fmt: skip
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attn).eval()


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("attn", ["eager", "sdpa"])
def test_chunks_begin_where_the_mask_begins_them(attn: str, padding: int) -> None:
    session = padded_session(chunked_model(attn), padding)
    for token in range(4):
        chunked, full = layers(session, f"goto logits@{token}")
        position = PROMPT + token - 1
        start = position // 6 * 6
        assert chunked.sees == ((start + padding, position + padding),)
        assert full.sees == ((padding, position + padding),)
        assert not chunked.mask_differs
        assert not full.mask_differs


def test_a_layer_whose_attention_has_not_run_says_so() -> None:
    session = session_over(tiny_model("llama"))
    first, second = layers(session, "goto 0@2")
    assert first.sees == ((0, PROMPT + 1),)
    assert (second.sees, second.unknown) == (None, "1.self_attn has not run yet")
    said = "\n".join(answer_lines(do(session, "info kv 1").data))
    assert "the mask of this run is not known: 1.self_attn has not run yet" in said


def test_a_kernel_that_cannot_be_read_says_so() -> None:
    session = session_over(tiny_model("deepseek_v4"))
    found = layers(session, "goto logits@2")[1]
    assert found.sees is None
    assert "keys, which are not the positions one by one" in found.unknown


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in ("deepseek_v4",)])
def test_no_architecture_is_accused(name: str) -> None:
    session = session_over(tiny_model(name))
    do(session, "goto logits@3")
    found = do(session, "info kv").data
    assert isinstance(found, str) or not any(layer.mask_differs or layer.unknown for layer in found.layers)
    session.close()


def test_what_padding_itself_reads_accuses_nobody() -> None:
    session = padded_session(tiny_model("llama"), 3)
    do(session, "goto logits")
    do(session, "focus 1")
    found = do(session, "info kv").data
    assert not any(layer.mask_differs for layer in found.layers)
