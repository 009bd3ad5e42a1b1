"""What does not run as plain Python is found, as torch makes it today, and said with what to switch off."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from llmdbg import open_session
from llmdbg.errors import UsageError
from llmdbg.models.compiled import notes_on_compiled
from tests.tiny import tiny_model


def compiled_model(model: PreTrainedModel) -> None:
    model.compile(backend="eager")


def compiled_layer(model: PreTrainedModel) -> None:
    model.model.layers[1].compile(backend="eager")


def wrapped_layer(model: PreTrainedModel) -> None:
    model.model.layers[1] = torch.compile(model.model.layers[1], backend="eager")


def compiled_forward(model: PreTrainedModel) -> None:
    mlp = model.model.layers[1].mlp
    mlp.forward = torch.compile(mlp.forward, backend="eager")


def traced_mlp(model: PreTrainedModel) -> None:
    model.model.layers[1].mlp = torch.jit.trace(model.model.layers[1].mlp, torch.zeros(1, 5, 32))


def graphed_mlp(model: PreTrainedModel) -> None:
    """As `make_graphed_callables` leaves a module, without the GPU that it needs."""

    def new_fwd(x: torch.Tensor) -> torch.Tensor:
        return x

    new_fwd.__module__ = torch.cuda.make_graphed_callables.__module__
    model.model.layers[1].mlp.forward = new_fwd


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (compiled_model, "the model is compiled (torch.compile): "),
        (compiled_layer, "model.layers.1 is compiled (torch.compile): "),
        (wrapped_layer, "model.layers.1 is compiled (torch.compile): "),
        (compiled_forward, "model.layers.1.mlp is compiled (torch.compile): "),
        (traced_mlp, "model.layers.1.mlp is TorchScript, "),
        (graphed_mlp, "model.layers.1.mlp is replayed from a CUDA graph, "),
    ],
)
def test_it_is_named(change: Callable[[PreTrainedModel], None], said: str) -> None:
    model = tiny_model("llama")
    change(model)
    (note,) = notes_on_compiled(model)
    assert note.startswith(said)
    assert ";" in note, "what to switch off"


def test_of_many_some_are_named() -> None:
    model = tiny_model("llama")
    for each in model.modules():
        each.compile(backend="eager")
    (note,) = notes_on_compiled(model)
    assert note.startswith("the model, model, model.embed_tokens and ")


@pytest.mark.parametrize("name", ["llama", "mamba", "qwen3_moe", "gpt2"])
def test_a_plain_model_has_no_note(name: str) -> None:
    assert notes_on_compiled(tiny_model(name)) == []


def test_a_session_says_so_and_a_wrapper_is_refused() -> None:
    model = tiny_model("llama")
    compiled_layer(model)
    with open_session(model, "Hello", max_new_tokens=1, greedy=True) as session:
        assert any("torch.compile" in each for each in session.do("info model").data.notes)
    with pytest.raises(UsageError, match=r"torch\.compile.*give the model that was compiled"):
        open_session(torch.compile(tiny_model("llama"), backend="eager"), "Hello")
