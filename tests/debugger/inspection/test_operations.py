"""`info ops`: a stage's operations, as they run in this very forward, and nothing changed by looking."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.operations import Operations
from llmdbg.errors import LlmdbgError
from llmdbg.frontends.answers import answer_json, answer_lines
from llmdbg.frontends.export import export
from tests.engine.runs import hooks_on
from tests.sessions import do, tiny_session


def asked(session: Debugger, line: str = "info ops") -> Operations:
    found = do(session, line).data
    assert isinstance(found, Operations), found
    return found


@pytest.mark.parametrize("place", ["tokenize", "1", "sample@2", "0@2"])
@pytest.mark.parametrize("name", ["llama", "mistral", "mamba", "qwen3_moe"])
def test_looking_changes_nothing(name: str, place: str) -> None:
    settings: dict[str, Any] = {"max_new_tokens": 5, "temperature": 1.3, "top_k": 20, "seed": 7}
    looking, silent = tiny_session(name, **settings), tiny_session(name, **settings)
    for each in (looking, silent):
        if place != "tokenize":
            do(each, f"goto {place}")
    stop, ids, known = looking.stop, looking.run.generated_ids(), list(looking.debuggee.timeline.ids)
    for address in ("0", "1.mlp", "embed", "norm", "logits"):
        if name != "mamba" or address != "1.mlp":
            assert asked(looking, f"info ops {address}").notes == ()
    assert (looking.stop, looking.run.generated_ids()) == (stop, ids)
    assert tuple(looking.debuggee.timeline.ids) in (tuple(known), ids)
    while looking.end is None:
        do(looking, "continue")
        do(silent, "continue")
    assert looking.end == silent.end
    assert do(looking, "verify").data.differs is None
    looking.close()
    assert not hooks_on(looking.inspector.model)


def test_the_current_stage_or_any_other_at_any_token() -> None:
    session = tiny_session(max_new_tokens=4)
    do(session, "goto 1.mlp@2")
    here = asked(session)
    assert (here.address, here.token) == ("1.mlp", 2)
    assert [each.op for each in here.rows if each.op == "aten.mm"] == ["aten.mm"] * 3
    assert here.rows[-1].outputs[0].shape[-2:] == (1, 32)
    prefill = asked(session, "info ops 1.mlp@0")
    assert prefill.token == 0
    assert prefill.rows[-1].outputs[0].shape == (1, 11, 32) or prefill.rows[-1].outputs[0].shape == (11, 32)
    assert prefill.flops == 11 * here.flops
    layer = asked(session, "info ops 1")
    assert {each.op for each in here.rows} <= {each.op for each in layer.rows}
    assert any(each.code.startswith("hidden_states = residual + hidden_states") for each in layer.rows)
    assert all(each.file and each.line for each in layer.rows)


def test_totals_are_those_of_the_rows() -> None:
    session = tiny_session()
    do(session, "until 0")
    found = asked(session)
    assert sum(each.count for each in found.totals) == len(found.rows)
    for field in ("ms", "bytes", "flops"):
        rows = sum(getattr(each, field) or 0 for each in found.rows)
        assert getattr(found, field) == pytest.approx(rows)
        assert sum(getattr(each, field) or 0 for each in found.totals) == pytest.approx(rows)


def test_with_edits_what_the_edited_run_calls() -> None:
    session = tiny_session()
    do(session, "until 1", "scale 0 2")
    assert asked(session, "info ops 1").notes == ("with your edits",)


def test_as_text_json_and_a_file(tmp_path: Path) -> None:
    session = tiny_session()
    do(session, "until 1.self_attn")
    found = asked(session)
    lines = answer_lines(found)
    assert lines[0] == f"1.self_attn, token 0: {len(found.rows)} operations"
    assert any("aten.mm" in each and "modeling_llama.py:" in each for each in lines)
    assert any("FLOPs in the" in each for each in lines)
    rows = json.loads(json.dumps(answer_json(found)))["rows"]
    assert rows[0]["number"] == 1
    assert set(rows[0]["inputs"][0]) == {"shape", "dtype"}
    session.exporter = export
    do(session, f"info ops 0.mlp > {tmp_path / 'ops.csv'}")
    assert (tmp_path / "ops.csv").read_text().startswith("n,op,inputs,output,dtype,ms,bytes,FLOPs,called at,line\n")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("info ops sample", "no module runs sample"),
        ("info ops *.mlp", "names 2 stages"),
        ("info ops 1@9", "token 9 has not been reached"),
        ("info ops 99", "no stage is called"),
    ],
)
def test_what_cannot_be_listed_is_said(line: str, said: str) -> None:
    session = tiny_session()
    with pytest.raises(LlmdbgError, match=said.replace("*", r"\*")):
        do(session, line)
