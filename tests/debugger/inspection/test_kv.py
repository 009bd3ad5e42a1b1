"""`info kv`: the cache of a run as the cache object has it, and the angles that the model's own rotary module gave."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.generation.generation import Generation
from llmdbg.errors import CommandError
from llmdbg.frontends.answers import answer_json, answer_lines
from llmdbg.probes.kv import CacheLayerDetail, CacheMap
from tests.sessions import do, tiny_session

TEXT = "Hello there, you all"
WITH_CACHE = ("llama", "mistral", "gemma2", "gpt2", "falcon", "deepseek_v3", "mamba", "bamba", "gpt_oss")


def _asked(session: Debugger, line: str = "info kv") -> CacheMap:
    found = do(session, line).data
    assert isinstance(found, CacheMap), found
    return found


def _layer(session: Debugger, line: str) -> CacheLayerDetail:
    found = do(session, line).data
    assert isinstance(found, CacheLayerDetail), found
    return found


def _tensors(layer) -> list[torch.Tensor]:
    keys = [getattr(layer, name, None) for name in ("keys", "values")]
    states = [each for name in ("conv_states", "recurrent_states") for each in getattr(layer, name, {}).values()]
    return [each for each in (*keys, *states) if isinstance(each, torch.Tensor)]


@pytest.mark.parametrize("name", WITH_CACHE)
def test_bytes_and_positions_are_the_cache_objects_own(name: str) -> None:
    session = tiny_session(name, text=TEXT, max_new_tokens=6)
    do(session, "goto logits@4")
    found = _asked(session)
    cache = session.debuggee.cache
    fed = len(session.debuggee.prompt.ids) + 4
    assert found.cache == type(cache).__name__
    assert found.bytes == sum(each.nbytes for layer in cache.layers for each in _tensors(layer))
    assert len(found.layers) == len(cache.layers)
    for told, layer in zip(found.layers, cache.layers, strict=True):
        assert told.bytes == sum(each.nbytes for each in _tensors(layer))
        if told.kind == "state":
            assert told.first is None
            continue
        assert told.last == fed - 1
        assert told.first == fed - layer.keys.shape[-2]
        assert (told.kind == "sliding") is bool(layer.is_sliding)
    before = found.bytes
    do(session, "goto logits@5")
    assert _asked(session).bytes == before + (found.growth or 0)


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "falcon", "cohere", "gpt_oss", "gpt_neox"])
@pytest.mark.parametrize("focus", [None, 6])
def test_angles_are_position_times_frequency(name: str, focus: int | None) -> None:
    session = tiny_session(name, text=TEXT)
    do(session, "goto logits")
    do(session, f"focus {'last' if focus is None else focus}")
    found = _asked(session).rotation
    assert found is not None
    rotary = next(m for path, m in session.inspector.model.named_modules() if path.endswith("rotary_emb"))
    position = len(session.debuggee.prompt.ids) - 1 if focus is None else focus
    assert found.position_id == position
    expected = position * rotary.inv_freq.double()
    assert len(found.angles) == len(expected)
    turns = (torch.tensor(found.angles, dtype=torch.float64) - expected) / (2 * math.pi)
    assert torch.allclose(turns, turns.round(), atol=1e-5)


def test_local_and_global_layers_may_turn_by_other_angles() -> None:
    session = tiny_session("gemma3", text=TEXT)
    do(session, "goto logits")
    near, far = _layer(session, "info kv 0").rotation, _layer(session, "info kv 1").rotation
    assert near is not None
    assert far is not None
    assert (near.read_at, far.read_at) == ("0", "1")
    assert near.angles != far.angles


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gpt2", "position embeddings, added at the input: transformer.wpe"),
        ("opt", "embed_positions"),
        ("bloom", "alibi"),
        ("gptj", "inside the attention"),
        ("mamba", "order"),
    ],
)
def test_other_ways_of_telling_positions_apart_are_named(name: str, said: str) -> None:
    session = tiny_session(name)
    do(session, "goto logits@1")
    found = _asked(session)
    assert found.rotation is None
    assert said in found.positions


def test_inside_a_forward_later_layers_do_not_hold_the_token_yet() -> None:
    session = tiny_session("llama")
    do(session, "goto 0@2")
    first, second = _asked(session).layers
    prompt = len(session.debuggee.prompt.ids)
    assert (first.last, second.last) == (prompt + 1, prompt)
    do(session, "goto 0@0")
    assert _asked(session).layers[1].first is None


def test_one_layer_in_detail() -> None:
    session = tiny_session("mistral", text=TEXT)
    do(session, "goto logits@2")
    found = _layer(session, "info kv 1")
    layer = session.debuggee.cache.layers[1]
    np.testing.assert_allclose(found.key_norms, layer.keys[0].norm(dim=(0, 2)).numpy(), rtol=1e-5)
    np.testing.assert_allclose(found.value_norms, layer.values[0].norm(dim=(0, 2)).numpy(), rtol=1e-5)
    assert found.layer.first == len(session.debuggee.prompt.ids) + 2 - layer.keys.shape[-2]
    assert any("window of 8" in line for line in answer_lines(found))


def test_a_static_cache_is_told_by_its_room() -> None:
    session = tiny_session("llama")
    session.inspector.model.generation_config.cache_implementation = "static"
    session.run.restart()
    do(session, "goto logits@2")
    found = _asked(session)
    layer = session.debuggee.cache.layers[0]
    assert found.layers[0].kind == "static"
    assert found.layers[0].capacity == layer.max_cache_len
    assert found.layers[0].last == len(session.debuggee.prompt.ids) + 1
    assert found.bytes == 2 * (layer.keys.nbytes + layer.values.nbytes)
    weights = do(session, "info attention 1").data.weights
    assert weights.shape[1] == len(session.debuggee.prompt.ids) + 2
    assert weights.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_padding_is_seen() -> None:
    session = tiny_session("llama")
    fields = {name: getattr(session.debuggee.prompt, name) for name in session.debuggee.prompt.__dataclass_fields__}
    padded = type(session.debuggee.prompt)(**{**fields, "ids": (0, 0, 0, *session.debuggee.prompt.ids), "padding": 3})
    settings = session.debuggee.settings
    assert settings is not None
    session = Debugger(Generation(session.inspector.loaded, padded, settings))
    do(session, "goto logits@1")
    found = _asked(session)
    assert found.padding == 3
    assert (found.layers[0].padding, found.layers[0].window_from) == (3, 3)
    assert found.rotation is not None
    assert found.rotation.position_id == len(padded.ids) - 3


def test_a_model_without_a_cache_says_so() -> None:
    session = tiny_session("rwkv")
    do(session, "goto logits@1")
    (line,) = answer_lines(do(session, "info kv").data)
    assert "no cache object" in line


def test_before_the_first_forward_there_is_none() -> None:
    assert "no cache yet" in str(do(tiny_session(), "info kv").data)


def test_a_layer_there_is_not() -> None:
    session = tiny_session()
    do(session, "goto 0")
    for word in ("2", "x", "-1"):
        with pytest.raises(CommandError, match="layers are 0 to 1"):
            do(session, f"info kv {word}")


def test_asking_changes_nothing_and_costs_a_forward_at_most() -> None:
    session, silent = (
        tiny_session("mistral", text=TEXT, max_new_tokens=6),
        tiny_session("mistral", text=TEXT, max_new_tokens=6),
    )
    do(silent, "continue")
    do(session, "goto 1@1")
    runs: list[int] = []
    original = session.replay.run_token
    session.replay.run_token = lambda token, *rest: (runs.append(token), original(token, *rest))[1]  # type: ignore[method-assign]
    for _ in range(8):
        _asked(session)
        do(session, "next")
    assert runs == [1]
    do(session, "continue")
    assert session.debuggee.timeline.fingerprints() == silent.debuggee.timeline.fingerprints()


@pytest.mark.parametrize("line", ["info kv", "info kv 1"])
@pytest.mark.parametrize("name", ["llama", "mamba"])
def test_it_is_written_as_json_and_text(name: str, line: str) -> None:
    session = tiny_session(name)
    do(session, "goto logits@1")
    found = do(session, line).data
    document = json.loads(json.dumps(answer_json(found), allow_nan=False))
    assert document["cache"] == "DynamicCache"
    assert len(answer_lines(found)) > 3
