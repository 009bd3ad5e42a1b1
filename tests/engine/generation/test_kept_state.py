"""Going back where more than the KV cache has a memory: processors, criteria, cache layers and modules."""

from __future__ import annotations

import functools
import itertools
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LogitsProcessor, StoppingCriteria, SynthIDTextWatermarkingConfig, WatermarkingConfig

from llmdbg.engine.settings import GenerationSettings
from tests.engine.generation.test_timeline import GREEDY, SAMPLED, Recorded, random_jumps, there_and_back
from tests.engine.runs import PROMPT, generation, untouched
from tests.tiny import tiny_model


def prepared(how: str) -> Any:
    model = tiny_model("llama")
    own = model.generation_config
    if how == "guidance":
        own.guidance_scale = 1.5
    elif how == "watermark":
        own.watermarking_config = WatermarkingConfig(bias=2.5, seeding_scheme="selfhash")
    elif how == "synthid":
        own.watermarking_config = SynthIDTextWatermarkingConfig(keys=[654, 400, 836], ngram_len=3)
    return model


@pytest.mark.parametrize("how", ["guidance", "watermark", "synthid"])
@pytest.mark.parametrize("settings", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_processors_of_transformers_with_a_memory(how: str, settings: GenerationSettings) -> None:
    model = prepared(how)
    expected = untouched(model, PROMPT, settings).ids
    recorded = there_and_back(model, settings, random_jumps(how))
    assert recorded.engine.timeline.ids == expected


class Counting(LogitsProcessor):
    """Puts a token down that has come up before by how often this processor was called, in four kinds of memory."""

    def __init__(self, shape: str) -> None:
        self.shape = shape
        self.seen: Any = Counter() if shape == "counter" else [] if shape == "list" else None
        self.tensor = torch.zeros(128)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        newest = int(input_ids[0, -1])
        if self.shape == "counter":
            self.seen[newest] += 1
            return scores - torch.tensor([[5.0 * self.seen[id] * len(self.seen) for id in range(128)]])
        if self.shape == "list":
            self.seen.append(newest)
            return scores.index_fill(1, torch.tensor(self.seen[::2]), -50.0)
        if self.shape == "tensor":
            self.tensor[newest] += 1
            self.tensor *= 0.9
            return scores - 20 * self.tensor
        self.later = getattr(self, "later", 0) + 1  # an attribute that the first call makes
        return scores.roll(self.later, dims=1)


class Unseen(LogitsProcessor):
    """Keeps its memory where no attribute shows it, and uses it only later on."""

    def __init__(self, shape: str) -> None:
        counter = itertools.count()
        self.shape = shape
        self.next: Any = {
            "count": counter.__next__,
            "generator": (number for number in itertools.count()).__next__,
            "closure": lambda: next(counter),
            "random": random.Random(3).random,
            "numpy": np.random.default_rng(3).random,
            "array": self._in_array,
            "partial": functools.partial(next, counter),
            "global random": random.random,
            "global numpy": np.random.random,
        }[shape]
        self.array = np.zeros(1)

    def _in_array(self) -> float:
        self.array += 1
        return float(self.array[0])

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        number = self.next()
        return scores if input_ids.shape[1] < len(PROMPT) + 9 else scores.roll(int(100 * number) % 128, dims=1)


class Ending(StoppingCriteria):
    """Ends after so many calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self.calls += 1
        return torch.tensor([self.calls > 26])


@pytest.mark.parametrize("again", ["made anew", "the same object"])
@pytest.mark.parametrize("shape", ["counter", "list", "tensor", "later"])
def test_a_processor_of_the_user_s_own(shape: str, again: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    one = Counting(shape)
    theirs = type(model)._get_logits_processor

    def with_ours(self: Any, *args: Any, **kwargs: Any) -> Any:
        processors = theirs(self, *args, **kwargs)
        processors.append(one if again == "the same object" else Counting(shape))
        return processors

    monkeypatch.setattr(type(model), "_get_logits_processor", with_ours)
    there_and_back(model, SAMPLED, random_jumps(shape))


def test_a_criterion_that_counts_ends_at_the_same_token(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    theirs = type(model)._get_stopping_criteria

    def with_ours(self: Any, *args: Any, **kwargs: Any) -> Any:
        criteria = theirs(self, *args, **kwargs)
        criteria.append(Ending())
        return criteria

    monkeypatch.setattr(type(model), "_get_stopping_criteria", with_ours)
    recorded = there_and_back(model, GREEDY, [(25, 2), (4, 3), (20, None)])
    assert len(recorded.engine.timeline.ids) < 30


@pytest.mark.parametrize(
    "shape",
    ["count", "generator", "closure", "random", "numpy", "array", "partial", "global random", "global numpy"],
)
def test_a_processor_whose_memory_nobody_can_see(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    theirs = type(model)._get_logits_processor

    def with_ours(self: Any, *args: Any, **kwargs: Any) -> Any:
        processors = theirs(self, *args, **kwargs)
        processors.append(Unseen(shape))
        return processors

    monkeypatch.setattr(type(model), "_get_logits_processor", with_ours)
    expected = untouched(model, PROMPT, GREEDY).ids
    recorded = there_and_back(model, GREEDY, random_jumps(shape))
    assert recorded.engine.timeline.ids == expected


@pytest.mark.parametrize("shape", ["array", "counter", "random"])
def test_a_processor_that_is_used_again_begins_as_it_began(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Kept(LogitsProcessor):
        def __init__(self) -> None:
            self.memory: Any = {"array": np.zeros(1), "counter": itertools.count(), "random": random.Random(3)}[shape]

        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            if shape == "array":
                self.memory += 1
                return scores.roll(int(self.memory[0]), dims=1)
            number = next(self.memory) if shape == "counter" else int(100 * self.memory.random())
            return scores.roll(number, dims=1)

    model, one = tiny_model("llama"), Kept()
    theirs = type(model)._get_logits_processor

    def with_ours(self: Any, *args: Any, **kwargs: Any) -> Any:
        processors = theirs(self, *args, **kwargs)
        processors.append(one)
        return processors

    monkeypatch.setattr(type(model), "_get_logits_processor", with_ours)
    there_and_back(model, GREEDY, random_jumps(shape))


@pytest.mark.parametrize("kind", ["array", "count", "random", "number", "buffer", "list", "tensor"])
def test_a_module_that_counts(kind: str) -> None:
    model = tiny_model("llama")
    mlp = model.model.layers[0].mlp
    numbers: dict[str, Any] = {"number": 0, "list": [], "tensor": torch.zeros(1), "array": np.zeros(1)}
    mlp.memory = {**numbers, "count": itertools.count(), "random": random.Random(3)}.get(kind)
    if kind == "buffer":
        del mlp.memory
        mlp.register_buffer("memory", torch.zeros(1))
    forward = mlp.forward

    def counting(hidden: torch.Tensor) -> torch.Tensor:
        if kind in ("count", "random"):
            return forward(hidden) * (1 + 0.05 * (next(mlp.memory) if kind == "count" else mlp.memory.random()))
        if kind == "number":
            mlp.memory += 1
        elif kind == "list":
            mlp.memory.append(1)
        else:
            mlp.memory += 1
        count = len(mlp.memory) if kind == "list" else float(mlp.memory)
        return forward(hidden) * (1 + 0.05 * count)

    mlp.forward = counting
    there_and_back(model, GREEDY, random_jumps(kind))


def test_a_forward_of_a_processor_is_no_stage() -> None:
    """Guidance runs the model a second time for every token, inside a processor."""
    model = prepared("guidance")
    engine = generation(model, PROMPT, GREEDY)
    events = engine.events()
    next(events)
    every = [stage.address for stage in (*engine.anatomy.stages, *engine.processors)]
    engine.stops.arm(every)
    seen = []
    for event in events:
        if event.token > 1:
            break
        seen.append((event.token, event.stage.address))
    events.close()
    assert len(seen) == len(set(seen))
    assert (1, "sample.unbatched_classifier_free_guidance") in seen


def test_a_model_that_rescales_its_weights_once_is_not_rescaled_twice() -> None:
    model = tiny_model("rwkv")
    model.config.rescale_every = 1
    for settings in (GREEDY, SAMPLED):
        recorded = there_and_back(model, settings, random_jumps("rwkv"))
        assert recorded.engine.timeline.ids == untouched(model, PROMPT, settings).ids


def test_what_can_be_neither_copied_nor_rebuilt_is_named() -> None:
    model = tiny_model("llama")
    mlp = model.model.layers[1].mlp
    mlp.register_buffer("history", torch.zeros(200_000))
    forward = mlp.forward

    def counting(hidden: torch.Tensor) -> torch.Tensor:
        mlp.history += 1
        return forward(hidden) * (1 + 0.05 * float(mlp.history[0]))

    mlp.forward = counting
    recorded = Recorded(model)
    recorded.run()
    assert recorded.engine.notes == (
        "model.layers.1.mlp.history has been written into, which going back cannot undo: tokens may differ then",
    )
    recorded.run(20)
    assert recorded.engine.timeline.differing()[0] == 0


def test_a_memory_that_nobody_can_see_is_found_out_by_what_it_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    theirs, calls = type(model)._get_logits_processor, []

    def unseen(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return scores.roll(len(calls), dims=1)

    def with_ours(self: Any, *args: Any, **kwargs: Any) -> Any:
        processors = theirs(self, *args, **kwargs)
        processors.append(unseen)
        return processors

    monkeypatch.setattr(type(model), "_get_logits_processor", with_ours)
    recorded = Recorded(model)
    recorded.run()
    recorded.run(10)
    assert recorded.engine.timeline.differing()[0] == 10


def test_a_forward_that_the_user_replaces_stays() -> None:
    model = tiny_model("llama")
    recorded = Recorded(model)
    events = recorded.engine.events()
    next(events)
    recorded.engine.stops.arm(["1"])
    next(events)
    mlp = model.model.layers[0].mlp
    theirs = mlp.forward
    mlp.forward = lambda hidden: theirs(hidden) * 1
    ours = mlp.forward
    events.close()
    recorded.run()
    recorded.run(5)
    assert mlp.forward is ours
    assert recorded.engine.notes == ()


def test_what_forwards_leave_behind_is_named() -> None:
    recorded = Recorded(tiny_model("recurrent_gemma"))
    recorded.run()
    assert "conv1d_state and 3 more: going back puts that back and" in recorded.engine.notes[0]


def test_weights_that_every_forward_changes_are_named() -> None:
    model = tiny_model("llama")
    weight = model.model.layers[0].mlp.down_proj.weight
    model.model.layers[0].mlp.register_forward_hook(lambda *_: (weight.mul_(1.01), None)[1])
    recorded = Recorded(model)
    recorded.run()
    assert "model.layers.0.mlp.down_proj.weight has been written into" in recorded.engine.notes[0]


def test_a_criterion_is_asked_once_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = tiny_model("llama"), []

    class Once(StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            asked.append(1)
            return torch.tensor([len(asked) == 6])

    theirs = type(model)._get_stopping_criteria

    def with_ours(self: Any, *args: Any, **kwargs: Any) -> Any:
        criteria = theirs(self, *args, **kwargs)
        criteria.append(Once())
        return criteria

    monkeypatch.setattr(type(model), "_get_stopping_criteria", with_ours)
    engine = generation(model, PROMPT, GREEDY)
    for event in engine.events():
        last = event
    assert (last.ended_by, last.ended_with, len(asked)) == ("criterion", "Once", 6)
