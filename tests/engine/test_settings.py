"""What the generation options mean is what they mean to `generate()`."""

import math

import pytest
import torch

from llmdbg.engine.generation.sampling_facts import describe_sampling
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import SettingsError
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


def test_what_is_off_is_not_described():
    model = tiny_model("llama")
    config = model.generation_config
    config.update(do_sample=True, top_k=0, top_p=1.5, temperature=0.7, min_p=0.1)

    assert describe_sampling(config) == "temperature 0.7 · min-p 0.1"
