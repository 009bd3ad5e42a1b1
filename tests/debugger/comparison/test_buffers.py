"""Buffers in another dtype: `Module.to` rounds the rotary frequencies, and loading in a dtype does not."""

from __future__ import annotations

import copy

import pytest
import torch

from llmdbg.debugger.comparison.comparing import compare
from llmdbg.debugger.comparison.outcome import Verdict
from tests.debugger.comparison.sides import PROMPT, faulty, side
from tests.tiny import tiny_model


@pytest.mark.parametrize("loaded", [torch.float32, torch.bfloat16])
def test_rounded_frequencies_are_named_and_accuse_nobody(loaded: torch.dtype) -> None:
    """In the verdict's sentence and a note, over a prompt long enough to show them."""
    model = tiny_model("llama")
    reference = side(faulty(model, lambda _: None, loaded), PROMPT * 5)
    found = compare(reference, side(copy.deepcopy(model).to(torch.bfloat16), PROMPT * 5))
    assert found.verdict is Verdict.WITHIN_ARITHMETIC
    named = "model.rotary_emb keeps its inv_freq in bfloat16 instead of float32, which changes it by up to 0."
    assert f"same within the arithmetic; but {named}" in found.sentence
    assert found.notes[0].startswith(named)


def test_a_pair_in_two_dtypes_as_loaded_has_the_same_buffers() -> None:
    """Nothing is said of them."""
    model = tiny_model("llama")
    found = compare(side(model), side(faulty(model, lambda _: None, torch.bfloat16)))
    assert found.verdict is Verdict.WITHIN_ARITHMETIC
    assert "inv_freq" not in " ".join((found.sentence, *found.notes))
