"""What a change makes of a value: the main tensor, at the chosen positions, in a container of its own."""

import collections

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.modeling_outputs import BaseModelOutputWithPast

from llmdbg.debugger.editing.changes import EVERYWHERE, Patch, Positions, Scale, Zero, with_main_tensor
from llmdbg.debugger.editing.edits import checked
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import EditError
from tests.debugger.edited import Bench, Elsewhere, visit_of


@pytest.mark.parametrize(
    "line",
    ["zero 0.*attn", "scale 0.mlp 2", "zero 0 at 2-4", "ablate 0 heads=1 at 2", "scale embed 0.5 at last"],
)
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_models_own_tensors_stay_as_they_were(name, line):
    bench = Bench(name).add(line)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    keep = lambda _module, args, output: seen.extend(  # noqa: E731
        (each, each.clone())
        for each in (*args, *(output if isinstance(output, tuple) else (output,)))
        if isinstance(each, torch.Tensor)
    )
    handles = [module.register_forward_hook(keep) for module in bench.model.modules()]
    weights = [each.clone() for each in bench.model.parameters()]
    engine = bench.engine()
    for _ in engine.events():
        pass
    for handle in handles:
        handle.remove()
    assert seen
    assert all(torch.equal(now, then) for now, then in seen)
    assert all(map(torch.equal, bench.model.parameters(), weights))


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))), st.booleans(), st.integers(0, 30), st.integers(1, 9)
)
def test_positions_among_those_of_a_forward(pairs, newest, first, length):
    spans = tuple((min(pair), max(pair)) for pair in pairs)
    chosen = Positions(spans, newest).among(first, length)
    wanted = {each for low, high in spans for each in range(low, high + 1)} | (
        {first + length - 1} if newest else set()
    )
    assert chosen == [each - first for each in range(first, first + length) if each in wanted]


@pytest.mark.parametrize(
    ("shape", "token", "axis"),
    [
        ((1, 12, 4), 0, 1),
        ((12, 4), 0, 0),
        ((1, 2, 12, 4), 0, 2),
        ((1, 14, 4), 2, 1),
        ((14, 4), 2, 0),
        ((1, 14, 2, 4), 2, 1),
    ],
)
def test_positions_are_found_in_tensors_of_every_shape(shape, token, axis):
    tensor = torch.ones(shape)
    made = Zero(Positions(((2, 3),))).apply(visit_of(tensor, token=token), 12)
    assert not made.narrow(axis, 2, 2).any()
    assert made.narrow(axis, 0, 2).all()
    assert made.narrow(axis, 4, shape[axis] - 4).all()
    assert tensor.all()


@pytest.mark.parametrize(("shape", "token"), [((1, 1, 4), 0), ((1, 1, 4), 2), ((1, 4), 2), ((1, 14, 1, 4), 2)])
def test_a_tensor_of_the_newest_position_alone(shape, token):
    tensor = torch.ones(shape)
    assert Zero(Positions(((2, 3),))).apply(visit_of(tensor, token=token), 12) is tensor
    assert not Zero(Positions(((0, 2), (11 + token, 30)))).apply(visit_of(tensor, token=token), 12).any()


Named = collections.namedtuple("Named", ("label", "hidden", "rest"))


@pytest.mark.parametrize(
    "output",
    [
        torch.ones(1, 3, 4),
        (torch.ones(1, 3, 4), None, torch.ones(2)),
        [None, torch.ones(1, 3, 4), torch.ones(2)],
        {"a": 1, "b": torch.ones(1, 3, 4), "c": torch.ones(2)},
        Named("x", torch.ones(1, 3, 4), (torch.ones(2),)),
        BaseModelOutputWithPast(last_hidden_state=torch.ones(1, 3, 4), hidden_states=(torch.ones(2),)),
        ("x", {"y": [None, (torch.ones(1, 3, 4), torch.ones(2))]}, torch.ones(2)),
        torch.topk(torch.arange(12.0).reshape(1, 3, 4), 4),
    ],
    ids=lambda output: type(output).__name__,
)
def test_the_main_tensor_alone_is_replaced_in_a_container_of_the_same_type(output):
    new = torch.zeros(1, 3, 4)
    changed = with_main_tensor(output, new)
    assert type(changed) is type(output)
    assert main_tensor(changed) is new
    assert main_tensor(output).any()
    others = [each for each in leaves(output) if each.value is not main_tensor(output)]
    assert [each for each in leaves(changed) if each.value is not new] == others
    if isinstance(output, BaseModelOutputWithPast):
        assert changed.last_hidden_state is new
        assert changed.hidden_states is output.hidden_states


def leaves(value):
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in leaves(each)]
    if isinstance(value, (tuple, list)):
        return [leaf for each in value for leaf in leaves(each)]
    return [Leaf(value)]


class Leaf:
    """Compares by identity, since tensors do not compare to one bool."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return self.value is other.value

    __hash__ = None  # type: ignore[assignment]


def test_a_stage_without_a_tensor_is_refused():
    with pytest.raises(EditError, match="no tensor"):
        checked(Zero(), visit_of((None, "x")), 12)
    with pytest.raises(EditError, match="no tensor"):
        checked(Patch(Elsewhere(lambda *_: None)), visit_of(None), 12)


def test_everywhere_is_among_any():
    assert EVERYWHERE.among(7, 3) == [0, 1, 2]


def test_what_the_model_writes_does_not_reach_the_other_branch():
    value = torch.ones(1, 12, 4)
    made = checked(Patch(Elsewhere(lambda *_: value)), visit_of(torch.zeros(1, 12, 4)), 12)
    made.zero_()
    assert value.all()


def test_no_gradient_is_kept():
    assert not checked(Scale(2.0), visit_of(torch.ones(1, 12, 4, requires_grad=True)), 12).requires_grad
