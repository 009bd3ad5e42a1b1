"""What the generation options mean is what they mean to `generate()`."""

import inspect
import math
import re
from typing import Any

import pytest
import torch
from transformers import GenerationMixin
from transformers.generation import logits_process

from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.generation.sampling import processor_stages
from llmdbg.engine.generation.sampling_facts import PROCESSOR_WORDS, describe_sampling
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import SettingsError
from llmdbg.models.spec import LoadedModel
from llmdbg.models.tokens import Prompt
from tests.engine.runs import PROMPT, under_llmdbg, untouched
from tests.engine.test_fidelity import assert_bitwise_equal
from tests.tiny import tiny_model

VALUES = [
    ("temperature", value) for value in (1e-3, 0.5, 1.0, 2, 1e6, 0, -1.0, math.nan)
] + [
    ("top_k", value) for value in (0, 1, 5, 127, 1000, -1, -5)
] + [
    ("top_p", value) for value in (0.0, 0.5, 1.0, 1, 0, -0.1)
] + [
    ("min_p", value) for value in (0.0, 0.05, 1.0, 1, -0.1, 1.1, math.nan)
] + [
    ("repetition_penalty", value) for value in (0.5, 1.0, 1.3, 2, 0, -1.0, math.nan)
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), VALUES, ids=[f"{name}={value}" for name, value in VALUES])
def test_a_value_is_taken_where_generate_takes_it_and_refused_where_it_does_not(name, value):
    model = tiny_model("llama")
    # An option is always a real number where generate() wants one.
    given = float(value) if name != "top_k" else value
    try:
        torch.manual_seed(0)
        model.generate(torch.tensor([PROMPT]), max_new_tokens=4, do_sample=True, **{name: given})
    except ValueError:
        with pytest.raises(SettingsError, match=name):
            GenerationSettings(max_new_tokens=4, **{name: value})
        return
    settings = GenerationSettings(max_new_tokens=4, seed=3, **{name: value})
    assert_bitwise_equal(under_llmdbg(model, PROMPT, settings, everything=True), untouched(model, PROMPT, settings))


@pytest.mark.parametrize("name", ["temperature", "top_p", "min_p", "repetition_penalty"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_no_settings(name, value):
    with pytest.raises(SettingsError, match=f"^{name} must be .*, not {value}$"):
        GenerationSettings(**{name: value})


@pytest.mark.parametrize("value", [1.0001, 2, 95])
def test_a_top_p_above_1_is_a_percentage_by_mistake(value):
    with pytest.raises(SettingsError, match="top_p must be from 0 to 1, which keeps all tokens, not"):
        GenerationSettings(top_p=value)


def described(**changes):
    """How a run of a tiny model with this generation config says that it chooses its tokens."""
    model = tiny_model("llama")
    model.generation_config.update(**changes)
    engine = Generation(LoadedModel("tiny", model, None, "sdpa"), Prompt(tuple(PROMPT), ""), GenerationSettings())
    for _ in engine.events():
        break
    return engine.sampling.description


def test_what_is_off_is_not_described():
    assert described(do_sample=True, top_k=0, top_p=1.0, temperature=0.7, min_p=0.1) == "temperature 0.7 · min-p 0.1"
    assert described(do_sample=True, top_k=5, temperature=1.0) == "temperature 1 · top-k 5"
    # These belong to sampling, and greedy search runs none of them.
    assert described(do_sample=False, top_k=5, top_p=0.5, temperature=0.7) == "greedy"
    # Without an end token there is nothing to keep from being chosen, and generate() runs no such processor.
    assert described(min_new_tokens=3, eos_token_id=None) == "greedy"


PROCESSORS: list[tuple[dict[str, Any], str]] = [
    ({"suppress_tokens": [3, 4]}, "suppresses 2 tokens"),
    ({"begin_suppress_tokens": [3]}, "suppresses 1 token at first"),
    ({"bad_words_ids": [[3], [4, 5]]}, "bans 2 sequences"),
    ({"sequence_bias": [[[3], 1.5]]}, "bias on 1 sequence"),
    ({"forced_bos_token_id": 3}, "first token 3 forced"),
    ({"forced_eos_token_id": 3}, "last token 3 forced"),
    ({"no_repeat_ngram_size": 2}, "no repeated 2-gram"),
    ({"min_length": 9, "eos_token_id": 5}, "min length 9"),
    # generate() turns it into a length too.
    ({"min_new_tokens": 3, "eos_token_id": 5}, f"min length {len(PROMPT) + 3} · min new tokens 3"),
    ({"guidance_scale": 1.5}, "guidance 1.5"),
    ({"repetition_penalty": 1.2}, "repetition penalty 1.2"),
    ({"exponential_decay_length_penalty": (5, 1.1), "eos_token_id": 5}, "length penalty 1.1 from token 5"),
    ({"remove_invalid_values": True}, "NaN and infinity removed"),
    ({"renormalize_logits": True}, "renormalized"),
    ({"watermarking_config": {"bias": 2.0}}, "watermark"),
    ({"suppress_tokens": [3], "repetition_penalty": 1.2}, "repetition penalty 1.2 · suppresses 1 token"),
]


@pytest.mark.parametrize(("asked", "words"), PROCESSORS, ids=[" ".join(asked) for asked, _ in PROCESSORS])
def test_every_processor_that_runs_is_named(asked, words):
    assert described(**asked) == f"greedy · {words}"
    drawn = described(**asked, do_sample=True, temperature=0.5)
    assert set(words.split(" · ")) < set(drawn.split(" · "))


def test_every_processor_that_a_config_can_ask_for_has_words():
    """Those that need an encoder's input, or a function given in the call, never run here."""
    elsewhere = {"encoder_repetition_penalty", "encoder_no_repeat_n_gram", "prefix_constrained"}
    made = set(re.findall(r"\b([A-Z]\w+)\($", inspect.getsource(GenerationMixin._get_logits_processor), re.MULTILINE))
    made |= set(re.findall(r"append\((\w+)\(", inspect.getsource(GenerationMixin._get_logits_processor)))
    made |= {"WatermarkLogitsProcessor", "SynthIDTextWatermarkLogitsProcessor"}
    stages = processor_stages(getattr(logits_process, name).__new__(getattr(logits_process, name)) for name in made)
    names = {stage.address.removeprefix("sample.") for stage in stages}
    assert {"suppress_tokens", "temperature"} < names
    assert names - elsewhere <= set(PROCESSOR_WORDS)


def test_a_processor_that_nobody_knows_is_named_by_its_stage():
    config = tiny_model("llama").generation_config
    stages = processor_stages([type("OwnLogitsProcessor", (), {})(), type("SuppressTokensLogitsProcessor", (), {})()])
    assert describe_sampling(config, stages) == "greedy · own · suppress tokens"


def test_all_that_cannot_go_with_greedy_is_named():
    with pytest.raises(SettingsError, match="cannot go with temperature, top_k and top_p:"):
        GenerationSettings(greedy=True, temperature=0.5, top_k=3, top_p=0.9)
