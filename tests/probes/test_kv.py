"""What a cache layer holds, against the cache object itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import DynamicCache, StaticCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer, Fp8QuantizedLayer

from llmdbg.probes.kv import layer_cache, norms, rotary_row, rotation
from tests.tiny import tiny_model


def _filled(layer: Any, *lengths: int) -> Any:
    """A cache layer after forwards over so many positions each; position p has p + 1 in all its keys."""
    at = 0
    for length in lengths:
        keys = torch.arange(at + 1, at + length + 1, dtype=torch.float32)[None, None, :, None].expand(1, 2, length, 4)
        layer.update(keys.clone(), 2 * keys)
        at += length
    return layer


def test_a_layer_that_grows() -> None:
    layer = _filled(DynamicLayer(), 5, 1)
    found = layer_cache(layer, 3, position=5, padding=2)
    assert (found.layer, found.kind, found.first, found.last) == (3, "full", 0, 5)
    assert (found.window_from, found.padding, found.dropped, found.drops_next) == (2, 2, 0, None)
    assert found.bytes == layer.keys.nbytes + layer.values.nbytes == 2 * 2 * 6 * 4 * 4
    assert found.growth == 2 * 2 * 4 * 4
    assert [(each.name, each.shape, each.dtype) for each in found.tensors] == [
        ("keys", (1, 2, 6, 4), "float32"),
        ("values", (1, 2, 6, 4), "float32"),
    ]


@pytest.mark.parametrize("fed", range(1, 14))
def test_a_window_says_what_it_has_dropped_and_what_it_drops_next(fed: int) -> None:
    layer = DynamicSlidingWindowLayer(sliding_window=4)
    for at in range(fed):
        layer.update(torch.full((1, 1, 1, 2), float(at)), torch.zeros(1, 1, 1, 2))
    found = layer_cache(layer, 0, position=fed - 1, padding=0)
    held = layer.keys[0, 0, :, 0].int().tolist()
    assert found.first is not None
    assert found.last is not None
    assert list(range(found.first, found.last + 1)) == held
    assert found.dropped == fed - len(held)
    assert found.window_from == max(0, fed - 4)
    layer.update(torch.full((1, 1, 1, 2), float(fed)), torch.zeros(1, 1, 1, 2))
    gone = set(held) - set(layer.keys[0, 0, :, 0].int().tolist())
    assert gone == (set() if found.drops_next is None else {found.drops_next})
    assert found.growth == (16 if found.drops_next is None else 0)


def test_a_view_of_a_larger_tensor_keeps_all_of_that() -> None:
    layer = _filled(DynamicSlidingWindowLayer(sliding_window=4), 20)
    found = layer_cache(layer, 0, position=19, padding=0)
    assert found.bytes == layer.keys.nbytes + layer.values.nbytes
    assert found.storage >= 2 * 20 * 2 * 4 * 4


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2"])
def test_a_static_cache(name: str) -> None:
    model = tiny_model(name)
    cache = StaticCache(config=model.config, max_cache_len=16)
    with torch.no_grad():
        model(torch.arange(1, 11)[None], past_key_values=cache)
        model(torch.tensor([[3]]), past_key_values=cache, position_ids=torch.tensor([[10]]))
    for index, layer in enumerate(cache.layers):
        found = layer_cache(layer, index, position=10, padding=0)
        slides = bool(layer.is_sliding)
        room = int(layer.max_cache_len)
        assert found.kind == ("static sliding" if slides else "static")
        assert found.capacity == room
        assert (found.first, found.last) == ((11 - room, 10) if slides else (0, 10))
        assert found.bytes == layer.keys.nbytes + layer.values.nbytes
        assert found.growth == 0
        keys, values = norms(layer, found)
        assert len(keys) == len(values) == found.last - found.first + 1  # type: ignore[operator]
        assert keys.all()


def test_state_layers_hold_states() -> None:
    model = tiny_model("mamba")
    with torch.no_grad():
        out = model(torch.arange(1, 8)[None], use_cache=True)
    layer = out.cache_params.layers[0]
    found = layer_cache(layer, 0, position=6, padding=0)
    assert (found.kind, found.first, found.growth) == ("state", None, 0)
    assert {each.name for each in found.tensors} == {"conv_state", "recurrent_state"}
    assert found.bytes == layer.conv_states[0].nbytes + layer.recurrent_states[0].nbytes


def test_a_layer_that_holds_nothing_yet() -> None:
    found = layer_cache(DynamicLayer(), 0, position=4, padding=0)
    assert (found.kind, found.first, found.last, found.bytes, found.window_from) == ("full", None, None, 0, None)
    keys, values = norms(DynamicLayer(), found)
    assert len(keys) == len(values) == 0


def test_norms_are_those_of_each_position() -> None:
    cache = DynamicCache()
    keys, values = torch.randn(1, 3, 7, 5), torch.randn(1, 3, 7, 5)
    cache.update(keys, values, 0)
    layer = cache.layers[0]
    got_keys, got_values = norms(layer, layer_cache(layer, 0, position=6, padding=0))
    np.testing.assert_allclose(got_keys, keys[0].pow(2).sum((0, 2)).sqrt().numpy(), rtol=1e-6)
    np.testing.assert_allclose(got_values, values[0].pow(2).sum((0, 2)).sqrt().numpy(), rtol=1e-6)


@pytest.mark.parametrize("laid_out", ["halves", "side by side", "once"])
def test_angles_are_told_once_however_they_are_laid_out(laid_out: str) -> None:
    frequencies = torch.tensor([1.0, 0.1, 0.01])
    angles = torch.arange(9)[:, None] * frequencies
    if laid_out == "halves":
        angles = torch.cat([angles, angles], -1)
    elif laid_out == "side by side":
        angles = angles.repeat_interleave(2, -1)
    ids = torch.arange(9)[None]
    numbers = rotary_row(angles.cos()[None] * 1.3, angles.sin()[None] * 1.3, ids, 2)
    found = rotation("rotary", numbers, has_position=True)
    assert found.position_id == 2
    assert found.angles == pytest.approx((2.0, 0.2, 0.02), abs=1e-6)


def test_a_quantised_layer_counts_what_it_packed() -> None:
    layer = _filled(Fp8QuantizedLayer(), 5, 1)
    found = layer_cache(layer, 0, position=5, padding=0)
    assert (found.kind, found.first, found.last, found.growth) == ("quantised", 0, 5, None)
    assert found.bytes >= 2 * 2 * 6 * 4
    keys, values = norms(layer, found)
    assert len(keys) == len(values) == 0
