"""Left padding, as a batch has it: masked pad tokens before the prompt, bitwise what generate() makes of them."""

from __future__ import annotations

import pytest
import torch

from llmdbg.debugger.execution.session import Session
from llmdbg.engine.generation.engine import Engine
from llmdbg.engine.generation.settings import GenerationSettings
from llmdbg.errors import PromptError
from llmdbg.models.anatomy import dissect
from llmdbg.models.spec import LoadedModel
from llmdbg.models.tokens import encode_prompt
from tests.sessions import tiny_tokenizer
from tests.tiny import tiny_model

GREEDY = GenerationSettings(max_new_tokens=5, greedy=True)


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "gpt2", "opt", "bloom", "mamba", "jamba"])
def test_a_padded_prompt_is_what_generate_is_given_with_a_mask(name: str) -> None:
    model = tiny_model(name)
    prompt = encode_prompt(None, "Hello there", vocabulary_size=128, left_pad=5)
    session = Session(LoadedModel(name, model, None, "sdpa"), prompt, GREEDY)
    ids = torch.tensor([prompt.ids])
    mask = torch.ones_like(ids)
    mask[:, :5] = 0
    expected = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=5)
    session.do("continue")
    assert session.end is not None
    assert list(session.end.ids) == expected[0, ids.shape[1] :].tolist()
    assert session.do("verify").data.differs is None
    session.do("goto 1@2")
    session.do("continue")
    assert session.end.ids == tuple(expected[0, ids.shape[1] :].tolist())


def test_padding_that_is_not_hidden_would_say_something_else() -> None:
    model = tiny_model("llama")
    prompt = encode_prompt(None, "Hello there", vocabulary_size=128, left_pad=5)
    ends = []
    for padding in (0, 5):
        engine = Engine(model, dissect(model), prompt.ids, GREEDY, padding=padding)
        list(engine.stages())
        ends.append(engine.generated)
    assert ends[0] != ends[1]


def test_pads_are_the_tokenizers_own() -> None:
    tokenizer = tiny_tokenizer()
    prompt = encode_prompt(tokenizer, "The quick", left_pad=3)
    assert prompt.ids[:3] == (tokenizer.pad_token_id,) * 3
    assert prompt.ids[3:] == encode_prompt(tokenizer, "The quick").ids
    assert prompt.padding == 3


def test_all_of_a_prompt_cannot_be_padding() -> None:
    model = tiny_model("llama")
    with pytest.raises(PromptError, match="cannot be padding"):
        Engine(model, dissect(model), [0, 0], GREEDY, padding=2)


def test_a_model_without_a_mask_refuses_padding() -> None:
    model = tiny_model("llama")

    def forward(input_ids, **kwargs):
        return type(model).forward(model, input_ids, **kwargs)

    model.forward = forward
    with pytest.raises(PromptError, match="takes no attention mask"):
        Engine(model, dissect(model), [0, 0, 1], GREEDY, padding=2)
