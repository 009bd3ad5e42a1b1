"""Left padding, as a batch has it: masked pad tokens before the prompt, bitwise what generate() makes of them."""

from __future__ import annotations

import pytest
import torch

from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import PromptError
from llmdbg.models.spec import LoadedModel
from llmdbg.models.tokens import encode_prompt
from tests.engine.runs import generation
from tests.sessions import do, tiny_tokenizer
from tests.tiny import tiny_model

GREEDY = GenerationSettings(max_new_tokens=5, greedy=True)


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "gpt2", "opt", "bloom", "mamba", "jamba"])
def test_a_padded_prompt_is_what_generate_is_given_with_a_mask(name: str) -> None:
    model = tiny_model(name)
    prompt = encode_prompt(None, "Hello there", vocabulary_size=128, left_pad=5)
    session = Debugger(Generation(LoadedModel(name, model, None, "sdpa"), prompt, GREEDY))
    ids = torch.tensor([prompt.ids])
    mask = torch.ones_like(ids)
    mask[:, :5] = 0
    expected = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=5)
    do(session, "continue")
    assert session.end is not None
    assert list(session.end.ids) == expected[0, ids.shape[1] :].tolist()
    assert do(session, "verify").data.differs is None
    do(session, "goto 1@2")
    do(session, "continue")
    assert session.end.ids == tuple(expected[0, ids.shape[1] :].tolist())


def test_padding_that_is_not_hidden_would_say_something_else() -> None:
    model = tiny_model("llama")
    prompt = encode_prompt(None, "Hello there", vocabulary_size=128, left_pad=5)
    ends = []
    for padding in (0, 5):
        engine = generation(model, prompt.ids, GREEDY, padding=padding)
        list(engine.events())
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
        generation(model, [0, 0], GREEDY, padding=2)


def test_a_model_without_a_mask_refuses_padding() -> None:
    model = tiny_model("llama")

    def forward(input_ids, **kwargs):
        return type(model).forward(model, input_ids, **kwargs)

    model.forward = forward
    with pytest.raises(PromptError, match="takes no attention mask"):
        generation(model, [0, 0, 1], GREEDY, padding=2)
