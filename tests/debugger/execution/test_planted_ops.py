"""Planted values that are not finite: `break nonfinite` at op depth names the op, its operands, the line and module."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from transformers import PreTrainedModel

from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends.answers import answer_lines
from llmdbg.frontends.answers.stops import stop_line
from llmdbg.models.spec import LoadedModel
from llmdbg.models.stages import StageKind
from llmdbg.models.tokens import Prompt, encode_prompt
from tests.sessions import do, here
from tests.tiny import attention_implementations, tiny_model


def session_of(model: PreTrainedModel, padding: int = 0) -> Debugger:
    prompt = encode_prompt(None, "Hello there", vocabulary_size=128)
    prompt = Prompt(prompt.ids, prompt.text, padding=padding)
    loaded = LoadedModel("planted", model, None, str(model.config._attn_implementation))
    return Debugger(Generation(loaded, prompt, GenerationSettings(max_new_tokens=2, greedy=True)))


def first_op(model: PreTrainedModel) -> Debugger:
    session = session_of(model)
    do(session, "set depth op", "break nonfinite", "continue")
    return session


def test_a_zeroed_norm_weight_with_eps_0():
    model: Any = tiny_model("qwen3")
    layer = model.model.layers[1]
    layer.input_layernorm.weight.data.zero_()
    layer.self_attn.q_norm.variance_epsilon = 0.0
    session = first_op(model)
    # Zeros come in, and the norm divides by their length.
    assert here(session) == "1.self_attn.q_norm/rsqrt.0@0"
    assert "44 infinite, output[0,0,0,0] = inf, of self float32[1,11,4,1] 0…0" in session.stop.why
    code = session.stop.code
    assert code is not None
    assert (code.operation, code.function) == ("aten.rsqrt.default", "Qwen3RMSNorm.forward")
    assert "torch.rsqrt(variance + self.variance_epsilon)" in code.text
    assert code.where.startswith("modeling_qwen3.py:")
    line = stop_line(session.stop)
    assert all(each in line for each in ("breakpoint 1", session.stop.why, code.where, code.text))


def test_an_overflow_that_is_finite_again_after_the_module():
    model: Any = tiny_model("llama", dtype=torch.float16)
    down = model.model.layers[0].mlp.down_proj

    def undo(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        return output.clamp(-10, 10)

    down.weight.data.mul_(60000)
    down.register_forward_hook(undo)
    session = session_of(model)
    do(session, "break nonfinite", "continue")
    assert session.end is not None, "no module returns anything that is not finite"
    session = first_op(model)
    assert here(session) == "0.mlp.down_proj/mm.0@0"
    assert "mat2 float16[64,32]" in session.stop.why
    assert [each.name for each in session.stop.takes] == ["self", "mat2"]
    assert session.stop.code is not None
    assert "self.down_proj(" in session.stop.code.text
    assert session.stop.stage.module == "model.layers.0.mlp.down_proj"


def test_a_fully_masked_row():
    model: Any = tiny_model("llama", attn="eager")
    attention = model.model.layers[1].self_attn

    def mask_a_row(_module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        mask = kwargs["attention_mask"].clone()
        mask[..., 3, :] = -math.inf
        return args, {**kwargs, "attention_mask": mask}

    attention.register_forward_pre_hook(mask_a_row, with_kwargs=True)
    session = first_op(model)
    assert here(session) == "1.self_attn/_softmax.0@0"
    assert "44 NaN, output[0,0,3,0] = nan" in session.stop.why
    assert session.stop.code is not None
    assert session.stop.code.function == "eager_attention_forward"
    assert "softmax" in session.stop.code.text


@pytest.mark.parametrize("attn", ["eager", "sdpa"])
def test_an_attention_scale_of_infinity(attn):
    model: Any = tiny_model("llama", attn=attn)
    model.model.layers[0].self_attn.scaling = math.inf
    session = first_op(model)
    op = "mul" if attn == "eager" else "_scaled_dot_product_flash_attention_for_cpu"
    address = session.stop.stage.address
    assert address.startswith(f"0.self_attn/{op}.")
    assert "inf" in session.stop.why.partition(", of ")[2], "the scale is among the operands"
    assert session.stop.code is not None
    assert session.stop.code.function == ("eager_attention_forward" if attn == "eager" else "sdpa_attention_forward")


OUTSIDE = torch.tensor([math.nan, 0, 0, 0])
ENDLESS = torch.tensor([math.inf, 0, 1, 1])


def written_into(blank: torch.Tensor, place: Any) -> torch.Tensor:
    blank[place] = math.nan
    return blank


def written_by_numpy(blank: torch.Tensor) -> torch.Tensor:
    blank.numpy()[1] = math.nan
    return blank


CONSTANTS: dict[str, Callable[[], torch.Tensor]] = {
    "lift_fresh of a tensor": lambda: torch.tensor(math.nan),
    "lift_fresh of an item": lambda: written_into(torch.zeros(4), 0),
    "lift_fresh of a mask": lambda: written_into(torch.zeros(4), torch.zeros(4) == 0),
    "fill_": lambda: torch.zeros(4).fill_(math.nan),
    "masked_fill_": lambda: torch.zeros(4).masked_fill_(torch.zeros(4) == 0, math.nan),
    "full": lambda: torch.full((4,), math.nan),
    "log_": lambda: torch.zeros(4).sub_(1).log_(),
    "scatter_": lambda: torch.zeros(4).scatter_(0, torch.tensor([1]), math.nan),
    "lift_fresh of NumPy": lambda: torch.from_numpy(numpy.array([1, math.nan, 0, 0], dtype="f4")),
    "add": lambda: written_by_numpy(torch.zeros(4)) + 1,
    "sub": lambda: torch.ones(4) - OUTSIDE,
    "div": lambda: torch.ones(4) / ENDLESS,
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_that_is_written(name):
    op = name.partition(" ")[0]
    model: Any = tiny_model("llama")
    plain = model.model.layers[1].mlp.forward

    def with_a_constant(x: torch.Tensor) -> torch.Tensor:
        return plain(x) + CONSTANTS[name]().nan_to_num(0, 0, 0).sum() * 0

    model.model.layers[1].mlp.forward = with_a_constant
    session = first_op(model)
    assert here(session).startswith(f"1.mlp/{op}."), session.stop.why
    assert session.stop.stage.module == "model.layers.1.mlp"
    assert ", of " in session.stop.why
    code = session.stop.code
    assert code is not None
    assert code.where.startswith("test_planted_ops.py:")
    do(session, "continue")
    assert here(session).startswith(f"1.mlp/{op}.") and session.stop.token == 1, "what takes it is no beginning"


def test_a_weight_is_named_at_the_op_that_takes_it():
    model: Any = tiny_model("llama")
    model.model.layers[1].input_layernorm.weight.data[3] = math.nan
    session = first_op(model)
    assert here(session) == "1.input_layernorm/mul.1@0"
    assert "with 1 NaN" in session.stop.why.partition(", of ")[2]
    do(session, "set depth op", "continue")
    assert session.stop.stage.kind is StageKind.MODULE, "no later op is a beginning"


def test_masks_are_no_fault():
    model: Any = tiny_model("llama", attn="eager")
    plain = model.model.rotary_emb.forward

    def with_masks(*args: Any, **kwargs: Any) -> Any:
        # As models make them: filled, chosen, of a constant, in place, and in memory that anything may be in.
        blank = torch.empty(4, 4)
        blank.fill_(math.nan).zero_()
        rows = torch.full((4, 4), -math.inf).triu(1)
        torch.zeros(4, 4).masked_fill(rows < 0, -math.inf)
        torch.where(rows < 0, torch.tensor(-math.inf), rows)
        rows.softmax(-1)
        return plain(*args, **kwargs)

    model.model.rotary_emb.forward = with_masks
    session = first_op(model)
    # That of the constant NaN, which nothing explains, and no other.
    assert here(session) == "model.rotary_emb/fill_.0@0"
    do(session, "continue")
    assert here(session) == "model.rotary_emb/fill_.0@1"
    do(session, "continue")
    assert session.end is not None


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_neo", "mamba", "mixtral"])
def test_a_model_without_a_fault_is_not_stopped(name):
    for attn in attention_implementations(name) or (None,):
        session = session_of(tiny_model(name, attn=attn), padding=3 if attn else 0)
        do(session, "set depth op", "break nonfinite", "continue")
        assert session.end is not None, f"{here(session)}: {session.stop.why}"


def test_it_goes_on_at_module_depth_as_ever_and_json_says_all():
    model: Any = tiny_model("qwen3")
    layer = model.model.layers[1]
    layer.input_layernorm.weight.data.zero_()
    layer.self_attn.q_norm.variance_epsilon = 0.0
    session = session_of(model)
    do(session, "break nonfinite", "continue")
    assert here(session) == "1.self_attn.q_norm@0"
    assert answer_lines(session.stop)


def test_the_way_back_finds_where_it_began():
    model: Any = tiny_model("qwen3")
    layer = model.model.layers[1]
    layer.input_layernorm.weight.data.zero_()
    layer.self_attn.q_norm.variance_epsilon = 0.0
    session = first_op(model)
    why = session.stop.why
    # Zero times infinity is NaN: that begins here.
    do(session, "continue")
    assert here(session) == "1.self_attn.q_norm/mul.0@0"
    do(session, "reverse-continue")
    assert here(session) == "1.self_attn.q_norm/rsqrt.0@0"
    assert session.stop.why == why
    do(session, "reverse-continue")
    assert here(session) == "tokenize@0"
