"""Silly values in a model's generation config: refused with the name of the setting, and before memory is asked for."""

import pytest
import torch
from transformers.cache_utils import StaticLayer, StaticSlidingWindowLayer

from llmdbg.engine.generation import cache_checks
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import LlmdbgError, SettingsError
from tests.engine.runs import GREEDY, PROMPT, generation, hooks_on, untouched
from tests.tiny import tiny_model

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

NO_OPTIONS = GenerationSettings()
SAMPLED = GenerationSettings(max_new_tokens=4, temperature=0.5)


def refusal(config, settings=GREEDY):
    """The one line that a run with these settings of the model's own ends with."""
    model = tiny_model("llama")
    for name, value in config.items():
        setattr(model.generation_config, name, value)
    before = model.generation_config
    engine = generation(model, PROMPT, settings)
    with pytest.raises(LlmdbgError) as caught:
        list(engine.events())
    assert model.generation_config is before
    assert not hooks_on(model)
    assert not hasattr(model, "_previous_max_cache_length")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ({"max_length": "x"}, NO_OPTIONS),
        ({"max_length": [1]}, NO_OPTIONS),
        ({"min_length": "x"}, GREEDY),
        ({"min_new_tokens": []}, GREEDY),
        ({"max_time": "x"}, GREEDY),
        ({"top_k": "x"}, SAMPLED),
        ({"top_p": [0.5]}, SAMPLED),
        ({"repetition_penalty": -1}, GREEDY),
        ({"encoder_repetition_penalty": 2}, GREEDY),
        ({"no_repeat_ngram_size": True}, GREEDY),
        ({"bad_words_ids": [[10**9]]}, GREEDY),
        ({"sequence_bias": [[[10**9], 1.0]]}, GREEDY),
        ({"guidance_scale": "x"}, GREEDY),
        ({"guidance_scale": 10**30}, GREEDY),
        ({"forced_eos_token_id": 10**9}, GREEDY),
        ({"suppress_tokens": "x"}, GREEDY),
        ({"begin_suppress_tokens": 1}, GREEDY),
        ({"exponential_decay_length_penalty": [0, 10**400], "eos_token_id": 2}, GREEDY),
        ({"exponential_decay_length_penalty": [1]}, GREEDY),
        ({"eos_token_id": "x"}, GREEDY),
        ({"pad_token_id": 10**30}, GREEDY),
        ({"is_assistant": True}, GREEDY),
        ({"is_assistant": True, "prompt_lookup_num_tokens": 3}, GREEDY),
        ({"dola_layers": "high"}, GREEDY),
        ({"num_beams": []}, GREEDY),
        ({"cache_implementation": "offloaded"}, GREEDY),
        ({"cache_implementation": "offloaded_static"}, GREEDY),
    ],
    ids=lambda each: str(each)[:50] if isinstance(each, dict) else "",
)
def test_the_setting_is_named(config, settings):
    if "offloaded" in str(config) and torch.accelerator.is_available():
        pytest.skip("there is a GPU to move a cache from")
    line = refusal(config, settings)
    assert any(name in line for name in config if name != "eos_token_id" or len(config) == 1)
    assert ("generation_config.json" in line and "correct" in line) or "take it out" in line


def test_a_setting_that_changes_a_processor_and_does_not_remove_it_is_named():
    assert "top_k=True" in refusal({"do_sample": True, "top_k": True}, NO_OPTIONS)


def test_of_several_each_is_named():
    line = refusal({"min_length": "x", "bad_words_ids": "y", "top_k": 5})
    assert "min_length='x' or bad_words_ids='y'" in line and "top_k" not in line


@pytest.mark.parametrize("name", ["prompt_lookup_num_tokens", "assistant_early_exit"])
def test_a_guess_of_no_tokens_is_told_as_any_other(name):
    model = tiny_model("llama")
    setattr(model.generation_config, name, 0)
    engine = generation(model, PROMPT, GREEDY)
    list(engine.events())
    assert name in engine.notes[0]


@pytest.mark.parametrize(
    ("config", "settings", "size"),
    [
        ({"max_length": 10**12}, NO_OPTIONS, "for 999,999,999,999 tokens"),
        ({"max_new_tokens": 10**12}, NO_OPTIONS, "TiB"),
        ({"max_cache_len": 10**12}, GREEDY, "TiB"),
        ({"max_length": 10**40}, NO_OPTIONS, "TiB"),
        ({"max_length": 10**12, "prefill_chunk_size": 2}, NO_OPTIONS, "TiB"),
        ({}, GenerationSettings(max_new_tokens=2**31 - 1, greedy=True), "GiB"),
    ],
)
@pytest.mark.parametrize("kind", ["static", "sliding_window", "hybrid_chunked"])
def test_a_cache_larger_than_memory_is_refused_before_it_is_made(monkeypatch, config, settings, size, kind):
    monkeypatch.setattr(cache_checks, "available", lambda _device: 2**30)
    for each in (StaticLayer, StaticSlidingWindowLayer):
        monkeypatch.setattr(each, "lazy_initialization", lambda *_: pytest.fail("memory was asked for"))
    line = refusal({"cache_implementation": kind, **config}, settings)
    assert f"cache_implementation='{kind}'" in line and "with -n" in line and size in line


def test_a_static_cache_that_fits_runs_as_in_generate():
    model = tiny_model("llama")
    model.generation_config.cache_implementation = "static"
    engine = generation(model, PROMPT, GREEDY)
    list(engine.events())
    assert list(engine.generated) == untouched(model, PROMPT, GREEDY).ids


def test_what_a_static_cache_takes_is_counted_as_it_is():
    model = tiny_model("llama")
    model.generation_config.cache_implementation = "static"
    engine = generation(model, PROMPT, GREEDY)
    for event in engine.events():
        if event.ended_by:
            taken = sum(each.nbytes for layer in engine.cache.layers for each in (layer.keys, layer.values))
    assert taken == cache_checks._bytes(model, cache_checks._length(model, len(PROMPT), GREEDY))


def test_settings_that_cannot_be_is_a_usage_error():
    with pytest.raises(SettingsError):
        model = tiny_model("llama")
        model.generation_config.max_length = "x"
        list(generation(model, PROMPT, NO_OPTIONS).events())
