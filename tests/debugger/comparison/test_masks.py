"""Attention masks of different lengths: those of static caches and of padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from llmdbg.debugger.comparison.comparing import compare
from llmdbg.debugger.comparison.mask_fitting import fitted_masks
from llmdbg.debugger.comparison.outcome import FindingKind
from tests.debugger.comparison.sides import PROMPT, faulty, side
from tests.tiny import tiny_model


def _causal(queries: int, keys: int, hidden: int = 0) -> torch.Tensor:
    """A mask (1, 1, queries, keys) of the newest queries, with the first keys hidden."""
    newest = torch.arange(queries)[:, None] + hidden
    at = torch.arange(keys)[None]
    return ((at <= newest) & (at >= hidden))[None, None]


def test_a_static_cache_and_padding_hide_what_the_other_has_not() -> None:
    """Then the masks are the same, whichever is the longer."""
    short, static, padded = _causal(6, 6), _causal(6, 20), _causal(9, 9, 0)
    padded = torch.cat([torch.zeros(1, 1, 3, 9, dtype=torch.bool), _causal(6, 9, 3)], dim=2)
    for one, other, padding in ((static, short, 0), (short, static, 0), (padded, short, 3), (short, padded, -3)):
        both = fitted_masks(one, other, padding, 6)
        assert both is not None
        assert both.equal


def test_what_is_beyond_the_shorter_must_be_hidden() -> None:
    """A key of padding, and a slot of a static cache in which there is nothing yet."""
    late = _causal(6, 20)
    late[..., 5, 12] = True
    both = fitted_masks(late, _causal(6, 6), 0, 6)
    assert both is not None
    assert (both.ours != both.theirs).nonzero().tolist() == [[0, 0, 5, 12]]
    shown = torch.cat([torch.zeros(1, 1, 3, 9, dtype=torch.bool), _causal(6, 9, 3)], dim=2)
    shown[..., 4, 1] = True
    both = fitted_masks(shown, _causal(6, 6), 3, 6)
    assert both is not None
    assert ((both.ours != both.theirs).nonzero().tolist(), both.front) == ([[0, 0, 1, 1]], 3)


def test_what_cannot_be_told_apart_is_not_compared() -> None:
    """A window has dropped keys, other queries are asked, or nothing is known of the length."""
    assert fitted_masks(_causal(1, 20), _causal(1, 4), 0, 6) is None
    assert fitted_masks(_causal(6, 20), _causal(6, 6), 0, None) is None
    assert fitted_masks(_causal(5, 6), _causal(6, 6), 0, 6) is None
    assert fitted_masks(torch.ones(1, 6), _causal(6, 6), 0, 6) is None


def _static(model: PreTrainedModel) -> None:
    model.generation_config.cache_implementation = "static"


def _with_mask(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[PreTrainedModel], None]:
    """A fault in layer 1's mask, in a model with a static cache."""

    def before(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        mask = kwargs["attention_mask"]
        return args, kwargs if mask is None else {**kwargs, "attention_mask": change(mask.clone())}

    def plant(model: PreTrainedModel) -> None:
        _static(model)
        model.model.layers[1].self_attn.register_forward_pre_hook(before, with_kwargs=True)

    return plant


def _off_by_one(mask: torch.Tensor) -> torch.Tensor:
    return mask.roll(1, dims=-1)


@pytest.mark.parametrize("padding", [0, 3])
def test_a_static_cache_accuses_nobody(padding: int) -> None:
    """Its masks are longer than the reference's, and hide what is beyond."""
    model = tiny_model("llama")
    model.set_attn_implementation("eager")
    found = compare(side(model), side(faulty(model, _static), padding=padding))
    assert found.findings == ()
    assert not any("mask" in each for each in found.notes)


def test_a_wrong_mask_of_a_static_cache_is_named() -> None:
    """As a mask, though it has another length than the reference's."""
    model = tiny_model("llama")
    model.set_attn_implementation("eager")
    found = compare(side(model), side(faulty(model, _with_mask(_off_by_one))))
    assert found.first is not None
    assert (found.first.kind, found.first.address.partition(".")[0]) == (FindingKind.MASK, "1")
    assert "receives a different attention_mask: it allows" in found.first.sentence


def test_a_mask_that_cannot_be_compared_is_said_to_be() -> None:
    """With both shapes: a window has dropped keys that a static cache keeps."""
    model = tiny_model("gemma2")
    model.set_attn_implementation("eager")
    prompt = PROMPT * 7
    found = compare(side(model, prompt), side(faulty(model, _static), prompt))
    assert not any(each.kind is FindingKind.MASK for each in found.findings)
    assert all("and was not compared" in each for each in found.notes if "mask" in each)
