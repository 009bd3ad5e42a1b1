"""Listening to an attention: it hears what the kernel got, changes nothing, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from llmdbg.engine._compat import function_modes
from llmdbg.engine.attention_capture import AttentionCapture
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.stage_event import StageEvent
from llmdbg.errors import GenerationError
from llmdbg.models.anatomy import dissect
from llmdbg.models.attentions import KernelCall, attentions
from tests.attention_kernels import opaque_kernel, registered
from tests.engine.runs import GREEDY, PROMPT, generation, hooks_on
from tests.tiny import tiny_model


def _functions() -> dict[str, Callable[..., object]]:
    return {name: ALL_ATTENTION_FUNCTIONS[name] for name in ALL_ATTENTION_FUNCTIONS.valid_keys()}


@pytest.fixture(autouse=True)
def _nothing_stays_behind():
    before = _functions()
    yield
    assert _functions() == before
    assert function_modes() == 0


def _engine(model: PreTrainedModel) -> Generation:
    return generation(model, PROMPT, GREEDY)


def _run(model: PreTrainedModel, heard: bool) -> tuple[dict[int, int], list[tuple[KernelCall, ...]]]:
    """The fingerprints of a whole run, and what was heard in it, looking only at shapes."""
    engine, calls = _engine(model), []
    addresses = [stage.address for stage in attentions(engine.anatomy)]

    def look(event: StageEvent) -> bool:
        if event.stage.address in addresses:
            calls.append(event.kernel_calls)
            assert function_modes() == 0, "capture ends with the attention"
        return False

    stages = engine.events()
    next(stages)
    if heard:
        engine.stops.capture_kernels(addresses)
    engine.stops.arm([*addresses, "sample"], look)
    for _ in stages:
        pass
    return engine.timeline.fingerprints(), calls


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "gpt_oss", "gpt2", "deepseek_v3", "zamba2", "mamba"])
def test_logits_are_bitwise_the_same(name: str) -> None:
    model = tiny_model(name)
    silent, nothing = _run(model, heard=False)
    heard, calls = _run(model, heard=True)
    assert heard == silent
    assert not any(nothing)
    assert all(calls)
    assert hooks_on(model) == 0


def test_sdpa_is_captured_by_its_arguments() -> None:
    _, calls = _run(tiny_model("llama", attn="sdpa"), heard=True)
    (prefill,) = calls[0]
    assert prefill.kernel == "scaled_dot_product_attention"
    assert prefill.query is not None
    assert prefill.key is not None
    assert prefill.query.shape == (1, 4, len(PROMPT), 8)
    assert prefill.key.shape[-2:] == (len(PROMPT), 8)
    assert prefill.output is not None
    assert prefill.output.shape == (1, 4, len(PROMPT), 8)


def test_a_kernel_of_the_users_own_is_captured_through_the_interface() -> None:
    with registered("opaque", opaque_kernel) as attn:
        model = tiny_model("gemma2", attn=attn)
        silent, _ = _run(model, heard=False)
        heard, calls = _run(model, heard=True)
    assert heard == silent
    (call,) = calls[0]
    assert call.kernel == "opaque"
    assert call.options["softcap"] == model.config.attn_logit_softcapping


def test_a_kernel_that_calls_sdpa_is_captured_there() -> None:
    with registered("wrapping", ALL_ATTENTION_FUNCTIONS["sdpa"]) as attn:
        _, calls = _run(tiny_model("llama", attn=attn), heard=True)
    (call,) = calls[0]
    assert (call.kernel, call.within) == ("scaled_dot_product_attention", "wrapping")


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
def test_a_forward_that_fails_inside_an_attention_leaves_nothing(attn: str) -> None:
    model = tiny_model("llama", attn=attn)
    engine = _engine(model)
    stages = engine.events()
    next(stages)
    engine.stops.capture_kernels(["0.self_attn"])
    engine.stops.arm(["0.self_attn"])

    def fail(*_: object) -> None:
        raise RuntimeError("as if")

    handle = model.model.layers[0].self_attn.o_proj.register_forward_pre_hook(fail)
    with pytest.raises(GenerationError, match="as if"):
        next(stages)
    handle.remove()
    assert hooks_on(model) == 0


def test_an_attention_whose_failure_the_model_catches_leaves_nothing() -> None:
    model = tiny_model("llama")
    capture = AttentionCapture(dissect(model), lambda: True)
    capture.capture(frozenset(("0.self_attn",)))
    with pytest.raises(TypeError):
        model.model.layers[0].self_attn()
    assert function_modes() == 0
    assert capture.calls("0.self_attn") == ()
    capture.forget()
    assert hooks_on(model) == 0


def test_a_run_that_is_given_up_inside_an_attention_leaves_nothing() -> None:
    model = tiny_model("llama")
    engine = _engine(model)
    stages = engine.events()
    next(stages)
    engine.stops.capture_kernels(["0.self_attn"])
    engine.stops.arm(["0.self_attn", "0.self_attn.o_proj"])
    assert next(stages).stage.address == "0.self_attn.o_proj"
    assert function_modes() == 0, "a suspended forward keeps its modes to itself"
    stages.close()
    assert hooks_on(model) == 0


def test_listening_may_end_while_the_attention_runs() -> None:
    model = tiny_model("llama")
    engine = _engine(model)
    stages = engine.events()
    next(stages)
    engine.stops.capture_kernels(["0.self_attn"])
    engine.stops.arm(["0.self_attn", "0.self_attn.o_proj"])
    next(stages)
    engine.stops.capture_kernels(["1.self_attn"])
    engine.stops.arm(["0.self_attn", "1.self_attn"])
    first = next(stages)
    assert (first.stage.address, first.kernel_calls) == ("0.self_attn", ())
    second = next(stages)
    assert second.stage.address == "1.self_attn"
    assert len(second.kernel_calls) == 1
    stages.close()
    assert hooks_on(model) == 0


def test_another_models_attention_is_not_captured() -> None:
    with registered("opaque", opaque_kernel) as attn:
        model, other = tiny_model("llama", attn=attn), tiny_model("llama", attn=attn)
        engine = _engine(model)
        stages = engine.events()
        next(stages)
        engine.stops.capture_kernels(["0.self_attn"])
        engine.stops.arm(["0.self_attn.q_proj", "0.self_attn"])
        next(stages)
        with torch.no_grad():
            other(torch.tensor([PROMPT]))
        event = next(stages)
        assert len(event.kernel_calls) == 1
        stages.close()


def test_an_event_lets_go_of_what_was_captured() -> None:
    engine = _engine(tiny_model("llama"))
    stages = engine.events()
    next(stages)
    engine.stops.capture_kernels(["0.self_attn"])
    engine.stops.arm(["0.self_attn"])
    event = next(stages)
    assert event.kernel_calls
    next(stages)
    assert event.kernel_calls == ()
    stages.close()
