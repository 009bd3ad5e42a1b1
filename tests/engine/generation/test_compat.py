"""The private names of transformers we cannot do without.

When one of these fails, `llmdbg/engine/generation/_compat.py` has to change.
"""

import inspect

import pytest
from transformers import GenerationConfig, GenerationMixin

from llmdbg.engine.generation import _compat


@pytest.mark.parametrize("name", _compat.TRANSFORMERS_NAMES)
def test_transformers_still_has(name):
    assert callable(getattr(GenerationMixin, name))


def test_generate_still_hands_the_loop_over():
    assert "custom_generate" in inspect.signature(GenerationMixin.generate).parameters


def test_prefill_still_takes_what_we_give_it():
    assert list(inspect.signature(GenerationMixin._prefill).parameters)[:5] == [
        "self",
        "input_ids",
        "generation_config",
        "model_kwargs",
        "is_first_iteration",
    ]


@pytest.mark.parametrize("name", _compat.CONFIG_NAMES)
def test_a_generation_config_still_has(name):
    assert callable(getattr(GenerationConfig, name))


def test_the_default_length_is_the_one_that_generate_documents():
    assert _compat.default_new_tokens(GenerationConfig()) == 20
