"""Lines and ops: the forward is suspended at each, stays bitwise what it is, and leaves nothing behind."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from llmdbg.engine._compat import dispatch_modes
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.engine.stage_event import StageEvent
from llmdbg.models.source_files import source_file, source_line
from llmdbg.models.stages import ANY_LINE, ANY_OP, StageKind
from tests.engine.runs import PROMPT, generation, hooks_on, untouched
from tests.tiny import REQUIRED, tiny_model

# Lines are stopped at by a trace function of ours, and coverage has one of its own.
pytestmark = pytest.mark.untraced

SHORT = GenerationSettings(max_new_tokens=2, greedy=True)
FINEST = {"lines": {ANY_LINE.address}, "ops": {ANY_OP.address}, "both": {ANY_LINE.address, ANY_OP.address}}


def armed(
    engine: Generation, *addresses: str, stop: Callable[[StageEvent], bool] = lambda _: True
) -> Iterator[StageEvent]:
    events = engine.events()
    next(events)
    engine.stops.arm(addresses, stop)
    return events


def nothing_is_left(model: Any) -> bool:
    return hooks_on(model) == 0 and sys.gettrace() is None and dispatch_modes() == 0


@pytest.mark.parametrize("finest", FINEST.values(), ids=FINEST)
@pytest.mark.parametrize("name", REQUIRED)
def test_whole_forwards_stepped_by_lines_and_ops_are_bitwise_those_of_generate(name, finest):
    model = tiny_model(name)
    wanted = untouched(model, PROMPT, SHORT)
    engine, logits, stops = generation(model, PROMPT, SHORT), [], 0

    def note(event: StageEvent) -> bool:
        if event.stage.kind is StageKind.LOGITS:
            logits.append(event.output.clone())
        return event.stage.is_fine

    for event in armed(engine, *finest, "logits", stop=note):
        stops += event.stage.is_fine
        # Whoever steps has modes of their own: no trace function, no dispatch mode, and autograd as ever.
        assert sys.gettrace() is None
        assert dispatch_modes() == 0
        ours = torch.ones(2, requires_grad=True)
        (ours * 2).sum().backward()
        assert ours.grad is not None

    assert stops > 150
    assert list(engine.generated) == wanted.ids
    assert all(map(torch.equal, logits, wanted.logits))
    assert len(logits) == len(wanted.logits)
    assert nothing_is_left(model)


def test_an_op_shows_what_it_took_and_returned_and_the_line_that_called_it():
    engine = generation(tiny_model("llama"), PROMPT, SHORT)
    product = next(armed(engine, "1.mlp.down_proj/mm"))
    assert (product.stage.address, product.stage.module, product.stage.layer) == (
        "1.mlp.down_proj/mm.0",
        "model.layers.1.mlp.down_proj",
        1,
    )
    assert torch.equal(product.output, product.args[0] @ product.args[1])
    code = product.code
    assert code is not None
    assert (code.operation, code.parameters) == ("aten.mm.default", ("self", "mat2"))
    # The line is the model's, not torch's.
    assert code.file.endswith("modeling_llama.py")
    assert code.function == "LlamaMLP.forward"
    assert "down_proj(" in source_line(code.file, code.line)


def test_a_line_is_stopped_at_before_it_runs_with_its_frame():
    engine = generation(tiny_model("llama"), PROMPT, SHORT)
    seen = {}
    for event in armed(engine, "0.self_attn:*"):
        code = event.code
        assert code is not None
        assert event.output is None
        names = set(code.frame.f_locals)
        if "query_states = self.q_proj" in source_line(code.file, code.line):
            assert "hidden_shape" in names
            assert "query_states" not in names
        seen[source_line(code.file, code.line)] = code.function
        if code.function == "apply_rotary_pos_emb":
            break
    assert seen.popitem()[1] == "apply_rotary_pos_emb", "a function of the file that the forward calls is part of it"


def test_a_statement_over_several_lines_is_one_stop():
    engine = generation(tiny_model("llama"), PROMPT, SHORT)
    lines = [event.code.line for event in armed(engine, "0:*") if event.token == 0 and event.code is not None]
    assert len(lines) == len(set(lines))
    file = source_file(engine.anatomy.modules["0"])
    called = [line for line in lines if "self.self_attn(" in source_line(file, line)]
    assert len(called) == 1


def test_what_an_op_writes_into_is_shown_as_it_was_and_a_view_is_a_view():
    model = tiny_model("llama")
    mlp = model.model.layers[0].mlp
    plain = type(mlp).forward

    class Doubling(type(mlp)):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = plain(self, x)
            y.mul_(2)
            return y.view(y.shape)

    mlp.__class__ = Doubling
    engine = generation(model, PROMPT, SHORT)
    events = armed(engine, "0.mlp/mul_", "0.mlp/view")
    doubled = next(events)
    assert torch.equal(doubled.output, doubled.args[0] * 2)
    output = doubled.output
    viewed = next(events)
    assert viewed.output.data_ptr() == output.data_ptr()
    events.close()  # type: ignore[attr-defined]
    assert nothing_is_left(model)


def test_ops_are_numbered_in_each_call_of_a_module_and_not_if_counting_began_within():
    engine = generation(tiny_model("llama"), PROMPT, SHORT)
    events = armed(engine, "0.self_attn.q_proj")
    next(events)
    engine.stops.arm([ANY_OP.address])
    addresses = [next(events).stage.address for _ in range(4)]
    assert addresses == [
        "0.self_attn/view",
        "0.self_attn/transpose",
        "0.self_attn.k_proj/t.0",
        "0.self_attn.k_proj/view.0",
    ]
    numbered = [event.stage.address for event in events if event.stage.address.startswith("1.input_layernorm/mul")]
    assert numbered == ["1.input_layernorm/mul.0", "1.input_layernorm/mul.1"] * 2


@pytest.mark.parametrize("finest", [ANY_LINE.address, ANY_OP.address])
def test_a_run_that_is_closed_in_the_middle_leaves_nothing(finest):
    model = tiny_model("llama")
    engine = generation(model, PROMPT, SHORT)
    events = armed(engine, finest)
    for _ in range(40):
        next(events)
    events.close()  # type: ignore[attr-defined]
    assert nothing_is_left(model)
    assert list(untouched(model, PROMPT, SHORT).ids)


@pytest.mark.parametrize("finest", [ANY_LINE.address, ANY_OP.address])
def test_disarmed_in_the_middle_nothing_is_installed_from_the_next_token_on(finest):
    engine = generation(tiny_model("llama"), PROMPT, GenerationSettings(max_new_tokens=3, greedy=True))
    events = armed(engine, finest)
    for _ in range(40):
        next(events)
    installed = []

    def look(event: StageEvent) -> bool:
        installed.append((event.token, sys.gettrace() is not None, dispatch_modes()))
        return False

    engine.stops.arm(["1.mlp"], look)
    assert [event.ended_by for event in events] == ["length"]
    assert installed[1:] == [(1, False, 0), (2, False, 0)]


def test_nothing_is_installed_while_no_line_and_no_op_is_armed():
    engine = generation(tiny_model("llama"), PROMPT, SHORT)
    installed = []

    def look(_: StageEvent) -> bool:
        installed.append((sys.gettrace(), dispatch_modes()))
        return False

    list(armed(engine, "1.mlp", stop=look))
    assert installed == [(None, 0)] * 2


def test_a_trace_function_and_a_mode_of_somebody_else_are_theirs_again_at_every_stop():
    calls: list[str] = []

    def theirs(frame: Any, _event: str, _arg: Any) -> None:
        calls.append(frame.f_code.co_name)

    class Theirs(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            calls.append(str(func))
            return func(*args, **(kwargs or {}))

    def traced_by_them() -> torch.Tensor:
        return torch.ones(1) + 1

    engine = generation(tiny_model("llama"), PROMPT, SHORT)
    events = armed(engine, ANY_LINE.address, ANY_OP.address)
    before = sys.gettrace()
    sys.settrace(theirs)
    try:
        for _ in range(30):
            next(events)
            assert sys.gettrace() is theirs
            calls.clear()
            with Theirs():
                traced_by_them()
            assert "traced_by_them" in calls
            assert "aten.add.Tensor" in calls
        events.close()  # type: ignore[attr-defined]
        assert sys.gettrace() is theirs
    finally:
        sys.settrace(before)


def test_a_forward_that_fails_under_both_leaves_nothing():
    model = tiny_model("llama")
    model.model.layers[1].mlp.down_proj.weight = torch.nn.Parameter(torch.zeros(3, 3))
    engine = generation(model, PROMPT, SHORT)
    last = ""
    with pytest.raises(Exception, match="the forward failed"):
        for event in armed(engine, ANY_LINE.address, ANY_OP.address):
            last = event.stage.address
    assert last.startswith("1.mlp")
    assert nothing_is_left(model)


def test_lines_of_a_layer_that_is_used_twice_belong_to_each_of_its_places():
    model = tiny_model("llama")
    model.model.layers[1] = model.model.layers[0]
    engine = generation(model, PROMPT, SHORT)
    places = [event.stage.address.partition(".")[0] for event in armed(engine, "*/rsqrt") if event.token == 0]
    assert places == ["0", "0", "1", "1", "norm/rsqrt"]


@pytest.mark.parametrize("finest", [ANY_LINE.address, ANY_OP.address])
def test_a_run_that_is_collected_inside_another_takes_nothing_away_from_it(finest):
    dropped = armed(generation(tiny_model("llama"), PROMPT, SHORT), finest)
    for _ in range(40):
        next(dropped)
    seen: list[str] = []

    def drop_it(event: StageEvent) -> bool:
        seen.append(event.stage.address)
        if len(seen) == 20:
            dropped.close()  # type: ignore[attr-defined]
        return False

    list(armed(generation(tiny_model("llama"), PROMPT, SHORT), finest, stop=drop_it))
    assert len(seen) > 150
    assert sys.gettrace() is None
