"""Motions, breakpoints and what a stop tells, over real tiny models."""

import dataclasses
import gc
import weakref

import pytest
import torch

from llmdbg.debugger.commands import COMMANDS, Answer, Moved, Quit
from llmdbg.debugger.execution.stop import Reason
from llmdbg.errors import AddressError, CommandError
from tests.debugger.comparison.sides import side
from tests.engine.runs import hooks_on
from tests.sessions import do, here, tiny_session
from tests.tiny import tiny_model


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ([], "tokenize@0"),
        (["step"], "embed@0"),
        (["next 2"], "0@0"),
        (["n", "n", "s"], "1.input_layernorm@0"),
        (["until 0.self_attn.q_proj", "next"], "0.self_attn.k_proj@0"),
        (["until 0.self_attn.q_proj", "finish"], "0.self_attn@0"),
        (["until 0.self_attn.q_proj", "finish", "finish"], "0@0"),
        (["until 0.self_attn.q_proj", "f", "f", "f"], "logits@0"),
        (["n", "finish", "finish"], "sample@0"),
        (["until 0.mlp", "n 2"], "1@0"),
        (["token"], "sample@0"),
        (["token 3"], "sample@2"),
        (["t", "n"], "embed@1"),
        (["until 1@2"], "1@2"),
        (["break 1.mlp@1", "c"], "1.mlp@1"),
        (["break *.mlp", "c", "c", "c"], "0.mlp@1"),
        (["break *.mlp", "c 4"], "1.mlp@1"),
        (["tbreak 1", "c", "c"], "sample@3"),
        (["break 1", "disable", "c"], "sample@3"),
        (["break 1", "disable 1", "enable 1", "c"], "1@0"),
        (["break 0", "break 1", "delete 1", "c"], "1@0"),
        (["c", "run"], "sample@3"),
        (["break 0", "c", "c", "run"], "0@0"),
        (["c", "start"], "tokenize@0"),
        (["break 0", "c", "c", "start"], "tokenize@0"),
        (["break 0", "c", "start", "c"], "0@0"),
    ],
)
def test_where_motions_lead(lines, place):
    session = tiny_session()
    if lines:
        do(session, *lines)
    assert here(session) == place
    session.close()


def test_a_step_over_everything_visits_each_stage_of_the_outline_once_a_token():
    session = tiny_session(max_new_tokens=2)
    seen = [here(session)]
    while session.end is None:
        do(session, "next")
        seen.append(here(session))

    one = ["embed", "0", "1", "norm", "logits", "sample"]
    assert seen == ["tokenize@0", *(f"{name}@0" for name in one), *(f"{name}@1" for name in one)]


def test_reasons():
    session = tiny_session()
    assert session.stop.reason is Reason.STEP
    do(session, "break 0", "continue")
    assert (session.stop.reason, session.stop.breakpoint) == (Reason.BREAKPOINT, 1)
    do(session, "delete", "continue")
    assert (session.stop.reason, session.stop.breakpoint) == (Reason.END, None)


def test_a_breakpoint_counts_its_hits():
    session = tiny_session(max_new_tokens=3)
    do(session, "break 0", "break 1@1", "c 3")
    assert [point.hits for point in session.breakpoints.list()] == [2, 1]


def test_the_answer_is_the_same_however_it_is_stepped():
    straight, stepped = tiny_session(temperature=0.9, seed=4), tiny_session(temperature=0.9, seed=4)
    do(straight, "continue")
    while stepped.end is None:
        do(stepped, "step")

    assert straight.end == stepped.end
    straight.close()
    assert hooks_on(straight.inspector.loaded.model) == 0


def test_a_stop_holds_no_tensor():
    session = tiny_session(temperature=0.9, top_k=5)
    do(session, "break sample.top_k", "continue")

    def plain(value):
        assert not isinstance(value, torch.Tensor)
        for field in dataclasses.fields(value) if dataclasses.is_dataclass(value) else ():
            plain(getattr(value, field.name))
        for item in value if isinstance(value, tuple) else ():
            plain(item)

    plain(session.stop)
    plain(session.run.tokens())


def test_candidates_say_what_top_k_cut():
    session = tiny_session(temperature=0.9, top_k=5)
    do(session, "break sample.top_k", "continue")
    found = session.stop.candidates

    assert (found.left, dict(found.cuts)) == (5, {"sample.top_k": 123})
    assert [row.cut_by for row in found.rows] == [None] * 5 + ["sample.top_k"] * 5
    assert [step.address for step in found.rows[0].path] == ["logits", "sample.temperature", "sample.top_k"]


def test_focus_describes_another_position():
    session = tiny_session()
    do(session, "until 0", "focus 3")
    assert session.stop.tensor.focus_position == 3
    at_three = session.stop.tensor.focus
    do(session, "focus last")
    assert session.stop.tensor.focus_position == len(session.debuggee.prompt.ids) - 1
    assert session.stop.tensor.focus != at_three


def test_tokens_grow_with_what_is_chosen():
    session = tiny_session()
    count = len(session.run.tokens())
    do(session, "token")
    assert len(session.run.tokens()) == count + 1
    assert session.run.tokens()[-1].id == session.stop.chosen.id
    do(session, "continue")
    assert [row.id for row in session.run.tokens()[count:]] == list(session.end.ids)


def test_every_chosen_token_is_told():
    session = tiny_session()
    told = []
    session.run.on_token = lambda generated, row: told.append((generated, row.id))
    do(session, "continue")

    assert told == list(enumerate(session.end.ids))


def test_leaving_in_the_middle_gives_the_model_back():
    session = tiny_session()
    do(session, "until 1.mlp.down_proj@1")
    end = session.close()

    assert (end.stopped_by, len(end.ids)) == ("quit", 1)
    assert hooks_on(session.inspector.model) == 0


def test_a_failed_forward_can_be_started_again():
    session = tiny_session()
    fail = [True]

    def explode(*_):
        if fail:
            raise RuntimeError("no")

    session.inspector.model.model.layers[0].register_forward_pre_hook(explode)
    with pytest.raises(Exception, match="forward failed"):
        do(session, "next 2")
    with pytest.raises(CommandError, match="run"):
        do(session, "next")
    fail.clear()
    do(session, "run")

    assert session.end is not None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fly", "no command 'fly'"),
        ("co", None),
        ("step x", "whole number"),
        ("step 0", "whole number"),
        ("step -1", "whole number"),
        ("step 1 2", "whole number"),
        ("finish 2", "takes no arguments"),
        ("break", "needs ADDRESS"),
        ("delete 4", "no breakpoint 4"),
        ("info", "needs TOPIC"),
        ("info weather", "no info 'weather'"),
        ("info s", "could be any of: stage, stats"),
        ("focus 9999", "focus takes"),
        ("break 0 if nrom > 3", "the nearest is 'norm'"),
        ("quit now", "takes no arguments"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(line, message):
    session = tiny_session()
    before = (session.stop, session.breakpoints.list())
    if message is None:
        assert isinstance(do(session, line), Moved)
        return
    with pytest.raises(CommandError, match=message):
        do(session, line)
    assert (session.stop, session.breakpoints.list()) == before


def test_an_unknown_address_is_refused():
    with pytest.raises(AddressError, match="nearest"):
        do(tiny_session(), "break 0.mlpp")


def test_after_the_end_only_run_goes_on():
    session = tiny_session()
    do(session, "continue")
    with pytest.raises(CommandError, match="generation is over"):
        do(session, "step")


@pytest.mark.parametrize("word", ["s", "n", "f", "c", "t", "b", "tb", "q", "i", "h", "u", "cont", "fin", "del"])
def test_aliases_and_unique_prefixes(word):
    assert COMMANDS.find(word)


def test_every_command_is_documented_and_its_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "look.txt").write_text("step\n")
    for command in COMMANDS:
        assert command.usage.startswith(command.name)
        assert command.summary.endswith(".")
        session = tiny_session(max_new_tokens=12, text="Hello there, this is long")
        session.other_runs = lambda _text, _debuggee: tiny_session(max_new_tokens=12).debuggee
        do(session, "break 0@20")
        do(session, "token 2")
        if command.name in ("zero", "scale", "ablate", "patch", "edit", "print", "up", "down", "frame"):
            do(session, "until 1")
        if command.name == "compare":
            do(session, "branch other")
        if command.name == "drop":
            do(session, "branch b2", "switch main")
        if command.name == "undo":
            do(session, "zero 0")
        if command.name == "reference":
            session.other_runs = lambda _text, debuggee: side(tiny_model("llama"), debuggee.prompt.ids).debuggee()
        try:
            outcome = do(session, command.example)
        except AddressError:
            assert any(character.isdigit() for character in command.example), "only its layer may not be there"
            continue
        assert isinstance(outcome, (Moved, Answer, Quit))


@pytest.mark.parametrize("topic", ["tokens", "stage", "stats", "candidates", "breakpoints", "model"])
@pytest.mark.parametrize("place", ["tokenize", "0.mlp", "logits", "sample"])
def test_every_info_topic_answers_everywhere(topic, place):
    session = tiny_session()
    if place != "tokenize":
        do(session, f"until {place}")
    assert isinstance(do(session, f"info {topic}"), Answer)


def test_a_debugger_that_is_dropped_gives_its_model_back():
    session = tiny_session()
    do(session, "step 5")
    do(session, "token")
    model = weakref.ref(session.inspector.model)
    del session
    gc.collect()
    assert model() is None
