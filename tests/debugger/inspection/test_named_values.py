"""Every value that a stage takes or returns, by name: routing weights and chosen experts, masks, tuples and dicts."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.values_answer import Values
from llmdbg.debugger.named_values import given, returned
from llmdbg.engine.stage_event import StageEvent
from llmdbg.errors import LlmdbgError
from llmdbg.frontends.answers import answer_json, answer_lines
from llmdbg.frontends.batch.events import stop_event
from llmdbg.models.call_names import argument_names, return_names
from llmdbg.models.stages import Phase, Stage, StageKind
from tests.frontends.tui.states import drawn_pane, state_at, text
from tests.sessions import do, tiny_session

ROUTERS = {
    "mixtral": ("0.mlp.gate", ("router_logits", "router_scores", "router_indices")),
    "qwen3_moe": ("0.mlp.gate", ("router_logits", "router_scores", "router_indices")),
    "gpt_oss": ("0.mlp.router", ("router_logits", "router_scores", "router_indices")),
    "olmoe": ("0.mlp.gate", ("router_logits", "router_scores", "router_indices")),
    "deepseek_v3": ("1.mlp.gate", ("router_logits", "topk_weights", "topk_indices")),
}


def asked(session: Debugger, line: str) -> Values:
    found = do(session, line).data
    assert isinstance(found, Values), found
    return found


def untouched(session: Debugger, address: str) -> list[tuple[Any, Any]]:
    """What a module took and returned in the forwards of an untouched `generate()`."""
    model, found = session.inspector.model, []
    module = session.debuggee.anatomy.modules[address]
    hook = module.register_forward_hook(
        lambda _m, args, kwargs, out: found.append(({**kwargs, "args": args}, out)), with_kwargs=True
    )
    model.generate(torch.tensor([session.debuggee.prompt.ids]), max_new_tokens=2, do_sample=False)
    hook.remove()
    return found


@pytest.mark.parametrize("token", [0, 1])
@pytest.mark.parametrize("name", ROUTERS)
def test_routing_weights_and_chosen_experts_are_there_with_their_names(name: str, token: int) -> None:
    address, names = ROUTERS[name]
    expected = untouched(tiny_session(name), address)[token][1]
    session = tiny_session(name)
    do(session, f"goto {address}@{token}")

    assert [each.name for each in session.stop.returns] == list(names)
    for here in ("", address):
        do(session, f"goto {address}@{token}" if not here else f"goto logits@{token}")
        for index, (each, tensor) in enumerate(zip(names, expected, strict=True)):
            for word in (each, index):
                found = asked(session, f"x {here + '.' if here else ''}return.{word}[...]")
                assert list(found.numbers) == tensor.double().flatten().tolist()[:128]
                assert (found.address, found.value, found.shape) == (address, str(word), tuple(tensor.shape))
    chosen = asked(session, f"info values {address}.return.{names[2]}")
    assert list(chosen.numbers) == expected[2][-1].tolist(), "the experts of the focus alone"
    assert f"output {names[2]} of token {token}" in answer_lines(chosen)[0]


def test_they_are_in_info_stage_json_print_and_the_pane() -> None:
    session = tiny_session("mixtral")
    do(session, "goto 0.mlp.gate")
    length = len(session.debuggee.prompt.ids)
    weights = f"router_logits float32[{length}, 4], router_scores float32[{length}, 2]"
    told = answer_lines(do(session, "info stage").data)
    assert f"returns {weights}, router_indices int64[{length}, 2]" in told
    names = ["router_logits", "router_scores", "router_indices"]
    assert [each["name"] for each in stop_event(session.stop)["returns"]] == names
    assert [each["name"] for each in answer_json(do(session, "info stage").data)["returns"]] == names
    assert do(session, "print list(returned)").data == repr(names)
    assert do(session, "print returned['router_indices'].shape").data == f"torch.Size([{length}, 2])"
    pane = text(drawn_pane("tensor", state_at(session, "tensor"), 60))
    assert f"router_indices {length}×2 int64" in pane


def test_what_python_writes_into_copies_changes_nothing() -> None:
    session = tiny_session("mixtral")
    do(session, "goto 0.mlp.gate")
    before = asked(session, "x return.router_indices[...]").numbers
    do(session, "print [each.zero_() for each in (*returned.values(), *given.values())]")
    assert asked(session, "x return.router_indices[...]").numbers == before


def test_an_edit_can_use_them() -> None:
    session = tiny_session("mixtral")
    do(session, "goto 0.mlp.gate")
    do(session, "edit out * 0 + returned['router_scores'].sum() + given['hidden_states'].shape[0]")
    length = len(session.debuggee.prompt.ids)
    # Two experts' weights sum to 1 at each position.
    numbers = asked(session, "x return.router_logits[...]").numbers
    assert numbers == pytest.approx((2.0 * length,) * len(numbers))


@pytest.mark.parametrize("attn", ["eager", "sdpa"])
def test_masks_are_there_by_the_arguments_name(attn: str) -> None:
    from tests.attention_kernels import session_over
    from tests.tiny import tiny_model

    session = session_over(tiny_model("mistral", attn=attn), attn)
    expected = untouched(session_over(tiny_model("mistral", attn=attn), attn), "1.self_attn")[0][0]
    do(session, "goto logits")
    mask = expected["attention_mask"]
    found = asked(session, "x 1.self_attn.in.attention_mask[...]")
    assert (
        list(found.numbers)
        == [each if mask.dtype == torch.bool else float(each) for each in mask.flatten().tolist()][:128]
    )
    cos = expected["position_embeddings"][0]
    assert (
        list(asked(session, "x 1.self_attn.in.position_embeddings.0[...]").numbers)
        == cos.double().flatten().tolist()[:128]
    )
    do(session, "goto 1.self_attn")
    [takes] = [line for line in answer_lines(do(session, "info stage").data) if line.startswith("takes ")]
    assert "hidden_states float32" in takes
    assert "attention_mask" in takes
    assert "position_embeddings.1" in takes
    assert "attention_mask" in [each["name"] for each in answer_json(do(session, "info stage").data)["takes"]]
    assert "takes" not in stop_event(session.stop)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "x 0.mlp.gate.return.experts",
            "returns no experts: it returns only router_logits, router_scores and router_indices",
        ),
        ("x 0.mlp.gate.return.3", "returns no 3"),
        ("x 0.mlp.gate.in.mask", "takes no mask: it takes only hidden_states"),
        ("x 0.mlp.return.1", "returns no 1: it returns a single value"),
        ("x 0.mlp.gate.weight.return.1", "is a parameter: only stages have outputs"),
        ("x 0.mlp.nothing.return.1", "no stage"),
    ],
)
def test_a_value_that_is_not_there_is_refused_with_those_that_are(line: str, said: str) -> None:
    session = tiny_session("mixtral")
    do(session, "goto logits")
    with pytest.raises(LlmdbgError, match=said):
        do(session, line)


def test_a_value_that_is_no_tensor_says_what_it_is() -> None:
    session = tiny_session("llama")
    do(session, "goto logits")
    assert "returns no numbers as attn_weights: it is NoneType" in do(session, "x 0.self_attn.return.attn_weights").data


class _Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


class _Module(nn.Module):
    def forward(self, x: Any, *rest: Any, scale: Any = None) -> Any:
        def inner() -> Any:
            return x, x, x

        if scale is None:
            return x, self.training, inner()
        return x, scale, x


def event(output: Any, *args: Any, **kwargs: Any) -> StageEvent:
    return StageEvent(Stage(StageKind.MODULE, "0.mlp"), Phase.PREFILL, 0, output, args, kwargs)


def test_names_come_from_keys_fields_and_the_source() -> None:
    one, two, three = (torch.full((n,), float(n)) for n in (1, 2, 3))
    assert argument_names(_Module()) == ("x",)
    assert return_names(_Module(), 3) == ("x", "", ""), "the two returns agree on the first alone"
    assert return_names(_Module(), 2) == ("", "")
    named = [name for name, _ in returned(event({"a": one, "b c": two, "d": [three, None, one]}), _Module())]
    assert named == ["a", "1", "d.0", "d.2"]
    assert [name for name, _ in returned(event(_Pair(one, two)), None)] == ["first", "second"]
    assert [name for name, _ in returned(event(one), _Module())] == [""]
    assert [name for name, _ in given(event(None, one, two, scale=three, cache=object()), _Module())] == [
        "x",
        "1",
        "scale",
    ]
