"""`info attention`: which attention it answers for, what it costs, and that asking changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.attention import shown
from llmdbg.engine.generation.generation import Generation
from llmdbg.errors import CommandError
from llmdbg.frontends.answers import answer_json, answer_lines
from llmdbg.frontends.export import export
from llmdbg.probes.attention import AttentionMap
from tests.attention_kernels import session_over
from tests.sessions import do, tiny_session, tokens_run_again
from tests.tiny import tiny_model


def _asked(session: Debugger, line: str = "info attention") -> AttentionMap:
    found = do(session, line).data
    assert isinstance(found, AttentionMap), found
    return found


@pytest.mark.parametrize(
    ("place", "address"),
    [
        ("0", "0.self_attn"),
        ("1.input_layernorm", "0.self_attn"),
        ("1.self_attn.o_proj", "0.self_attn"),
        ("1.self_attn", "1.self_attn"),
        ("1.mlp", "1.self_attn"),
        ("logits", "1.self_attn"),
        ("sample", "1.self_attn"),
    ],
)
def test_it_is_the_attention_that_ran_last(place: str, address: str) -> None:
    session = tiny_session()
    do(session, f"goto {place}@1")
    stop, here = session.stop, session.run.place
    runs = tokens_run_again(session)
    assert _asked(session).address == address
    assert runs == [1]
    assert (session.stop, session.run.place) == (stop, here)


def test_one_that_was_asked_for_costs_no_second_forward() -> None:
    session = tiny_session()
    do(session, "goto logits@1")
    runs = tokens_run_again(session)
    first, second = _asked(session, "info attention 0"), _asked(session, "info attention 0 head 2")
    assert runs == [1]
    assert np.array_equal(first.weights, second.weights)
    assert second.head == 2


def test_a_pane_that_follows_the_run_costs_no_forward_at_a_step() -> None:
    session, other = tiny_session(max_new_tokens=6), tiny_session(max_new_tokens=6)
    do(session, "goto 0@1")
    assert isinstance(shown(session.inspector), AttentionMap)
    runs = tokens_run_again(session)
    for _ in range(12):
        do(session, "next")
        found = shown(session.inspector)
        do(other, f"goto {session.stop.stage.address}@{session.stop.token}")
        expected = do(other, "info attention").data
        assert isinstance(found, AttentionMap) is isinstance(expected, AttentionMap)
        if isinstance(found, AttentionMap):
            assert found.address == expected.address
            assert np.array_equal(found.weights, expected.weights)
    assert runs == []


def test_a_focus_in_the_prompt_does_not_mislead_later_tokens() -> None:
    session = tiny_session()
    do(session, "focus 4")
    do(session, "goto 1")
    early = shown(session.inspector)
    assert isinstance(early, AttentionMap)
    assert (early.position, early.weights.shape[1]) == (4, 5)
    assert early.weights.sum(axis=1) == pytest.approx(1, abs=1e-5)
    do(session, "goto 1@1")
    found = shown(session.inspector)
    assert isinstance(found, AttentionMap)
    assert found.position == len(session.debuggee.prompt.ids)
    assert found.weights.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_what_was_asked_for_is_what_the_pane_shows_until_it_follows_again() -> None:
    session = tiny_session()
    do(session, "goto logits@1")
    do(session, "info attention 0 head 3")
    found = shown(session.inspector)
    assert isinstance(found, AttentionMap)
    assert (found.address, found.head) == ("0.self_attn", 3)
    do(session, "info attention")
    following = shown(session.inspector)
    assert isinstance(following, AttentionMap)
    assert (following.address, following.head) == ("1.self_attn", None)


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "gpt2", "gpt_oss"])
def test_asking_changes_no_logits(name: str) -> None:
    session, silent = tiny_session(name, max_new_tokens=6), tiny_session(name, max_new_tokens=6)
    do(silent, "continue")
    do(session, "goto 1@1")
    for _ in range(8):
        shown(session.inspector)
        do(session, "info attention 0")
        if session.end is None:
            do(session, "next")
    do(session, "focus 3")
    do(session, "info attention")
    while session.end is None:
        do(session, "continue")
    assert session.debuggee.timeline.fingerprints() == silent.debuggee.timeline.fingerprints()
    assert do(session, "verify").data is not None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("info attention 7", "they are 0 to 1"),
        ("info attention 0 head 9", "no head 9"),
        ("info attention 0 head", "by its number"),
        ("info attention nowhere", "no layer 'nowhere'"),
        ("info attention 0.mlp", "no attention in 0.mlp"),
    ],
)
def test_what_there_is_not_is_said(line: str, said: str) -> None:
    session = tiny_session()
    do(session, "goto logits")
    with pytest.raises(CommandError, match=said):
        do(session, line)
    assert _asked(session).address == "1.self_attn"


@pytest.mark.parametrize(
    ("name", "said"),
    [("mamba", "MambaForCausalLM has no attention module"), ("rwkv", "RwkvSelfAttention")],
)
def test_a_model_without_attention_weights_says_so_in_one_line(name: str, said: str) -> None:
    session = tiny_session(name)
    do(session, "goto logits")
    (line,) = answer_lines(do(session, "info attention").data)
    assert said in line


def test_a_layer_of_another_kind_says_what_it_is() -> None:
    session = tiny_session("jamba")
    do(session, "goto logits")
    with pytest.raises(CommandError, match="JambaMambaMixer"):
        do(session, "info attention 0")
    assert _asked(session, "info attention 1").address == "1.self_attn"


def test_before_any_attention_has_run_it_says_so() -> None:
    session = tiny_session()
    assert "no attention has run" in str(do(session, "info attention").data)
    do(session, "goto embed@1")
    assert "has not run" in str(do(session, "info attention").data)


def test_json_carries_the_weights() -> None:
    session = tiny_session()
    do(session, "goto logits")
    found = _asked(session, "info attention 1")
    document = json.loads(json.dumps(answer_json(found), allow_nan=False))
    np.testing.assert_allclose(document["weights"], found.weights, rtol=1e-5)
    assert document["heads"][0]["reads"][0]["position"] == found.heads[0].reads[0].position
    assert document["kernel"] == "sdpa"


def test_json_of_a_very_long_prompt_is_cut_and_says_so() -> None:
    document = answer_json(np.zeros((32, 30_000), dtype=np.float32))
    assert document["shape"] == [32, 30_000]
    assert document["last_columns"] == len(document["values"][0])
    assert document["last_columns"] * 32 <= 100_000


def test_text_and_tables(tmp_path) -> None:
    session = tiny_session()
    session.exporter = export
    do(session, "goto logits")
    lines = answer_lines(_asked(session, "info attention 1"))
    assert lines[0].startswith("1.self_attn: what position 10")
    assert len(lines) >= 8
    do(session, f"info attention 1 > {tmp_path}/attention.csv")
    text = (tmp_path / "attention.csv").read_text()
    assert text.splitlines()[0] == "position,text,head 0,head 1,head 2,head 3"
    assert len(text.splitlines()) == 12


def test_left_padding_is_not_read() -> None:
    session = session_over(tiny_model("llama"))
    padded = replace(session.debuggee.prompt, ids=(0, 0, 0, *session.debuggee.prompt.ids), padding=3)
    settings = session.debuggee.settings
    assert settings is not None
    session = Debugger(Generation(session.inspector.loaded, padded, settings))
    do(session, "goto logits@1")
    found = _asked(session, "info attention 1")
    assert not found.weights[:, :3].any()
    assert found.first_position == 3
