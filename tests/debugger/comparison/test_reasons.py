"""What a stage computes differently is explained by the configurations, or by what its buffers hold."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from transformers import PreTrainedConfig, PreTrainedModel

from llmdbg.debugger.comparison.comparing import compare
from llmdbg.debugger.comparison.outcome import FindingKind, Parting, TokenPair, Verdict
from llmdbg.debugger.comparison.verdict import sentence_of
from tests.debugger.comparison.sides import planted, side
from tests.tiny import tiny_model


def _configured(name: str, change: Callable[[PreTrainedConfig], object]) -> tuple[PreTrainedModel, PreTrainedModel]:
    """A model, and one with its weights that is built from another configuration."""
    model = tiny_model(name)
    config = copy.deepcopy(model.config)
    change(config)
    other = type(model)(config)
    other.load_state_dict(model.state_dict())
    other.generation_config = copy.deepcopy(model.generation_config)
    return model, other.eval()


def _another_theta(config: PreTrainedConfig) -> None:
    config.rope_parameters = {**config.rope_parameters, "rope_theta": 77.0}


def _another_window(config: PreTrainedConfig) -> None:
    config.sliding_window = 5


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("llama", _another_theta, "rope_parameters.rope_theta is 77.0 instead of 10000.0"),
        ("qwen2", _another_theta, "rope_parameters.rope_theta is 77.0 instead of"),
        ("mistral", _another_window, "sliding_window is 5 instead of"),
    ],
)
def test_another_configuration(name: str, change: Callable[[PreTrainedConfig], object], said: str) -> None:
    """Both values stand in the sentence of the stage, and in the verdict."""
    reference, candidate = _configured(name, change)
    found = compare(side(reference), side(candidate))
    assert said in found.findings[0].sentence
    assert said in found.sentence


def test_frequencies_that_are_others_though_the_configuration_is_the_same() -> None:
    """Somebody has changed them by hand."""
    found = planted(tiny_model("llama"), lambda model: model.model.rotary_emb.inv_freq.mul_(2))
    first = found.findings[0]
    assert (first.address, first.kind) == ("model.rotary_emb", FindingKind.FUNCTION)
    assert first.sentence.endswith("(its inv_freq differs by 100.0% of its norm)")


def test_a_layer_that_is_missing() -> None:
    """What follows the layers receives other values because of it."""

    def without_the_last(model: PreTrainedModel) -> None:
        del model.model.layers[-1]

    found = planted(tiny_model("llama"), without_the_last)
    assert "the candidate has" in found.sentence and "1 layer instead of 2" in found.sentence


def test_control_characters_of_a_text_do_not_reach_a_sentence() -> None:
    """A notebook prints it as it is. Lines stay lines."""
    pair = TokenPair(1, 2, "I", "\x1b[31m\n")
    parting = Parting(1, pair, 0.5, near_tie=False)
    sentence = sentence_of(Verdict.WITHIN_ARITHMETIC, [], parting, None)
    assert "\\x1b[31m\n" in sentence and "\x1b" not in sentence


def _columns_of_o_proj(model: PreTrainedModel) -> None:
    weight = model.model.layers[1].self_attn.o_proj.weight
    weight.data = weight.data.flip(1)


def _rows_of_q_proj(model: PreTrainedModel) -> None:
    weight = model.model.layers[1].self_attn.q_proj.weight
    weight.data = weight.data.roll(2, 0)


@pytest.mark.parametrize(("fault", "what"), [(_columns_of_o_proj, "columns"), (_rows_of_q_proj, "rows")])
def test_a_weight_in_another_order(fault: Callable[[PreTrainedModel], object], what: str) -> None:
    """It is said which way it is in another order."""
    found = planted(tiny_model("llama"), fault)
    assert found.findings[0].sentence == f"its weight has the reference's {what} in a different order"


def test_a_weight_that_was_zero_has_no_share_of_its_norm() -> None:
    """As biases often are."""
    model = tiny_model("gpt2")
    model.transformer.h[0].ln_2.bias.data.zero_()
    found = planted(model, lambda other: other.transformer.h[0].ln_2.bias.data.fill_(0.5))
    assert found.findings[0].sentence.endswith("values, and the reference's are all zero")


def test_a_row_that_is_hardly_changed_is_no_other_order() -> None:
    """One value of a weight, by a few of its last bits."""

    def nudge(model: PreTrainedModel) -> None:
        model.model.layers[0].self_attn.q_proj.weight.data[3, 4] += 3e-7

    found = planted(tiny_model("llama"), nudge)
    assert found.findings[0].sentence.startswith("its weight differs in 1 of 1,024 values")
