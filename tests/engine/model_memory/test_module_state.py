"""What forwards leave behind in modules is seen, wherever a module keeps it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from llmdbg.engine.model_memory.module_state import ModuleState


class Keeper(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = "a word"
        self.count = 0
        self.seen: list[int] | None = None


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda keeper: setattr(keeper, "count", 1), "0.count"),
        (lambda keeper: setattr(keeper, "new", 3), "0.new"),
        (lambda keeper: delattr(keeper, "first"), "0.first"),
        (lambda keeper: setattr(keeper, "seen", [1]), "0.seen"),
        (lambda keeper: keeper.register_buffer("past", torch.zeros(2)), "0.past"),
        # The same values, under another name.
        (lambda keeper: keeper.__dict__.update(other=keeper.__dict__.pop("seen")), "0.other"),
    ],
)
def test_whatever_a_forward_leaves_is_found_and_put_back(change, name):
    model = nn.Sequential(Keeper(), nn.Linear(2, 2))
    state = ModuleState(model)
    before = dict(vars(model[0]))
    for _ in range(3):  # unchanged runs first: what is as it was is recognised by identity from then on
        state.begin()
        state.end()
        assert not state.reruns
    state.begin()
    change(model[0])
    state.end()
    assert name in state.names
    assert state.reruns
    state.begin()
    assert {key: value for key, value in vars(model[0]).items() if key in before and not key.startswith("_")} == {
        key: value for key, value in before.items() if not key.startswith("_")
    }


@pytest.mark.parametrize(("name", "is_lost"), [("_dynamo_static_input_type", False), ("quant_state", True)])
def test_what_torch_compile_notes_on_a_weight_is_no_change_of_it(name, is_lost):
    model = nn.Sequential(nn.Linear(2, 2))
    state = ModuleState(model)
    state.begin()
    state.settle()
    setattr(model[0].weight, name, "unguarded")
    state.end()
    assert bool(state.lost) is is_lost
