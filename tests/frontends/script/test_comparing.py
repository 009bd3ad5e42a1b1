"""`llmdbg.compare`: what a user's own program compares."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import llmdbg
from llmdbg.debugger.comparison.outcome import Verdict
from tests.html_fragments import read_fragment
from tests.tiny import tiny_model


def test_names_with_options_are_compared(tiny_folder: Path) -> None:
    """As on the command line; a path is a folder whatever is in its name."""
    found = llmdbg.compare(tiny_folder, f"{tiny_folder} --dtype bfloat16", "Hello", max_new_tokens=2, greedy=True)
    assert found.verdict is Verdict.WITHIN_ARITHMETIC
    assert found.candidate.place == "cpu bfloat16"


def test_loaded_models_are_compared_and_left_as_they_were(tiny_folder: Path) -> None:
    """A pair of model and tokenizer; train mode and random streams come back."""
    model = AutoModelForCausalLM.from_pretrained(tiny_folder).train()
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    other = copy.deepcopy(model)
    other.model.layers[1].self_attn.scaling *= 1.2
    drawn = torch.random.get_rng_state()
    found = llmdbg.compare((model, tokenizer), (other, tokenizer), "Hello", max_new_tokens=2, greedy=True)
    assert found.first is not None
    assert found.first.address == "1.self_attn"
    assert model.training
    assert torch.equal(drawn, torch.random.get_rng_state())
    assert found.sentence in str(found)
    assert "1.self_attn" in " ".join(read_fragment(found._repr_html_()).lines)
    found = llmdbg.compare(tiny_folder, (model, tokenizer), "Hello", max_new_tokens=2, greedy=True)
    assert found.verdict is Verdict.SAME


def test_the_answer_is_bisected_where_that_is_asked_for() -> None:
    """From Python by a flag."""
    model = tiny_model("llama")
    other = copy.deepcopy(model)
    other.model.layers[1].self_attn.scaling *= 1.2
    assert llmdbg.compare(model, other, "Hello", max_new_tokens=2).bisection is None
    found = llmdbg.compare(model, other, "Hello", max_new_tokens=2, greedy=True, bisect=True).bisection
    assert found is not None
    assert found.stages == ("1.self_attn",)


def test_a_model_without_a_tokenizer_reads_bytes() -> None:
    """As in `open_session`."""
    model = tiny_model("llama")
    assert llmdbg.compare(model, model, "Hello", max_new_tokens=1).reference.prompt == tuple(b"Hello")


@pytest.mark.parametrize(
    ("arguments", "named", "says"),
    [
        ((None, "two", "Hi"), {}, "reference takes a name, a path, a loaded model, or a pair"),
        (("one", 3, "Hi"), {}, "candidate takes a name"),
        (("one", ("two", None), "Hi"), {}, "candidate takes a name"),
        (("one", "", "Hi"), {}, "CANDIDATE is empty"),
        (("one", "two --bogus", "Hi"), {}, "unrecognized arguments: --bogus"),
        (("one", "two"), {}, "there is no prompt"),
        (("one", "two", "Hi"), {"max_new_tokens": 0}, "max_new_tokens"),
        (("one", "two", "Hi"), {"greedy": True, "top_k": 4}, "greedy"),
        (("one", "two", "Hi"), {"chat": "yes"}, "chat takes True or False"),
    ],
)
def test_arguments_are_refused_in_a_line(arguments: tuple[object, ...], named: dict[str, object], says: str) -> None:
    """Before anything is loaded."""
    with pytest.raises(llmdbg.LlmdbgError, match=says):
        llmdbg.compare(*arguments, **named)  # type: ignore[arg-type]
