"""`info adapter`: the base's share and the adapter's at each wrapped module, against the plain definition."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.adapter_answer import AdapterShares
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import CommandError, UnableError
from llmdbg.frontends.answers import answer_json, answer_lines
from llmdbg.models.spec import LoadedModel
from llmdbg.models.tokens import encode_prompt
from tests.engine.program.test_programs import begun
from tests.sessions import do, tiny_session
from tests.tiny import tiny_model


def adapted_session(*, merged: bool = False) -> Debugger:
    import peft

    model = tiny_model("llama")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        torch.manual_seed(3)
        peft.inject_adapter_in_model(config, model)
    for each in model.modules():
        if merged and hasattr(each, "get_delta_weight"):
            each.merge()
    loaded = LoadedModel("tuned", model.eval(), None, "sdpa")
    prompt = encode_prompt(None, "Hello there", vocabulary_size=128)
    return Debugger(Generation(loaded, prompt, GenerationSettings(max_new_tokens=4, greedy=True)))


def asked(session: Debugger, line: str = "info adapter") -> AdapterShares:
    found = do(session, line).data
    assert isinstance(found, AdapterShares), found
    return found


def test_what_is_added_is_the_low_rank_product_times_the_scale() -> None:
    session = adapted_session()
    do(session, "goto 1.mlp.down_proj@2")
    (given,) = session.inspector.event.args
    module: Any = session.inspector.anatomy.modules["1.mlp.down_proj"]
    with torch.no_grad():
        base = module.base_layer(given).double()
        a, b = (getattr(module, name)["default"].weight.double() for name in ("lora_A", "lora_B"))
        added = given.double() @ a.T @ b.T * 3
    found = asked(session)
    assert [each.address for each in found.rows] == [
        f"{layer}.{path}" for layer in range(2) for path in ("self_attn.q_proj", "mlp.down_proj")
    ]
    row = found.rows[-1]
    assert (row.adapters, row.rank, row.scale, row.merged) == (("default",), 2, 3.0, False)
    assert row.base == pytest.approx(float(base.norm()), rel=1e-6)
    assert row.added == pytest.approx(float(added.norm()), rel=1e-4)
    cosine = nn.functional.cosine_similarity(base.flatten(), added.flatten(), 0)
    assert row.cosine == pytest.approx(float(cosine), abs=1e-4)
    assert row.share == pytest.approx(row.added / row.base)


def test_one_layer_or_one_module() -> None:
    session = adapted_session()
    assert {each.address for each in asked(session, "info adapter 1").rows} == {
        "1.self_attn.q_proj",
        "1.mlp.down_proj",
    }
    (only,) = asked(session, "info adapter 0.self_attn.q_proj").rows
    assert only.address == "0.self_attn.q_proj"
    with pytest.raises(CommandError, match="no adapter is applied at norm"):
        do(session, "info adapter norm")


def test_looking_changes_nothing_and_the_answer_is_told() -> None:
    session = adapted_session()
    do(session, "goto 1@1")
    stop = session.stop
    found = asked(session)
    assert session.stop == stop
    lines = answer_lines(found)
    assert lines[0] == "an adapter at 4 modules, in the forward of token 1"
    assert lines[1].split() == ["module", "adapters", "rank", "scale", "‖base‖", "‖added‖", "added/base", "cosine"]
    assert answer_json(found)["rows"][0]["address"] == "0.self_attn.q_proj"
    do(session, "continue")
    assert do(session, "verify").data.differs is None


def test_merged_weights_are_said_to_be() -> None:
    found = asked(adapted_session(merged=True))
    assert all(each.merged and each.added == 0 and each.cosine is None for each in found.rows)
    assert "cannot be told apart" in answer_lines(found)[0]


def test_without_an_adapter_a_sentence() -> None:
    assert "no adapter is applied" in do(tiny_session(), "info adapter").data


@pytest.mark.filterwarnings("ignore")
def test_in_a_program_it_is_measured_from_the_first_question_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    session = begun("adapter.py")
    do(session, "until logits")
    with pytest.raises(UnableError, match="kept from here on, so ask at a later stop"):
        do(session, "info adapter")
    do(session, "until 1.self_attn.q_proj@1")
    shares = asked(session)
    assert [row.address for row in shares.rows] == ["0.self_attn.q_proj", "1.self_attn.q_proj"]
    module: Any = session.inspector.anatomy.modules["1.self_attn.q_proj"]
    (given,) = session.inspector.event.args
    with torch.no_grad():
        base, whole = module.base_layer(given).double(), main_tensor(session.inspector.event.output)
    assert whole is not None
    assert shares.rows[1].base == pytest.approx(float(base.norm()))
    assert shares.rows[1].added == pytest.approx(float((whole.double() - base).norm()))
    one = asked(session, "info adapter 1")
    assert [row.address for row in one.rows] == ["1.self_attn.q_proj"]
    session.close()
