"""A generation_config.json with silly values: one line that names the setting, and neither time nor memory is taken."""

import json
import time

import pytest
from transformers import GenerationConfig

from llmdbg.cli import main
from llmdbg.errors import DamagedFileError, LlmdbgError
from llmdbg.models.generation_files import check_generation_config
from tests.engine.runs import GREEDY, PROMPT, generation
from tests.models.refusals import refusal
from tests.tiny import tiny_model


def with_settings(folder, **settings):
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_new_tokens", "x"),
        ("max_new_tokens", -1),
        ("early_stopping", [1]),
        ("cache_implementation", 3),
        ("stop_strings", [1]),
        ("suppress_tokens", 1),
        ("suppress_tokens", [[1]]),
        ("num_return_sequences", "x"),
        ("watermarking_config", 1),
        ("watermarking_config", {"a": 1}),
        ("pad_token_id", "x"),
        ("assistant_ensemble_weight", "x"),
        ("output_hidden_states", "x"),
        ("output_attentions", [1]),
        ("use_cache", 0.5),
        ("prefill_chunk_size", 0),
        ("prefill_chunk_size", True),
        ("prefill_chunk_size", [1, 2]),
        # These two take as much time and memory as they say.
        ("encoder_no_repeat_ngram_size", 10**12),
        ("encoder_no_repeat_ngram_size", float("inf")),
        ("watermarking_config", {"ngram_len": 5, "keys": [1], "sampling_table_size": 10**11}),
    ],
)
def test_the_setting_is_named(a_copy, name, value):
    began = time.monotonic()
    line = refusal(with_settings(a_copy(), top_k=5, **{name: value}), DamagedFileError)
    assert name in line and "top_k" not in line and "correct it" in line
    assert time.monotonic() - began < 10


def test_of_two_that_do_not_go_together_both_are_named(a_copy):
    line = refusal(with_settings(a_copy(), watermarking_config={"a": 1}, max_new_tokens=-1), DamagedFileError)
    assert "watermarking_config=" in line and "max_new_tokens=-1" in line


@pytest.mark.parametrize("value", [True, False, None, 1, 0])
def test_what_generate_takes_is_left_alone(a_copy, capfd, value):
    folder = with_settings(a_copy(), use_cache=value, output_attentions=None, max_new_tokens=2)
    assert main([str(folder), "-p", "hi", "--batch", "-ex", "continue"]) == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_any_setting_of_any_value_runs_or_is_one_line_with_its_name(tmp_path):
    model = tiny_model("llama")
    for name in vars(GenerationConfig()):
        for value in ("x", -1, [[10**9]], 1e300, {"a": 1}):
            with_settings(tmp_path, **{name: value})
            try:
                check_generation_config(tmp_path)
                model.generation_config = GenerationConfig.from_pretrained(tmp_path)
                list(generation(model, PROMPT, GREEDY).events())
            except LlmdbgError as error:
                assert name in str(error) and "\n" not in str(error), (name, value)
