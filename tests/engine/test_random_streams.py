"""A forward draws the numbers it draws without llmdbg, whatever others draw while it is suspended."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel, ReformerConfig

from llmdbg.engine.random_streams import RandomStreams
from llmdbg.engine.settings import GenerationSettings
from tests.engine.runs import GREEDY, PROMPT, SAMPLED, generation, under_llmdbg, untouched
from tests.engine.test_fidelity import assert_bitwise_equal
from tests.tiny import tiny_model

SETTINGS = {"greedy": GREEDY, "sampled": SAMPLED}
PLACES = ("model.embed_tokens", "model.layers.0.self_attn.q_proj", "model.layers.1.mlp", "model.norm", "lm_head")
PHASES: dict[str, Callable[[int], bool]] = {
    "prefill": lambda length: length > 1,
    "decode": lambda length: length == 1,
    "both": lambda _: True,
}


class Noise(nn.Module):
    """Adds noise to what a module gives, in forwards over the numbers of positions that `draws` accepts."""

    def __init__(self, inner: nn.Module, draws: Callable[[int], bool]) -> None:
        super().__init__()
        self.inner = inner
        self.draws = draws
        if hasattr(inner, "weight"):
            self.weight = inner.weight

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        out = self.inner(*args)
        return out + 0.1 * torch.randn_like(out) if self.draws(out.shape[1]) else out


def noisy_model(place: str, draws: Callable[[int], bool]) -> PreTrainedModel:
    model = tiny_model("llama")
    model.set_submodule(place, Noise(model.get_submodule(place), draws))
    return model


def reformer() -> PreTrainedModel:
    """An architecture whose attention hashes with random rotations."""
    config = ReformerConfig(
        vocab_size=128,
        hidden_size=32,
        is_decoder=True,
        attn_layers=["lsh", "lsh"],
        lsh_attn_chunk_length=16,
        num_buckets=4,
        num_hashes=1,
        num_attention_heads=2,
        attention_head_size=16,
        feed_forward_size=32,
        axial_pos_embds=False,
        max_position_embeddings=256,
        pad_token_id=0,
        eos_token_id=None,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.25)
    model.generation_config.pad_token_id = 0
    return model


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("place", PLACES)
def test_a_forward_that_draws_anywhere_is_that_of_generate(place, phase, settings):
    model = noisy_model(place, PHASES[phase])
    wanted = untouched(model, PROMPT, settings)

    assert_bitwise_equal(under_llmdbg(model, PROMPT, settings, everything=False), wanted)
    assert_bitwise_equal(under_llmdbg(model, PROMPT, settings, everything=True), wanted)
    assert_bitwise_equal(under_llmdbg(model, PROMPT, settings, everything=True, at_stop=draw), wanted)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_reformer_is_that_of_generate(settings):
    model = reformer()
    wanted = untouched(model, PROMPT, settings)

    assert_bitwise_equal(under_llmdbg(model, PROMPT, settings, everything=False), wanted)
    assert_bitwise_equal(under_llmdbg(model, PROMPT, settings, everything=True), wanted)
    assert_bitwise_equal(under_llmdbg(model, PROMPT, settings, everything=True, at_stop=draw), wanted)


@pytest.mark.parametrize("address", ["tokenize", "embed", "0", "1.mlp", "logits", "sample.temperature", "sample"])
def test_drawing_at_one_stage_alone_changes_nothing(address):
    settings = GenerationSettings(max_new_tokens=8, temperature=0.9, seed=3)
    model = tiny_model("llama")
    engine = generation(model, PROMPT, settings)
    engine.stops.arm([address])
    for _ in engine.events():
        draw()

    assert list(engine.generated) == untouched(model, PROMPT, settings).ids


def test_the_stream_moves_on_as_generate_leaves_it():
    """Nothing is put back where nobody else could have drawn."""
    settings = GenerationSettings(max_new_tokens=6, temperature=0.9, seed=3)
    model = noisy_model("model.layers.1.mlp", PHASES["both"])
    untouched(model, PROMPT, settings)
    after = torch.get_rng_state()
    engine = generation(model, PROMPT, settings)
    stages = engine.events()
    while next(stages).ended_by is None:
        pass
    assert next(stages, None) is None

    assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.cuda
@pytest.mark.parametrize("phase", PHASES)
def test_on_cuda(phase, cuda):
    model = noisy_model("model.layers.1.mlp", PHASES[phase]).to(cuda)
    wanted = untouched(model, PROMPT, SAMPLED)

    assert_bitwise_equal(under_llmdbg(model, PROMPT, SAMPLED, everything=False), wanted)
    assert_bitwise_equal(
        under_llmdbg(model, PROMPT, SAMPLED, everything=True, at_stop=lambda: torch.rand(3, device=cuda)), wanted
    )


def draw() -> None:
    """What others may draw at a stop: one number, a pair's half that the generator keeps for later, and many."""
    torch.rand(1)
    torch.randn(1)
    torch.rand(700)


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_every_stream_is_seeded_as_transformers_does_it(seed):
    def drawn():
        return random.random(), float(np.random.random()), torch.rand(3).tolist()

    transformers.set_seed(seed)
    wanted = drawn()
    RandomStreams().seed(seed)
    assert drawn() == wanted
