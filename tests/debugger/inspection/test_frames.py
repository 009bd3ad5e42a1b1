"""The Python frames of the suspended forward: their order, selecting one, its source and its locals."""

from __future__ import annotations

import inspect

import pytest
import torch
from transformers.models.llama import modeling_llama

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.described import MOST, described
from llmdbg.debugger.inspection.frames import FrameList, FrameRow
from llmdbg.debugger.inspection.local_values import Locals
from llmdbg.debugger.inspection.source import SourceCode
from llmdbg.errors import CommandError
from llmdbg.frontends.answers import answer_json, answer_lines
from llmdbg.probes.statistics import Statistics
from tests.sessions import do, tiny_session


def frames_at(address: str, name: str = "llama") -> tuple[Debugger, FrameList]:
    session = tiny_session(name)
    do(session, f"until {address}")
    found = do(session, "info frames").data
    assert isinstance(found, FrameList)
    return session, found


def source_of(session: Debugger, line: str = "info source") -> SourceCode:
    found = do(session, line).data
    assert isinstance(found, SourceCode)
    return found


def locals_of(session: Debugger) -> dict[str, str]:
    found = do(session, "info locals").data
    assert isinstance(found, Locals)
    return {each.name: each.text for each in found.rows}


def test_from_the_caller_of_the_module_down_to_generate() -> None:
    _, found = frames_at("1.self_attn")
    functions = [(each.number, each.address, each.function) for each in found.rows]
    assert functions[:4] == [
        (-1, "1.self_attn", "LlamaAttention.forward"),
        (0, "1", "LlamaDecoderLayer.forward"),
        (1, "", "LlamaModel.forward"),
        (2, "", "LlamaForCausalLM.forward"),
    ]
    assert functions[-1][2].endswith("generate")
    assert [each.number for each in found.rows] == list(range(-1, len(found.rows) - 1))
    assert found.rows[1].code.startswith("hidden_states, _ = self.self_attn("), "the line that called it"
    assert found.rows[1].selected
    assert "1.self_attn (LlamaAttention) has returned" in found.note
    assert not any("llmdbg" in each.file or "_call_impl" in each.function for each in found.rows)


@pytest.mark.parametrize("address", ["logits", "sample"])
def test_between_two_forwards_only_what_called_the_loop_is_left(address: str) -> None:
    _, found = frames_at(address)
    assert {each.function.rpartition(".")[2] for each in found.rows if each.number >= 0} == {"generate"}


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "gpt2", "mamba"])
def test_every_stage_of_any_architecture_has_frames(name: str) -> None:
    session = tiny_session(name, max_new_tokens=1)
    while session.end is None:
        found = do(session, "backtrace").data
        assert found.rows[-1].function.endswith("generate"), session.stop.stage
        assert all(each.line and each.code for each in found.rows if each.number >= 0)
        do(session, "info source", "info locals")
        do(session, "step")


def test_up_and_down_select_and_source_follows() -> None:
    session, _ = frames_at("1.self_attn")
    here = source_of(session)
    lines, first = inspect.getsourcelines(inspect.unwrap(modeling_llama.LlamaDecoderLayer.forward))
    assert (here.name, here.address, here.first_line) == ("LlamaDecoderLayer.forward", "1", first)
    assert list(here.lines) == [each.rstrip() for each in lines]
    assert "self.self_attn(" in here.lines[here.current - here.first_line]
    assert "has returned" in here.note

    moved = do(session, "up").data
    assert isinstance(moved, FrameRow)
    assert (moved.number, moved.function) == (1, "LlamaModel.forward")
    above = source_of(session)
    assert (above.name, above.note) == ("LlamaModel.forward", "")
    assert "decoder_layer(" in above.lines[above.current - above.first_line]

    do(session, "down 9")
    own = source_of(session)
    assert (own.name, own.current, own.frame) == ("LlamaAttention.forward", 0, -1)
    assert "innermost" in refusal(session, "down")
    do(session, "up 99")
    assert "outermost" in refusal(session, "up")
    assert do(session, "frame").data.function.endswith("generate")
    assert "there is no frame 77: they are -1 to " in refusal(session, "frame 77")
    assert do(session, "frame 1").data.function == "LlamaModel.forward"
    do(session, "next")
    assert do(session, "frame").data.number == 0, "another stop begins with its innermost frame"


def test_a_question_that_reruns_the_token_leaves_the_selection() -> None:
    session, _ = frames_at("1.self_attn")
    do(session, "up", "info cost")
    assert do(session, "frame").data.number == 1


def test_the_source_of_any_stage_can_be_asked_for() -> None:
    session, _ = frames_at("1.self_attn")
    found = source_of(session, "info source 0.mlp")
    assert (found.name, found.address, found.current, found.frame) == ("LlamaMLP.forward", "0.mlp", 0, None)
    assert source_of(session, "info source logits").name == "Linear.forward"
    assert "is not one module" in refusal(session, "info source *.mlp")
    assert "is not one module" in refusal(session, "info source sample")


def test_locals_are_a_line_each_and_shapes_come_first() -> None:
    session, _ = frames_at("1.self_attn")
    found = locals_of(session)
    assert found["self"] == "LlamaDecoderLayer 1"
    assert found["residual"] == found["hidden_states"] == "[1, 11, 32] float32 cpu"
    assert found["use_cache"] == "True"
    assert found["past_key_values"] == "DynamicCache object"
    assert found["position_embeddings"] == "tuple of 2 values: [1, 11, 8] float32 cpu, [1, 11, 8] float32 cpu"
    lines = answer_lines(do(session, "info locals").data)
    assert "  residual             [1, 11, 32] float32 cpu" in lines
    do(session, "down")
    gone = do(session, "info locals").data
    assert (gone.rows, gone.note) == ((), "1.self_attn has returned: its locals are gone")


def test_one_local_in_full() -> None:
    session, _ = frames_at("1.self_attn")
    numbers = do(session, "info locals residual").data
    assert isinstance(numbers, Statistics)
    assert numbers.numbers is not None
    before = session.inspector.replay.run.event
    with torch.no_grad():
        expected = float(do_print(session, "residual.norm().item()"))
    assert numbers.numbers.norm == pytest.approx(expected, rel=1e-5)
    assert session.inspector.event is before
    part = do(session, "info locals position_embeddings.1").data
    assert isinstance(part, Statistics)
    assert part.shape == (1, 11, 8)
    assert do(session, "info locals use_cache").data == "True"
    assert "'residul' is no local of this frame: the nearest is 'residual'" in refusal(session, "info locals residul")
    assert "'7' is no part" in refusal(session, "info locals position_embeddings.7")


def test_print_sees_copies_of_the_selected_frames_locals() -> None:
    session, _ = frames_at("1.self_attn")
    assert do_print(session, "type(self).__name__") == "'LlamaDecoderLayer'"
    assert do_print(session, "residual.zero_().sum().item()") == "0.0"
    assert do_print(session, "bool(residual.abs().sum() > 0)") == "True", "a copy was zeroed"
    do(session, "up")
    assert do_print(session, "type(self).__name__") == "'LlamaModel'"
    assert "residual" in refusal(session, "print residual")
    assert do_print(session, "out is not None") == "True"


def test_frames_are_only_looked_at() -> None:
    session = tiny_session(max_new_tokens=3, greedy=False, temperature=1.0, seed=3)
    while session.end is None:
        do(session, "info frames", "info locals", "info source")
        do(session, "step")
    assert do(session, "verify").data.differs is None


def test_answers_as_json_and_lines() -> None:
    session, found = frames_at("0.mlp.down_proj")
    rows = answer_json(found)["rows"]
    assert [each["number"] for each in rows[:2]] == [-1, 0]
    lines = answer_lines(found)
    assert lines[2].startswith("   returned  0.mlp.down_proj  Linear.forward")
    assert lines[3].startswith(">  #0        0.mlp            LlamaMLP.forward")
    (line,) = answer_lines(do(session, "up").data)
    assert line.startswith("#1  0  LlamaDecoderLayer.forward  modeling_llama.py:")
    marked = [each for each in answer_lines(do(session, "info source").data) if each.startswith(">")]
    assert len(marked) == 1
    assert marked[0].endswith("hidden_states = self.mlp(hidden_states)")


class Loud:
    """Its representation must not be asked for."""

    def __repr__(self) -> str:
        raise AssertionError


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (Loud(), "Loud object"),
        ([Loud()] * 9, "list of 9 values: Loud object, Loud object, Loud object, Loud object, …"),
        ({"a": torch.zeros(2, 3), 1: None}, "dict of 2 values: 'a': [2, 3] float32 cpu, 1: None"),
        ((), "empty tuple"),
        (10**4000, "an int of 13288 bits"),
        (torch.float16, "torch.float16"),
        (torch.Size((2, 3)), "torch.Size([2, 3])"),
        (Loud, "class Loud"),
        (torch.nn.Linear(2, 2), "Linear"),
    ],
)
def test_any_value_in_one_line(value: object, line: str) -> None:
    assert described(value, {}) == line


def test_a_line_is_short_whatever_the_value() -> None:
    deep: list[object] = []
    for _ in range(1000):
        deep = [deep, "x" * 10_000]
    assert len(described(deep, {})) <= MOST
    assert len(described("x" * 10_000, {})) <= MOST


def do_print(session: Debugger, source: str) -> str:
    return str(do(session, f"print {source}").data)


def refusal(session: Debugger, line: str) -> str:
    with pytest.raises(CommandError) as caught:
        do(session, line)
    return str(caught.value)


def test_of_a_long_function_the_lines_around_the_current_one_are_shown() -> None:
    session, _ = frames_at("1")
    do(session, "up 99")
    found = source_of(session)
    lines = answer_lines(found)
    assert len(found.lines) > 100 > len(lines)
    assert lines[1].startswith("   … ") and lines[1].endswith(" lines")
    assert lines[-1].endswith(found.lines[-1]), "the loop is called near the end"
    (marked,) = (each for each in lines if each.startswith(">"))
    assert marked.split()[1] == str(found.current)
