"""Lines and ops through the outer rooms: every question, batch and JSON, saved sessions, debuggees without them."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from llmdbg.debugger.commands import COMMANDS, Answer
from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.standing_questions import STANDING_QUESTIONS
from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.debugger.persistence.capture import capture
from llmdbg.debugger.persistence.format import from_json, to_json
from llmdbg.debugger.persistence.model import begin
from llmdbg.debugger.persistence.restore import restore
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import CommandError, UsageError
from llmdbg.frontends.answers import answer_lines
from llmdbg.frontends.answers.stops import whole_stop_blocks
from llmdbg.frontends.batch.run import JsonWriter, TextWriter, run_batch
from llmdbg.frontends.unhit_breakpoints import attention_in, never_hit
from llmdbg.models.loading import attention_of
from llmdbg.models.spec import LoadedModel, ModelSpec
from llmdbg.models.tokens import encode_prompt
from tests.scripted import ScriptedDebuggee, script
from tests.sessions import do, here, tiny_session
from tests.tiny import tiny_model

# Lines are stopped at by a trace function of ours, and coverage has one of its own.
pytestmark = pytest.mark.untraced

FINE_STOPS = ("until 0.mlp/mul.0@1", "until 1.self_attn:forward@1", "goto model:forward@1", "goto forward/slice.0@1")


def batch(writer: Any, *lines: str) -> str:
    out = io.StringIO()
    run_batch(tiny_session("llama"), tuple(map(COMMANDS.parse, lines)), writer(out))
    return out.getvalue()


@pytest.mark.parametrize("line", FINE_STOPS)
def test_every_question_is_answered_or_refused_in_a_line(line):
    session = tiny_session("llama")
    do(session, line)
    stood = here(session)
    for topic in TOPICS:
        try:
            outcome = do(session, f"info {topic}")
        except UsageError as error:
            assert "\n" not in str(error), topic
        else:
            assert isinstance(outcome, Answer)
            assert answer_lines(outcome.data), topic
        assert here(session) == stood, topic
    for each in ("explain", "x", "print out", "verify", "focus 2", "edits", "x .in"):
        try:
            do(session, each)
        except UsageError as error:
            assert "\n" not in str(error), each
        assert here(session) == stood, each
    for name, question in STANDING_QUESTIONS.items():
        try:
            question.ask(session.inspector)
        except UsageError as error:
            assert "\n" not in str(error), name
        assert here(session) == stood, name
    assert whole_stop_blocks(session.stop)
    do(session, "continue")
    assert not session.stop.differs


def test_a_batch_writes_them_as_text_and_as_json():
    lines = ("break 0.mlp/mul if token == 1", "break 1.mlp:forward@1", "continue", "continue", "quit")
    said = batch(TextWriter, *lines)
    assert "breakpoint 1 (token 1 == 1)  token 1  decode   0.mlp/mul.0" in said
    assert "1.mlp:" in said
    assert "modeling_llama.py:" in said
    events = [json.loads(line) for line in batch(JsonWriter, *lines).splitlines()]
    op, line = [each for each in events if each["event"] == "stop"]
    assert (op["stage"]["kind"], op["stage"]["module"]) == ("op", "model.layers.0.mlp")
    assert op["source"]["operation"] == "aten.mul.Tensor"
    assert op["source"]["function"] == "LlamaMLP.forward"
    assert op["source"]["file"].endswith("modeling_llama.py")
    assert [each["shape"] for each in op["takes"]] == [[1, 1, 64], [1, 1, 64]]
    assert op["tensor"]["shape"] == [1, 1, 64]
    assert (line["stage"]["kind"], line["tensor"]) == ("line", None)
    assert set(line["source"]) == {"file", "line", "function", "text"}


def test_breakpoints_at_lines_and_ops_and_the_place_survive_in_a_saved_session():
    session = tiny_session("llama")
    do(
        session,
        "break op rsqrt if layer == 1",
        "break modeling_llama.py:rotate_half",
        "tbreak 0.mlp/mul.0@1",
        "continue",
    )
    do(session, "disable 2", "until 1.self_attn:forward")
    assert session.debuggee.settings is not None
    saved = capture(session, begin(ModelSpec("x"), "Hello there", GenerationSettings(max_new_tokens=4, greedy=True)))
    again = tiny_session("llama")
    assert restore(again, from_json(to_json(saved), "Hello there")) == ()
    assert [each.line for each in again.breakpoints.list()] == [each.line for each in session.breakpoints.list()]
    assert here(again) == here(session)
    assert (again.stop.tensor, again.stop.code) == (session.stop.tensor, session.stop.code)
    do(again, "continue")
    do(session, "continue")
    assert (here(again), again.stop.breakpoint) == (here(session), session.stop.breakpoint)


def test_what_has_no_lines_and_no_ops_says_so():
    session = Debugger(ScriptedDebuggee(script()))
    for line, said in (
        ("set depth line", "a script cannot stop at source lines"),
        ("set depth op", "a script cannot stop at single operations"),
        ("stepi", "a script cannot stop at single operations"),
        ("break op softmax", "a script cannot stop at single operations"),
        ("break 1:174", "a script cannot stop at source lines"),
    ):
        with pytest.raises((CommandError, UsageError), match=said):
            do(session, line)
    do(session, "set depth module", "step")


def test_a_condition_on_what_a_line_does_not_have_is_refused():
    session = tiny_session("llama")
    with pytest.raises(UsageError, match="`norm` is never known at a line"):
        do(session, "break 0.mlp:forward if norm > 3")
    do(session, "break 0.mlp:forward if token == 1", "continue")
    assert session.stop.token == 1


def test_what_never_ran_is_said_at_the_end():
    session = tiny_session("llama")
    do(session, "break op linear", "break 0.self_attn:forward@9", "continue")
    ops, lines = never_hit(session.breakpoints.list(), attention_in(session))
    assert "breakpoint 1 (op linear) was never hit: no such op ran (torch takes some apart: `linear` runs as" in ops
    assert "sdpa" not in ops
    do(session, "break op softmax")
    softmax = list(never_hit(session.breakpoints.list(), attention_in(session)))[-1]
    assert "sdpa attention is one op, `aten._scaled_dot_product…`, and eager attention is several" in softmax
    assert lines == "breakpoint 2 (0.self_attn:forward@9) was never hit: the run ended without that line"


def test_sdpa_is_to_blame_only_where_it_is_used():
    model = tiny_model("llama")
    model.set_attn_implementation("eager")
    loaded = LoadedModel("tiny llama", model, None, attention_of(model))
    prompt = encode_prompt(None, "Hello", vocabulary_size=128)
    session = Debugger(Generation(loaded, prompt, GenerationSettings(max_new_tokens=2, greedy=True)))
    do(session, "break op log_softmax", "continue")
    [said] = never_hit(session.breakpoints.list(), attention_in(session))
    assert "no such op ran" in said and "sdpa" not in said


def test_tracepoints_and_watches_take_ops():
    session = tiny_session("llama")
    logged: list[str] = []
    session.run.on_trace = lambda stop: logged.append(
        f"{stop.stage.address}@{stop.token} {dict(stop.values)['max']:.3g}"
    )
    do(session, "trace 1.mlp/mul max", "watch max at 0.mlp/mul.0", "continue")
    assert session.stop.breakpoint == 2
    assert here(session) == "0.mlp/mul.0@1"
    assert logged == ["1.mlp/mul.0@0 9.76"]
