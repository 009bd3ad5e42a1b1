"""vLLM's pairs of hidden states and residual are read as their sum: on modules that behave like its own."""

import pytest
import torch
from torch import nn

from llmdbg.engine.residual_views import views_of
from llmdbg.engine.stage_event import StageEvent, always_suspend
from llmdbg.engine.stops import Stops
from llmdbg.engine.suspension import Suspension
from llmdbg.models.anatomy import Anatomy
from llmdbg.models.stages import SAMPLE, TOKENIZE, Stage, StageKind

WIDTH = 4


class FusedNorm(nn.Module):
    """Adds, and writes into what it gets, as vLLM's kernels do."""

    def forward(self, x: torch.Tensor, residual: torch.Tensor | None = None):
        if residual is None:
            return x / x.norm(dim=-1, keepdim=True)
        residual += x
        x.copy_(residual / residual.norm(dim=-1, keepdim=True))
        return x, residual


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm_in, self.block = FusedNorm(), nn.Linear(WIDTH, WIDTH)

    def forward(self, positions: torch.Tensor, hidden: torch.Tensor, residual: torch.Tensor | None):
        if residual is None:
            residual = hidden
            hidden = self.norm_in(hidden)
        else:
            hidden, residual = self.norm_in(hidden, residual)
        return self.block(hidden), residual


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.norm = nn.ModuleList([Layer(), Layer()]), FusedNorm()

    def children_in_order(self) -> list[Layer]:
        return [each for each in self.layers if isinstance(each, Layer)]

    def forward(self, hidden: torch.Tensor):
        residual = None
        for layer in self.layers:
            hidden, residual = layer(torch.arange(len(hidden)), hidden, residual)
        return self.norm(hidden, residual)[0]


def anatomy(model: Model) -> Anatomy:
    named = {"0": "layers.0", "0.norm_in": "layers.0.norm_in", "1": "layers.1", "1.norm_in": "layers.1.norm_in"}
    stages = [
        Stage(StageKind.LAYER if address.isdigit() else StageKind.MODULE, address, path, int(address[0]))
        for address, path in named.items()
    ]
    stages.append(Stage(StageKind.NORM, "norm", "norm"))
    modules = {each.address: model.get_submodule(each.module or "") for each in stages}
    return Anatomy((TOKENIZE, *stages, SAMPLE), modules, None)


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    return Model()


def run(model: Model, given: torch.Tensor, at=None):
    """The model's output under stops, and what each stage showed: its inputs and output."""
    whole = anatomy(model)
    stops = Stops(model, whole, [torch.device("cpu")], views_of(whole))
    shown: dict[str, tuple[list[torch.Tensor], torch.Tensor]] = {}
    results = []
    suspension: Suspension[StageEvent] = Suspension(lambda: results.append(model(given.clone())))
    stops.begin(suspension)
    stops.arm([each.address for each in whole.stages], always_suspend)
    with torch.inference_mode():
        while (event := suspension.resume()) is not None:
            inputs = [each.clone() for each in event.args if each is not None and each.is_floating_point()]
            output = event.output[0] if isinstance(event.output, tuple) else event.output
            shown[event.stage.address] = (inputs, output.clone())
            if at is not None and event.stage.address == at[0]:
                event.output = at[1](event.output)
    stops.end()
    return results[0], shown


def by_hand(model: Model, given: torch.Tensor):
    """The residual stream after the embedding and each layer."""
    stream = [given]
    for layer in model.children_in_order():
        normed = stream[-1] / stream[-1].norm(dim=-1, keepdim=True)
        stream.append(layer.block(normed) + stream[-1])
    return stream


@torch.inference_mode()
def test_a_layer_and_a_norm_show_the_residual_stream(model):
    given = torch.randn(3, WIDTH)
    untouched = model(given.clone())
    output, shown = run(model, given)
    stream = by_hand(model, given)
    assert torch.equal(output, untouched)
    for at in (0, 1):
        [came_in], came_out = shown[str(at)]
        assert torch.equal(came_in, stream[at]) and torch.equal(came_out, stream[at + 1])
        assert torch.equal(shown[f"{at}.norm_in"][0][0], stream[at])
    assert torch.equal(shown["norm"][0][0], stream[2]) and torch.equal(shown["norm"][1], untouched)


@torch.inference_mode()
def test_an_edited_stream_is_what_the_next_layer_gets_bit_for_bit(model):
    given, other = torch.randn(3, WIDTH), torch.randn(3, WIDTH)
    _, shown = run(model, given, at=("0", lambda _: other))
    assert torch.equal(shown["1"][0][0], other) and torch.equal(shown["1.norm_in"][0][0], other)
