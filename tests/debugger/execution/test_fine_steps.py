"""Stepping by lines and by ops, forward and back, and breakpoints at them."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmdbg.debugger.debugger import Debugger
from llmdbg.errors import AddressError, CommandError
from llmdbg.models.source_files import functions_in, lines_of, source_file
from llmdbg.models.stages import StageKind
from tests.sessions import do, here, tiny_session

# Lines are stopped at by a trace function of ours, and coverage has one of its own.
pytestmark = pytest.mark.untraced


def text(session: Debugger) -> str:
    """The source line of the stop."""
    return "" if session.stop.code is None else session.stop.code.text


def line_with(session: Debugger, module: str, wanted: str) -> int:
    """The first line of a module's file that holds `wanted`."""
    lines = Path(source_file(session.debuggee.anatomy.modules[module])).read_text().splitlines()
    return next(number for number, each in enumerate(lines, 1) if wanted in each)


def test_step_goes_from_line_to_line_into_calls_next_goes_over_them_and_finish_out():
    session = tiny_session("llama")
    do(session, "until 0.input_layernorm", "set depth line", "step")
    assert session.stop.stage.kind is StageKind.LINE
    assert (session.stop.stage.address.partition(":")[0], session.stop.stage.module) == ("0", "model.layers.0")
    assert text(session).startswith("hidden_states, _ = self.self_attn(")
    do(session, "step")
    assert here(session).startswith("0.self_attn:")
    rotary = line_with(session, "0.self_attn", "query_states, key_states = apply_rotary_pos_emb(")
    do(session, f"until 0.self_attn:{rotary}", "step")
    assert session.stop.code is not None
    assert session.stop.code.function == "apply_rotary_pos_emb"
    do(session, "finish")
    assert session.stop.code.function != session.stop.code.text
    assert int(session.stop.stage.address.partition(":")[2]) == rotary + 2
    do(session, f"goto 0.self_attn:{rotary}", "next")
    assert int(session.stop.stage.address.partition(":")[2]) == rotary + 2
    do(session, "finish")
    assert here(session) == "0.self_attn@0", "out of a forward is the end of its module"
    do(session, "step")
    assert text(session) == "hidden_states = residual + hidden_states"


def test_a_whole_token_by_lines_ends_where_the_token_is_chosen():
    session = tiny_session("llama")
    do(session, "set depth line", "next")
    seen = [here(session)]
    while session.stop.stage.kind is not StageKind.SAMPLE:
        do(session, "next")
        seen.append(here(session))
    # Over everything that the outermost forward calls.
    assert all(each.startswith("forward:") for each in seen[:-2])
    assert seen[-2:] == ["logits@0", "sample@0"]
    do(session, "step")
    assert here(session).startswith("forward:")
    assert session.stop.token == 1


def test_back_by_lines_are_the_places_that_step_stopped_at():
    session = tiny_session("llama")
    do(session, "until 1.input_layernorm", "set depth line")
    forward = []
    for _ in range(12):
        do(session, "step")
        forward.append(here(session))
    backward = []
    for _ in range(11):
        do(session, "reverse-step")
        backward.append(here(session))
    assert backward == forward[-2::-1]
    do(session, "step 11")
    assert here(session) == forward[-1]
    do(session, "reverse-next 2")
    assert here(session) in forward


def test_back_over_the_first_line_is_the_choice_of_the_token_before():
    session = tiny_session("llama")
    do(session, "token", "set depth line", "step", "reverse-step")
    assert here(session) == "sample@0"
    do(session, "reverse-step 2")
    assert here(session).startswith("forward:")
    do(session, "reverse-step 9999")
    assert here(session) == "tokenize@0"


def test_step_goes_from_op_to_op_and_back():
    session = tiny_session("llama")
    do(session, "until 0.self_attn.q_proj", "set depth op")
    forward = []
    for _ in range(6):
        do(session, "step")
        forward.append(here(session))
    assert forward[:3] == ["0.self_attn/view.0@0", "0.self_attn/transpose.0@0", "0.self_attn.k_proj/t.0@0"]
    assert text(session).startswith("key_states = self.k_proj(")
    for wanted in forward[-2::-1]:
        do(session, "reverse-step")
        assert here(session) == wanted
    do(session, "next 2")
    assert here(session) == "0.self_attn/view.1@0", "over the ops of k_proj"
    do(session, "finish")
    assert here(session) == "0.self_attn@0"


def test_stepi_is_one_op_at_any_depth():
    session = tiny_session("llama")
    do(session, "until 0.mlp.up_proj", "stepi")
    assert here(session) == "0.mlp/mul.0@0"
    assert [each.name for each in session.stop.takes] == ["self", "other"]
    do(session, "stepi 2")
    assert here(session).startswith("0.mlp.down_proj/")
    do(session, "step")
    assert here(session) == "0.mlp.down_proj@0"
    assert session.stop.code is None


def test_an_op_is_numbered_the_same_however_it_is_reached():
    session = tiny_session("llama")
    do(session, "goto 0.self_attn/mul.3")
    direct = session.stop
    # From the middle of the module: its ops have been counted from its beginning all the same.
    do(session, "goto 0.self_attn.v_proj", "break 0.self_attn/mul.3", "continue")
    assert (session.stop.stage, session.stop.tensor) == (direct.stage, direct.tensor)
    assert session.stop.breakpoint == 1


def test_breakpoints_at_lines_stop_in_every_module_that_runs_them():
    session = tiny_session("llama")
    line = line_with(session, "norm", "return self.weight * hidden_states")
    do(session, f"break modeling_llama.py:{line}")
    stops = []
    for _ in range(6):
        do(session, "continue")
        stops.append(here(session))
    norms = [f"{layer}.{name}_layernorm" for layer in range(2) for name in ("input", "post_attention")]
    assert stops == [f"{each}:{line}@0" for each in (*norms, "norm")] + [f"0.input_layernorm:{line}@1"]
    do(session, "reverse-continue")
    assert here(session) == f"norm:{line}@0"
    do(session, "delete", f"break 1.mlp:{line_with(session, '1.mlp', 'down_proj = self.down_proj(')}@2", "continue")
    assert here(session).startswith("1.mlp:")
    assert session.stop.token == 2


def test_a_function_may_be_named_instead_of_a_line():
    session = tiny_session("llama")
    file = source_file(session.debuggee.anatomy.modules["0.mlp"])
    [code] = [each for each in functions_in(file) if each.co_qualname == "LlamaMLP.forward"]
    do(session, "break 0.mlp:forward", "break modeling_llama.py:rotate_half", "continue")
    assert session.stop.code is not None
    assert session.stop.code.function == "rotate_half"
    do(session, "delete 2", "continue")
    assert here(session) == f"0.mlp:{min(lines_of(code))}@0"


def test_breakpoints_at_ops_take_patterns_and_conditions():
    session = tiny_session("llama")
    do(session, "break op aten.rsqrt* if layer == 1 and max > 0", "continue")
    assert here(session) == "1.input_layernorm/rsqrt.0@0"
    assert session.stop.tensor is not None
    assert session.stop.why == f"layer 1 == 1 and max {session.stop.tensor.numbers.max:.4g} > 0"
    do(session, "delete", "break *.mlp/mul", "continue", "continue")
    assert here(session) == "0.mlp/mul.0@1"
    do(session, "delete", "trace op softmax absmax", "break op silu", "continue")
    assert here(session) == "1.mlp.act_fn/silu.0@1"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("break 0.mlp:1", "line 1 of modeling_llama.py runs nothing: the nearest with code is"),
        ("break 0.mlp:99999", "line 99999 of modeling_llama.py runs nothing"),
        ("break 0.mlp:nowhere", "no function is called 'nowhere' in modeling_llama.py"),
        ("break 0.mpl:3", "no module is called '0.mpl'"),
        (
            "break modeling_mistral.py:174",
            "no module's forward is in 'modeling_mistral.py': they are in modeling_llama.py",
        ),
        ("break op soft max", "no stage is called"),
        ("zero 0.mlp/mul.0", "0.mlp/mul.0 is finer than a module"),
        ("x 0.mlp/mul.0", "0.mlp/mul.0 is finer than a module"),
    ],
)
def test_what_is_no_line_and_no_op_is_refused(line, said):
    session = tiny_session("llama")
    do(session, "until 0.mlp")
    with pytest.raises((AddressError, CommandError)) as refused:
        do(session, line)
    assert said in str(refused.value)
    assert here(session) == "0.mlp@0"


def test_a_line_that_another_class_runs_is_refused():
    session = tiny_session("llama")
    line = line_with(session, "norm", "return self.weight * hidden_states")
    with pytest.raises(AddressError, match=r"is in LlamaRMSNorm\.forward, which 0\.mlp does not run"):
        do(session, f"break 0.mlp:{line}")


def test_the_tokens_are_those_of_a_run_that_was_not_stepped():
    session, plain = tiny_session("llama"), tiny_session("llama")
    do(plain, "continue")
    do(session, "set depth op", "step 30", "set depth line", "step 30", "reverse-step 3", "token", "step 9", "continue")
    assert session.run.generated_ids() == plain.run.generated_ids()
    assert not session.stop.differs


def test_depth_is_one_of_three():
    session = tiny_session("llama")
    with pytest.raises(CommandError, match="set depth takes module, line or op, not 'foo'"):
        do(session, "set depth foo")
