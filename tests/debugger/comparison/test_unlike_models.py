"""Models that have little in common, and models that fail: a verdict or one clear line, never a traceback."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from llmdbg.debugger.comparison.choices import parting_of
from llmdbg.debugger.comparison.comparing import compare
from llmdbg.debugger.comparison.comparing_recorded import compare_recordings, compare_with_recording
from llmdbg.debugger.comparison.outcome import FindingKind, Verdict
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import GenerationError, UsageError
from tests.debugger.comparison.recordings import recorded
from tests.debugger.comparison.sides import faulty, side
from tests.tiny import ARCHITECTURES, tiny_model


def _made(**changes: Any) -> PreTrainedModel:
    config = ARCHITECTURES["llama"]()
    for name, value in changes.items():
        setattr(config, name, value)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(config)
    model.generation_config.pad_token_id = 0
    return model.eval()


@pytest.mark.parametrize(
    ("reference", "candidate"),
    [("llama", "gpt2"), ("gpt2", "llama"), ("mamba", "qwen3_moe"), ("opt", "rwkv"), ("gemma2", "mamba")],
)
def test_other_architectures_are_compared_and_said_to_be_others(reference: str, candidate: str) -> None:
    """The verdict is a difference, and a note names both classes."""
    found = compare(side(tiny_model(reference)), side(tiny_model(candidate)))
    assert found.verdict is Verdict.DIVERGED
    assert found.notes[0].startswith("the architectures differ: ")


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"num_hidden_layers": 3}, "the candidate has 3 layers instead of 2"),
        ({"num_hidden_layers": 0}, "the candidate has 0 layers instead of 2"),
        ({"vocab_size": 160}, "the candidate's vocabulary has 160 tokens instead of 128"),
        ({"hidden_size": 64}, None),
    ],
)
def test_other_sizes_are_compared_and_named(changes: dict[str, int], note: str | None) -> None:
    """What the two models have in common is compared, and what they have not is noted."""
    found = compare(side(tiny_model("llama")), side(_made(**changes)))
    assert found.verdict is Verdict.DIVERGED
    assert note is None or note in found.notes


def test_a_vocabulary_that_lacks_the_reference_s_tokens_is_the_verdict() -> None:
    """The candidate cannot read the reference's tokens, so no stage is compared."""
    reference = side(tiny_model("llama"), (5, 9, 2))
    ids = compare(reference, reference).reference.ids
    found = compare(reference, side(_made(vocab_size=max(ids)), (5, 9, 2)))
    assert found.verdict is Verdict.DIVERGED
    assert found.first is not None
    assert f"lacks ids of the reference's tokens, such as {max(ids)}" in found.first.sentence
    assert found.stages == ()


def test_models_without_layers_and_a_single_token() -> None:
    """Nothing needs a layer or a second token."""
    model = _made(num_hidden_layers=0)
    assert compare(side(model), side(model)).verdict is Verdict.SAME
    one = GenerationSettings(max_new_tokens=1, greedy=True)
    assert compare(side(tiny_model("llama"), settings=one), side(_made(), settings=one)).verdict is Verdict.DIVERGED


@pytest.mark.parametrize(
    "error", [RuntimeError("boom"), torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), KeyError("x")]
)
def test_a_candidate_that_fails_is_the_verdict(error: Exception) -> None:
    """The sentence says once what failed and in which stage, and nothing about its text."""

    def failing(*_arguments: object, **_named: object) -> None:
        raise error

    def plant(model: PreTrainedModel) -> None:
        model.model.layers[1].mlp.forward = failing

    model = tiny_model("llama")
    found = compare(side(model), side(faulty(model, plant)))
    assert found.verdict is Verdict.DIVERGED
    assert found.first is not None
    assert (found.first.kind, found.first.address) == (FindingKind.FAILED, "1.mlp")
    assert type(error).__name__ in found.sentence
    assert "text" not in found.sentence
    assert found.notes == ()
    with pytest.raises(GenerationError, match="the reference fails: "):
        compare(side(faulty(model, plant)), side(model))


def test_nan_in_a_weight_is_said_to_be_nan() -> None:
    """Not that it differs `by NaN of its norm`."""

    def plant(model: PreTrainedModel) -> None:
        model.model.layers[1].mlp.down_proj.weight.data[3, 4] = float("nan")

    model = tiny_model("llama")
    found = compare(side(model), side(faulty(model, plant)))
    assert "1.mlp.down_proj: its weight has 1 NaN or infinite value;" in found.sentence
    found = compare(side(faulty(model, plant)), side(model))
    assert "the reference's has NaN or infinite values" in found.sentence
    assert "nan" not in found.sentence.lower().replace("nan or infinite", "")


def test_the_parting_and_the_tokens_are_given_with_their_numbers() -> None:
    """Both runs' likeliest tokens where the texts part, and the outline's errors token by token."""

    def another_head(other: PreTrainedModel) -> None:
        other.lm_head.weight.data = other.lm_head.weight.data.flip(0)

    model = tiny_model("llama")
    found = compare(side(model), side(faulty(model, another_head)))
    assert found.parting is not None
    rows = found.parting.candidates
    assert rows[0].id == found.parting.pair.reference
    assert found.parting.pair.candidate in [each.id for each in rows]
    assert all(0 <= each.reference <= 1 for each in rows if each.reference is not None)
    assert len(found.reference.tokens) == len(found.reference.ids)
    by_address = {each.address: each for each in found.stages}
    assert len(by_address["logits"].by_token) == len(found.reference.ids)
    assert by_address["1.mlp"].by_token == ()
    assert by_address["0"].by_token == (0.0,) * len(found.reference.ids)
    assert all(each is not None and each > 0 for each in by_address["logits"].by_token)


def test_tensors_of_other_shapes_have_no_error() -> None:
    """They differ, and a number would say by how much."""
    found = compare(side(tiny_model("llama")), side(_made(hidden_size=64)))
    assert found.first is not None
    assert (found.first.address, found.first.isolated, found.first.times_floor) == ("embed", None, None)
    embed = next(each for each in found.stages if each.address == "embed")
    assert (embed.accumulated, embed.isolated, embed.equal) == (None, None, False)
    assert set(embed.by_token) == {None}


@dataclass
class _Chosen:
    """A run that chose one token, with the words of its own vocabulary."""

    ids: tuple[int, ...]
    words: dict[int, str]

    def text(self, id: int) -> str:
        return self.words[id]

    def log_prob(self, token: int, id: int) -> float | None:
        return -1.0 - id

    def likeliest(self, token: int, most: int) -> tuple[int, ...]:
        return (0, 1)


def test_ids_of_other_words_are_not_compared() -> None:
    """Two vocabularies: an id that both have may be another word in each."""
    found = parting_of(_Chosen((0,), {0: "a", 1: "b"}), _Chosen((1,), {0: "a", 1: "c"}))
    assert found is not None
    assert (found.margin, found.near_tie) == (None, False)
    assert {(each.id, each.text): (each.reference is None, each.candidate is None) for each in found.candidates} == {
        (0, "a"): (False, False),
        (1, "b"): (False, True),
        (1, "c"): (True, False),
    }
    same = parting_of(_Chosen((0,), {0: "a", 1: "b"}), _Chosen((1,), {0: "a", 1: "b"}))
    assert same is not None
    assert same.margin == 1.0


@pytest.mark.parametrize("changes", [{}, {"hidden_size": 64}, {"vocab_size": 160}, {"intermediate_size": 96}])
def test_other_weights_are_said_to_be_another_model(changes: dict[str, int]) -> None:
    """In one sentence with numbers, instead of every stage by name."""
    found = compare(side(tiny_model("llama")), side(_made(**changes)))
    models = [each for each in found.findings if each.kind is not FindingKind.SETTINGS]
    assert [each.kind for each in models] == [FindingKind.MODEL]
    assert "these are different models: " in found.sentence
    assert "16 weight matrices" in found.sentence
    assert ("have another shape" in found.sentence) == bool(changes)
    assert compare(side(tiny_model("llama")), side(_made()), bisects=True).bisection is not None


def test_a_fine_tune_is_the_same_model() -> None:
    """Every weight differs a little: how much is a note, and the stages are compared as ever."""

    def plant(model: PreTrainedModel) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for weight in model.parameters():
                weight.data += 0.01 * weight.data.std() * torch.randn_like(weight)

    found = compare(side(tiny_model("llama")), side(faulty(tiny_model("llama"), plant)))
    assert found.first is not None
    assert (found.first.address, found.first.kind) == ("embed", FindingKind.WEIGHTS)
    assert found.notes == ("16 of 23 weights differ, by 1.0% of their norm at the median",)


def test_layers_in_another_order_are_no_other_model() -> None:
    """Each of their weights is the reference's of another layer."""

    def plant(model: PreTrainedModel) -> None:
        model.model.layers = torch.nn.ModuleList(reversed(model.model.layers))

    found = compare(side(tiny_model("llama")), side(faulty(tiny_model("llama"), plant)))
    assert {each.kind for each in found.findings} == {FindingKind.WEIGHTS}


@pytest.mark.parametrize("tensors", ["none", "inputs"])
def test_a_recording_of_another_model_is_said_to_be_one(tmp_path: Path, tensors: str) -> None:
    """Of a recording only hashes of the weights are known: that most of them differ."""
    one, other = side(tiny_model("llama")), side(_made())
    traces = recorded(one, tmp_path / "one", tensors), recorded(other, tmp_path / "other", tensors)
    for found in (
        compare_recordings(*traces),
        compare_with_recording(traces[0], other, lambda _: None, {}, live_is_reference=False),
        compare_with_recording(traces[1], one, lambda _: None, {}, live_is_reference=True),
    ):
        assert [each.kind for each in found.findings] == [FindingKind.MODEL]
        assert "weights differ, as in a different model or one that was trained further" in found.sentence


def test_a_model_that_shares_few_names_is_another(tmp_path: Path) -> None:
    """What has the same name is unrelated, and most has no counterpart."""
    found = compare(side(tiny_model("llama")), side(tiny_model("mamba")))
    assert found.sentence.startswith("these are different models: MambaForCausalLM instead of LlamaForCausalLM; of ")
    assert "have no counterpart" in found.sentence


def test_a_recording_of_a_larger_vocabulary_is_another_models(tmp_path: Path) -> None:
    """The tokenizer is not to blame."""
    trace = recorded(side(tiny_model("llama")), tmp_path / "run")
    small = _made(vocab_size=64)
    with pytest.raises(UsageError, match="whose prompt has the id 100, and tiny has 64 tokens: these are different"):
        compare_with_recording(trace, side(small), lambda _: None, {}, live_is_reference=False)
