"""What faults are planted in: models whose every weight matters, and what their modules are for."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from llmdbg.debugger.comparison.side import LiveSide
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.spec import LoadedModel, ModelSpec
from llmdbg.models.tokens import Prompt
from tests.tiny import tiny_model

TOKENS = 4
GREEDY = GenerationSettings(max_new_tokens=TOKENS, greedy=True)
DEMO = "smollm2"

_ATTENTION = re.compile(r"\d+\.(self_attn|attn|attention|self_attention)")
_ACTIVATION = re.compile(r"\d+\.(.*\.)?(act|act_fn|activation_fn)")
_NORM = re.compile(r"(\d+\..*norm.*|\d+\.ln_\d|norm)")

Plant = Callable[[PreTrainedModel], object]


@dataclass(frozen=True)
class Fault:
    """A fault to plant in a copy of a model, and the stages of which one has to be named first."""

    says: str
    """What is planted."""
    right: frozenset[str]
    """The addresses that count as right, decided before anything ran."""
    plant: Plant = lambda _: None
    """Plants it in a copy."""
    before: Plant = lambda _: None
    """What both models need first."""
    ids: tuple[int, ...] | None = None
    """The candidate's prompt, where it is another."""
    settings: tuple[GenerationSettings, GenerationSettings] = (GREEDY, GREEDY)
    """Of the reference and of the candidate."""
    dtype: torch.dtype | None = None
    """The candidate's, where the fault needs one."""


@cache
def base_model(name: str) -> PreTrainedModel:
    """A model to copy: with norms and biases that are not ones and zeros, so that none can be left out unseen."""
    if name == DEMO:
        from llmdbg.models.loading import load

        return load(ModelSpec(DEMO, dtype="float32")).model
    model = tiny_model(name)
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for of, each in model.named_parameters():
            if each.dim() == 1 and "A_log" not in of and not of.endswith("mixer.D"):
                each.add_(0.2 * torch.randn(each.shape, generator=source))
    return model


@dataclass
class Ground:
    """A model to choose a place in, and what chooses."""

    name: str
    rng: random.Random
    model: PreTrainedModel
    ids: tuple[int, ...]
    modules: dict[str, nn.Module] = field(init=False)
    paths: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.modules = dict(side(self.model, self.ids).debuggee().anatomy.modules)
        places = {id(module): path for path, module in self.model.named_modules()}
        self.paths = {address: places[id(module)] for address, module in self.modules.items()}

    def choose(self, wanted: Callable[[str, nn.Module], object]) -> str | None:
        """One of the addresses that `wanted` takes; None if it takes none."""
        found = [address for address, module in self.modules.items() if wanted(address, module)]
        return self.rng.choice(found) if found else None

    def at(self, address: str) -> Callable[[PreTrainedModel], Any]:
        """What finds the module of an address in a copy of the model."""
        path = self.paths[address]
        return lambda model: model.get_submodule(path)

    def replacing(self, address: str, make: Callable[[Any], nn.Module]) -> Plant:
        """What puts another module in the place of one."""
        path, get = self.paths[address], self.at(address)
        return lambda model: model.set_submodule(path, make(get(model)).eval())

    def layer(self) -> str:
        """One of the layers."""
        return self.rng.choice([address for address in self.modules if address.isdigit()])

    def noise(self) -> torch.Generator:
        """A source of random tensors."""
        return torch.Generator().manual_seed(self.rng.randrange(2**31))


def ground(name: str, seed: int, length: int = 14) -> Ground:
    """A place to plant in, with a random prompt."""
    rng = random.Random(f"{name} {seed}")
    model = base_model(name)
    ids = tuple(rng.randrange(1, model.config.vocab_size) for _ in range(length))
    return Ground(name, rng, model, ids)


def side(
    model: PreTrainedModel,
    ids: tuple[int, ...],
    settings: GenerationSettings = GREEDY,
    padding: int = 0,
) -> LiveSide:
    """A model that reads `ids` behind `padding` pad tokens."""
    attn = str(model.config._attn_implementation)
    loaded = LoadedModel("planted", model, None, attn=attn, dtype=str(model.dtype).removeprefix("torch."))
    return LiveSide(loaded, Prompt((0,) * padding + ids, "", padding=padding), settings, Generation)


def copied(model: PreTrainedModel, dtype: torch.dtype | None, *plants: Plant) -> PreTrainedModel:
    """A copy with faults, its weights then in `dtype` one by one, as loading has it: buffers stay as they are."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for plant in plants:
            plant(other)
    if dtype is not None:
        for weight in other.parameters():
            weight.data = weight.data.to(dtype)
    return other


def is_attention(address: str, _: nn.Module) -> bool:
    """Whether a module is a layer's attention."""
    return bool(_ATTENTION.fullmatch(address))


def is_norm(address: str, module: nn.Module) -> bool:
    """Whether a module is a norm with weights."""
    return bool(_NORM.fullmatch(address)) and isinstance(getattr(module, "weight", None), Tensor)


def is_activation(address: str, _: nn.Module) -> bool:
    """Whether a module is an activation function."""
    return bool(_ACTIVATION.fullmatch(address))


def weight_of(module: nn.Module) -> Tensor:
    """The weight of a module that has one."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight


def is_linear(address: str, module: nn.Module) -> bool:
    """Whether a module in a layer multiplies with a matrix."""
    weight = getattr(module, "weight", None)
    return address[0].isdigit() and isinstance(weight, Tensor) and weight.dim() == 2


def ends(*names: str) -> Callable[[str, nn.Module], bool]:
    """Whether a module in a layer has one of these names."""
    return lambda address, _: address[0].isdigit() and address.rpartition(".")[2] in names


def after(module: Any, change: Callable[[Any], Any]) -> None:
    """Let a module return something else than its forward does."""
    forward = module.forward

    def changed(*args: Any, **kwargs: Any) -> Any:
        returned = forward(*args, **kwargs)
        if isinstance(returned, tuple):
            return (change(returned[0]), *returned[1:])
        return change(returned)

    module.forward = changed
