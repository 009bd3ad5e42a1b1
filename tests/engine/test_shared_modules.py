"""A module that stands at several places is a stage at each, and the one that runs is told from the others."""

import pytest
import torch
from torch import nn

from llmdbg.engine.settings import GenerationSettings
from tests.engine.runs import GREEDY, PROMPT, SAMPLED, generation, hooks_on, under_llmdbg, untouched
from tests.engine.test_fidelity import assert_bitwise_equal
from tests.tiny import tiny_model

TWO_TOKENS = GenerationSettings(max_new_tokens=2, greedy=True)


class Twice(nn.Module):
    """Runs one module twice, under two names."""

    def __init__(self, inner):
        super().__init__()
        self.first = inner
        self.second = inner

    def forward(self, hidden):
        return self.second(self.first(hidden))


def share_layer(model):
    model.model.layers[1] = model.model.layers[0]


def share_mlp(model):
    model.model.layers[1].mlp = model.model.layers[0].mlp


def share_deep(model):
    model.model.layers[1].mlp.up_proj = model.model.layers[0].mlp.up_proj


def share_norm(model):
    model.model.norm = model.model.layers[1].input_layernorm


def share_norms_of_a_layer(model):
    for layer in model.model.layers:
        layer.post_attention_layernorm = layer.input_layernorm


def twice_in_a_layer(model):
    model.model.layers[0].mlp = Twice(model.model.layers[0].mlp)


SHARING = (share_layer, share_mlp, share_deep, share_norm, share_norms_of_a_layer, twice_in_a_layer)


def engine_over(share, settings=TWO_TOKENS):
    model = tiny_model("llama")
    share(model)
    return model, generation(model, PROMPT, settings)


def every_address(engine):
    return [stage.address for stage in engine.anatomy.stages]


@pytest.mark.parametrize("settings", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("share", SHARING)
def test_what_runs_is_what_runs_without_it(share, settings):
    model = tiny_model("llama")
    share(model)
    wanted = untouched(model, PROMPT, settings)

    assert_bitwise_equal(under_llmdbg(model, PROMPT, settings, everything=False), wanted)
    assert_bitwise_equal(under_llmdbg(model, PROMPT, settings, everything=True), wanted)
    assert hooks_on(model) == 0


@pytest.mark.parametrize("share", [*SHARING[:-1], lambda _: None])
def test_stages_come_as_in_a_model_that_shares_nothing(share):
    _, plain = engine_over(lambda _: None)
    plain.stops.arm(every_address(plain))
    _, engine = engine_over(share)
    engine.stops.arm(every_address(engine))

    assert [event.stage.address for event in engine.events()] == [event.stage.address for event in plain.events()]


def test_two_names_in_one_module_come_in_turn():
    _, engine = engine_over(twice_in_a_layer)
    engine.stops.arm([address for address in every_address(engine) if address.startswith("0.mlp")])
    one = ["0.mlp.first", "0.mlp.second"]
    found = [event.stage.address for event in engine.events() if event.stage.address in (*one, "0.mlp")]

    assert found == [*one, "0.mlp"] * 2


@pytest.mark.parametrize(
    ("share", "armed"),
    [
        (share_layer, ["0", "1"]),
        (share_layer, ["1"]),
        (share_layer, ["1.mlp.up_proj"]),
        (share_mlp, ["0.mlp", "1.mlp"]),
        (share_mlp, ["1.mlp.act_fn"]),
        (share_deep, ["1.mlp.up_proj", "1"]),
        (share_norm, ["norm"]),
        (share_norm, ["1.input_layernorm"]),
        (share_norms_of_a_layer, ["1.post_attention_layernorm"]),
    ],
)
def test_only_the_places_that_are_armed_are_stopped_at(share, armed):
    _, engine = engine_over(share)
    engine.stops.arm([*armed, "sample"])

    assert [event.stage.address for event in engine.events()] == ["tokenize", *[*armed, "sample"] * 2]


def test_a_place_can_be_armed_while_another_of_the_same_module_stands():
    _, engine = engine_over(share_layer)
    engine.stops.arm(["0.self_attn.q_proj"])
    stages = engine.events()
    next(stages), next(stages)
    engine.stops.arm(["0.mlp", "0", "1.mlp", "1"])

    assert [next(stages).stage.address for _ in range(4)] == ["0.mlp", "0", "1.mlp", "1"]


def test_the_time_of_each_place_is_its_own():
    _, engine = engine_over(share_layer)
    engine.stops.arm(["0", "1"])
    events = [(event.stage.address, event.ms) for event in engine.events() if event.stage.address in "01"]

    assert all(0 < ms < 1000 for _, ms in events)


def test_each_forward_begins_at_the_first_place():
    model = tiny_model("llama")
    model.model.layers.extend([model.model.layers[0], model.model.layers[0]])
    model.model.layers[1] = model.model.layers[0]
    model.config.num_hidden_layers = 3  # the fourth is never run
    engine = generation(model, PROMPT, GenerationSettings(max_new_tokens=3, greedy=True))
    engine.stops.arm(["0", "1", "2", "3"])

    assert [event.stage.address for event in engine.events()] == ["tokenize", *["0", "1", "2"] * 3, "sample"]


class Stubborn(nn.Module):
    """Tries a module that does not fit, and does without it."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, hidden):
        try:
            return self.inner(hidden[..., :3])
        except RuntimeError:
            return hidden


def test_a_failure_that_the_model_catches_does_not_lose_the_place():
    model = tiny_model("llama")
    model.model.layers[1].mlp = Stubborn(model.model.norm)
    engine = generation(model, PROMPT, TWO_TOKENS)
    engine.stops.arm(["1.mlp.inner", "1.mlp", "norm"])

    assert [event.stage.address for event in engine.events()] == ["tokenize", *["1.mlp", "norm"] * 2, "sample"]


@pytest.mark.parametrize("stop_at", [0, 1, 9, 30])
def test_closing_anywhere_removes_every_hook(stop_at):
    model, engine = engine_over(share_layer)
    engine.stops.arm(every_address(engine))
    stages = engine.events()
    for _ in range(stop_at + 1):
        next(stages)
    stages.close()

    assert hooks_on(model) == 0
    assert torch.is_grad_enabled()


def test_a_model_that_shares_nothing_carries_no_hook_for_it():
    model, engine = engine_over(lambda _: None)
    stages = engine.events()
    next(stages)

    assert hooks_on(model) == 0
