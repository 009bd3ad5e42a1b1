"""The smallest set of stages that repairs the candidate's answer is found by grafting halves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from llmdbg.debugger.comparison.bisecting import MOST_RUNS
from llmdbg.debugger.comparison.comparing import compare
from llmdbg.debugger.comparison.minimizing import smallest
from llmdbg.debugger.comparison.outcome import Bisection, Comparison
from llmdbg.engine.settings import GenerationSettings
from tests.debugger.comparison.sides import GREEDY, PROMPT, faulty, side
from tests.tiny import tiny_model

Fault = Callable[[PreTrainedModel], object]


def _bisected(
    model: PreTrainedModel, fault: Fault, dtype: torch.dtype = torch.float32, **sides: GenerationSettings
) -> tuple[Comparison, Bisection]:
    settings = sides.get("settings", GREEDY)
    found = compare(side(model, settings=settings), side(faulty(model, fault, dtype), settings=settings), bisects=True)
    assert found.bisection is not None
    return found, found.bisection


def _keys(layer: int, scale: float = -3.0) -> Fault:
    def plant(model: PreTrainedModel) -> None:
        model.model.layers[layer].self_attn.k_proj.weight.data *= scale

    return plant


def _down(layer: int, scale: float = -1.0) -> Fault:
    def plant(model: PreTrainedModel) -> None:
        model.model.layers[layer].mlp.down_proj.weight.data *= scale

    return plant


def _both(*faults: Fault) -> Fault:
    def plant(model: PreTrainedModel) -> None:
        for each in faults:
            each(model)

    return plant


def _embedding(model: PreTrainedModel) -> None:
    model.model.embed_tokens.weight.data = model.model.embed_tokens.weight.data.roll(1, 0)


def _head(model: PreTrainedModel) -> None:
    model.lm_head.weight.data = model.lm_head.weight.data.flip(0)


def _residual(model: PreTrainedModel) -> None:
    layer = model.model.layers[1]
    forward = layer.forward
    layer.forward = lambda hidden, **given: forward(hidden, **given) * -1.0 + hidden


def _scaling(model: PreTrainedModel) -> None:
    model.model.layers[1].self_attn.scaling *= 3.0


def _nothing(_: PreTrainedModel) -> None:
    return None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("fault", "address"),
    [
        (_keys(1), "1.self_attn.k_proj"),
        (_down(0), "0.mlp.down_proj"),
        (_embedding, "embed"),
        (_head, "lm_head"),
        (_residual, "1"),
        (_scaling, "1.self_attn"),
    ],
    ids=["k_proj", "down_proj", "embed", "lm_head", "residual", "scaling"],
)
def test_one_fault_is_found_down_to_its_module(fault: Fault, address: str, dtype: torch.dtype) -> None:
    """The one stage, whose repair alone has the candidate choose the reference's token, and few runs for it."""
    found, bisection = _bisected(tiny_model("llama"), fault, dtype)
    assert bisection.stages == (address,), bisection
    assert bisection.complete
    assert bisection.runs < MOST_RUNS
    assert address in bisection.sentence
    if found.parting is not None:
        assert bisection.token == found.parting.token
        assert bisection.before == found.parting.pair.candidate_text
        assert bisection.after == found.parting.pair.reference_text
    assert bisection.error_before is not None
    assert bisection.error_after is not None
    assert bisection.error_after < 0.1 * bisection.error_before


def test_two_faults_in_two_layers_are_both_found() -> None:
    """Where the texts do not part, the logits' error must fall to a tenth: no one of the two repairs does that."""
    model = tiny_model("llama")
    found, bisection = _bisected(model, _both(_keys(0, 1.05), _down(1, 1.05)))
    assert found.parting is None
    assert bisection.token is None
    assert bisection.stages == ("0.self_attn.k_proj", "1.mlp.down_proj")
    assert "the error of the logits falls from" in bisection.sentence


def test_a_setting_is_no_stage_s() -> None:
    """With another temperature there is nothing to graft, and the setting is named."""
    model = tiny_model("llama")
    one, other = (GenerationSettings(max_new_tokens=6, temperature=each, seed=3) for each in (0.5, 3.0))
    found = compare(side(model, settings=one), side(faulty(model, _nothing), settings=other), bisects=True)
    assert found.parting is not None
    assert found.bisection is not None
    assert found.bisection.stages == ()
    assert "given the reference's values, every stage returns them" in found.bisection.sentence
    assert "temperature is 3 instead of 0.5" in found.bisection.sentence


def test_another_input_is_no_stage_s() -> None:
    """On the reference's input the candidate answers alike."""
    model = tiny_model("llama")
    found = compare(side(model), side(faulty(model, _nothing), (7, *PROMPT)), bisects=True)
    assert found.parting is not None
    assert found.bisection is not None
    assert found.bisection.stages == ()
    assert found.bisection.sentence.startswith("there is nothing to repair: on the reference's input")


def test_without_a_difference_there_is_nothing_to_repair() -> None:
    """It is said, and nothing is run."""
    _, bisection = _bisected(tiny_model("llama"), _nothing)
    assert bisection == Bisection((), "there is no difference to repair", 0)


def test_the_search_ends_after_the_most_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found by then is kept, and said to be unfinished."""
    monkeypatch.setattr("llmdbg.debugger.comparison.bisecting.MOST_RUNS", 4)
    _, bisection = _bisected(tiny_model("llama"), _keys(1), torch.bfloat16)
    assert not bisection.complete
    assert bisection.stages
    assert "stopped after 4 runs" in bisection.sentence


def test_it_is_the_same_each_time_and_leaves_no_hook() -> None:
    """Nothing is drawn at random, and the models are left as they were."""
    model = tiny_model("llama")
    other = faulty(model, _keys(1), torch.bfloat16)
    first, second = (compare(side(model), side(other), bisects=True).bisection for _ in range(2))
    assert first == second
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in other.modules())


def test_a_value_that_is_not_finite_is_repaired() -> None:
    """A weight that is infinite leaves no difference to subtract: the reference's values stand in its place."""

    def overflow(model: PreTrainedModel) -> None:
        model.model.layers[0].mlp.up_proj.weight.data[3, 4] = float("inf")

    _, bisection = _bisected(tiny_model("llama"), overflow)
    assert bisection.stages == ("0.mlp.up_proj",), bisection


def test_the_smallest_part_has_no_member_that_can_be_left_out() -> None:
    """Delta debugging by itself, over every pair of sixteen."""
    items = tuple("abcdefghijklmnop")
    for one in range(16):
        for other in range(16):
            wanted = {items[one], items[other]}
            asked: list[tuple[str, ...]] = []

            def works(part: tuple[str, ...], wanted: set[str] = wanted, asked: list[tuple[str, ...]] = asked) -> bool:
                asked.append(part)
                return wanted <= set(part)

            assert set(smallest(items, works)) == wanted
            assert len(asked) < 80
