"""Conditions on local tensors of the model's code: `break 12.self_attn:forward if absmax("hidden_states") > 9`."""

from __future__ import annotations

import pytest
import torch

from llmdbg.debugger.commands import Answer
from llmdbg.debugger.persistence.capture import capture
from llmdbg.debugger.persistence.format import from_json, to_json
from llmdbg.debugger.persistence.model import begin
from llmdbg.debugger.persistence.restore import restore
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import ConditionError
from llmdbg.models.spec import ModelSpec
from tests.sessions import do, here, tiny_session

pytestmark = pytest.mark.untraced


def stops(*lines: str) -> list[tuple[str, str]]:
    """Where a run stops under these breakpoints, and why."""
    session = tiny_session("llama")
    do(session, *lines)
    found = []
    while do(session, "continue") and session.end is None:
        found.append((here(session), session.stop.why))
    return found


def norms_at_mlp() -> dict[str, float]:
    """What `info locals x` says of `x` at the first line of each mlp's forward."""
    session = tiny_session("llama")
    do(session, "break *.mlp:forward")
    found = {}
    while do(session, "continue") and session.end is None:
        answer = do(session, "info locals x")
        assert isinstance(answer, Answer)
        found[here(session)] = answer.data.numbers.norm
    return found


def test_a_line_is_stopped_at_where_the_local_is_what_was_asked() -> None:
    norms = norms_at_mlp()
    middle = sorted(norms.values())[len(norms) // 2]
    found = stops(f'break *.mlp:forward if norm("x") > {middle!r}')
    assert [place for place, _ in found] == [place for place, norm in norms.items() if norm > middle]
    assert 0 < len(found) < len(norms)
    place, why = found[0]
    assert why == f'norm("x") {norms[place]:.4g} > {middle!r}'


def test_several_quantities_of_several_locals_and_parts_of_them() -> None:
    line = 'break 0.self_attn:forward if absmax("hidden_states") > 0 and std("position_embeddings.0") < 100'
    assert len(stops(line)) == 4
    assert stops('break 0.self_attn:forward if nan("hidden_states") or inf("position_embeddings.1")') == []
    # A whole number has statistics too, and arithmetic goes on as ever.
    assert len(stops('break 0.self_attn:forward if abs(max("hidden_states") - min("hidden_states")) > 0')) == 4


def test_an_op_has_the_locals_of_the_line_that_calls_it() -> None:
    [(place, why), *_] = stops('break 0.mlp/mul if norm("x") > 0 and norm > 0')
    assert place.startswith("0.mlp/mul.0") and why.startswith('norm("x") ')


def test_what_a_tracepoint_logs() -> None:
    logged = []
    session = tiny_session("llama")
    session.run.on_trace = lambda stop: logged.append((here_of(stop), stop.values))
    do(session, 'trace *.mlp:forward norm("x"), changed(norm("x"))', "continue")
    assert [value for _, ((_, value), _) in logged] == pytest.approx(list(norms_at_mlp().values()))


def here_of(stop: object) -> str:
    return str(stop.stage.address)  # type: ignore[attr-defined]


def test_a_local_without_a_value_yet_is_unknown() -> None:
    # The first line of the function comes before `down_proj` is assigned.
    assert stops('break 0.mlp:forward if norm("down_proj") >= 0') == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('break 1.mlp:forward if absmax("y") > 2', "'y' is no local there: there are down_proj, self and x"),
        ('break 1.mlp if absmax("x") > 2', 'absmax("x")` is known at a line and at an op'),
        ('break 1.mlp:forward if absmax(x) > 2', "'x' is not the quoted name of a local tensor"),
        ('break 1.mlp:forward if absmax("x y") > 2', "is not the quoted name of a local tensor"),
        ('break 1.mlp:forward if absmax("x.__class__ ") > 2', "is not the quoted name of a local tensor"),
        ('break 1.mlp:forward if absmax() > 2', "takes exactly one argument"),
        ('watch norm("z") at 1.mlp:forward', "'z' is no local there"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_one_line(line: str, said: str) -> None:
    session = tiny_session("llama")
    with pytest.raises(ConditionError) as caught:
        do(session, line)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not session.breakpoints.list()


@pytest.mark.parametrize(
    ("local", "said"),
    [
        ("self", "self is a LlamaMLP, no tensor: `info locals` lists what is"),
        ("self.up_proj", "self.up_proj names nothing there: 'up_proj' is no part of that value"),
    ],
)
def test_one_that_is_no_tensor_stops_and_says_so_once_it_is_seen(local: str, said: str) -> None:
    session = tiny_session("llama")
    do(session, f'break 0.mlp:forward if norm("{local}") > 3', "break 1", "continue")
    assert (session.stop.breakpoint, session.stop.why) == (1, said)
    do(session, "delete 1", "continue")
    assert session.stop.breakpoint == 2, "others are not held up by it"


def test_the_run_stays_what_it_is() -> None:
    alone = tiny_session("llama")
    do(alone, "continue")
    session = tiny_session("llama")
    do(session, 'break *.mlp:forward if norm("x") > 1e9', 'trace *.self_attn:forward absmax("hidden_states")')
    do(session, "until logits@3")
    do(alone, "goto logits@3")
    ours, theirs = (each.inspector.event.trail[0][1] for each in (session, alone))
    assert torch.equal(ours, theirs)


def test_it_comes_back_with_a_saved_session() -> None:
    session = tiny_session("llama")
    do(session, 'break modeling_llama.py:forward if absmax("hidden_states") > 0.1', 'break 1.mlp/mul if norm("x") > 1')
    saved = capture(session, begin(ModelSpec("x"), "Hello there", GenerationSettings(max_new_tokens=4, greedy=True)))
    again = tiny_session("llama")
    assert restore(again, from_json(to_json(saved), "Hello there")) == ()
    assert [each.line for each in again.breakpoints.list()] == [each.line for each in session.breakpoints.list()]
    do(again, "continue")
    assert again.stop.why.startswith('absmax("hidden_states") ')
