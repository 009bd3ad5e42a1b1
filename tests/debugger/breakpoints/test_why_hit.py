"""A stop at a breakpoint says why: its condition with the values that it found."""

import math
from typing import Any

import pytest
import torch

from llmdbg.debugger.breakpoints.expression_syntax import parse_expression, parse_expressions
from llmdbg.debugger.breakpoints.why_hit import with_values
from llmdbg.engine.stage_event import main_tensor
from llmdbg.frontends.answers.json_fields import stop_fields
from llmdbg.frontends.answers.stops import stop_line
from llmdbg.frontends.tui.state.sentences import sentence
from tests.frontends.tui.states import state_at
from tests.sessions import do, tiny_session

VALUES: dict[str, Any] = {
    "norm": 130.5,
    "entropy": 0.99999,
    "layer": 12,
    "top1": ' é"',
    'rank(" Paris")': 3,
    'prob(" Paris")': 0.25,
}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("norm > 100", "norm 130.5 > 100"),
        ("entropy < 1", "entropy 0.99999 < 1"),
        ("(norm > 100) and layer >= 8", "(norm 130.5 > 100) and layer 12 >= 8"),
        ("(norm > 100)", "norm 130.5 > 100"),
        ('top1 == " é\\"" or norm < 1', 'top1 " é\\"" == " é\\"" or norm 130.5 < 1'),
        ('rank(" Paris") <= 3', 'rank(" Paris") 3 <= 3'),
        ('abs(norm - 1) * prob(" Paris") > 2', 'abs(norm 130.5 - 1) * prob(" Paris") 0.25 > 2'),
        ("changed(layer) or nan", "changed(layer 12) or nan ?"),
    ],
)
def test_each_value_stands_after_its_name(text: str, said: str) -> None:
    assert with_values(parse_expression(text), VALUES) == said


def test_the_second_of_several_expressions_is_said_alone() -> None:
    assert [with_values(each, VALUES) for each in parse_expressions('top1 == " é", norm')] == [
        'top1 " é\\"" == " é"',
        "norm 130.5",
    ]


def test_a_condition_is_said_wherever_the_stop_is() -> None:
    session = tiny_session(max_new_tokens=4)
    do(session, "break 1 if norm > 0 and token >= 1", "continue")
    output = main_tensor(session.run.event.output)
    assert output is not None
    norm = float(output.to(torch.float32).norm())
    why = session.stop.why
    assert why == f"norm {norm:.4g} > 0 and token 1 >= 1"
    assert f"breakpoint 1 ({why})" in stop_line(session.stop)
    assert stop_fields(session.stop)["why"] == why
    assert sentence(state_at(session).snapshot).startswith(f"breakpoint 1 ({why}): ")
    do(session, "step")
    assert session.stop.why == ""
    assert "why" not in stop_fields(session.stop)


def test_it_is_said_on_the_way_back_and_of_a_watch_with_a_condition() -> None:
    session = tiny_session(max_new_tokens=6)
    do(session, "token 3", "break 1 if token == 1", "reverse-continue")
    assert session.stop.why == "token 1 == 1"
    do(session, "delete", "watch norm at 0", "condition 2 layer < 1", "continue")
    assert session.stop.why == "layer 0 < 1"
    assert [name for name, _ in session.stop.values] == ["before", "now"]


def test_a_ready_made_one_says_what_tripped_it() -> None:
    session = tiny_session(max_new_tokens=6)
    do(session, "break surprise 1", "continue")
    chosen = session.stop.chosen
    assert chosen is not None
    prob = float(torch.softmax(session.run.event.trail[0][1][0], dim=-1)[chosen.id])
    assert session.stop.why == f"surprise 1: its probability was {prob:.4g}"
    do(session, "delete", "scale 1 100", "break jump 5", "continue")
    assert session.stop.why.startswith("jump 5: norm ")
    before, now = session.stop.why.removeprefix("jump 5: norm ").split(" → ")
    assert float(now) >= 5 * float(before)


@pytest.mark.parametrize(("value", "word"), [(math.inf, "inf"), (math.nan, "nan"), (-math.inf, "-inf")])
def test_a_value_that_is_not_finite_is_named_in_the_weight_it_comes_from(value: float, word: str) -> None:
    session = tiny_session(max_new_tokens=4)
    with torch.no_grad():
        session.inspector.anatomy.modules["1.mlp.down_proj"].get_parameter("weight")[2, 5] = value
    do(session, "break nonfinite", "continue")
    assert session.stop.stage.address == "1.mlp.down_proj"
    assert session.stop.why.startswith("nonfinite: ")
    assert session.stop.why.endswith(f", weight[2,5] = {word}")
    do(session, "continue")
    assert session.stop.stage.address == "1.mlp"
    assert session.stop.why.endswith(f", down_proj.weight[2,5] = {word}")
    do(session, "continue")
    assert session.stop.stage.address == "1"
    do(session, "continue")
    assert session.stop.stage.address == "norm"
    assert ", output[0,0," in session.stop.why
