"""The joint of the house: breakpoints, stepping, commands and a batch over a debuggee without a model.

The screen's tests over the same one are in `tests/frontends/tui/test_any_debuggee.py`.
"""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from llmdbg.debugger.commands import COMMANDS, Answer, Moved, Outcome, ParsedCommand
from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.persistence.capture import capture
from llmdbg.debugger.persistence.format import from_json, to_json
from llmdbg.debugger.persistence.model import SavedChoice, SavedSession, begin
from llmdbg.debugger.persistence.restore import restore
from llmdbg.engine.debuggee import Capability, Debuggee
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import AddressError, CommandError, UsageError
from llmdbg.frontends.batch.run import JsonWriter, TextWriter, run_batch
from llmdbg.models.spec import ModelSpec
from tests.scripted import MLP, WORDS, ScriptedDebuggee, script


def debugger(*, goes_back: bool = False, counts_tokens: bool = True) -> Debugger:
    debuggee: Debuggee = ScriptedDebuggee(script(), goes_back=goes_back, counts_tokens=counts_tokens)
    return Debugger(debuggee)


def do(session: Debugger, line: str) -> Outcome:
    return COMMANDS.run(session, line)


def parsed(lines: list[str]) -> list[ParsedCommand]:
    return [COMMANDS.parse(line) for line in lines]


def at(session: Debugger) -> str:
    return f"{session.stop.stage.address}@{session.stop.token}"


def test_it_steps_goes_over_out_and_to_the_next_token() -> None:
    session = debugger()
    seen = [at(session)]
    for line in ("next", "step", "next 2", "finish", "token", "token", "until 1", "continue"):
        do(session, line)
        seen.append(at(session))
    assert seen == ["tokenize@0", "embed@0", "0@0", "2@0", "logits@0", "sample@0", "sample@1", "1@2", "sample@4"]
    assert session.end is not None
    assert (session.end.stopped_by, session.end.text) == ("eos", "sat on a mat .")


def test_breakpoints_conditions_tracepoints_and_watches_hold() -> None:
    session = debugger()
    logged: list[str] = []
    session.run.on_trace = lambda stop: logged.append(f"{stop.stage.address}@{stop.token}")
    do(session, "break 1 if max > 15 and token < 3")
    do(session, 'break sample if top1 == "mat"')
    do(session, "trace 0 max if token == 1")
    do(session, "continue")
    assert (at(session), session.stop.breakpoint) == ("1@2", 1)
    do(session, "continue")
    assert (at(session), session.stop.breakpoint) == ("sample@3", 2)
    assert logged == ["0@1"]
    session = debugger()
    do(session, "watch max at 0")
    do(session, "continue")
    assert (at(session), dict(session.stop.values)) == ("0@1", {"before": 0.0, "now": 10.0})


def test_what_the_debuggee_cannot_do_is_refused_in_a_line_and_nothing_has_changed() -> None:
    session = debugger()
    do(session, "token 2")
    for line, said in (
        ("reverse-step", "a script cannot go back"),
        ("goto 0@0", "a script cannot go back"),
        ("force 3", "a script cannot change how a token is chosen"),
        ("reverse-token", "a script cannot go back"),
        ("reverse-continue", "a script cannot go back"),
        ("run", "a script cannot go back"),
        ("start", "a script cannot go back"),
        ("branch other", "a script cannot branch"),
        ("switch main", ""),
        ("compare main", ""),
        ("ban 3", "a script cannot change how a token is chosen"),
        ("set temperature 0.5", "a script cannot change how a token is chosen"),
        ("zero 1", "a script cannot have its values edited"),
        ("scale 1 2", "a script cannot have its values edited"),
        ("undo", "there is no edit to undo"),
        ("x 0", "a script cannot go back"),
        ("save tensor 0 /nowhere/t.safetensors", "a script cannot go back"),
        ("info kv", "a script has no KV cache to show"),
        ("info cost", "a script cannot"),
        ("info model", "a script cannot show its modules and weights"),
        ("verify", "a script cannot go back"),
        ("print out", ""),
    ):
        if not said:
            do(session, line)
        else:
            with pytest.raises(CommandError, match=said) as raised:
                do(session, line)
            assert "\n" not in str(raised.value)
        assert at(session) == "sample@1"
    do(session, "next")
    assert at(session) == "embed@2"
    do(session, "continue")
    with pytest.raises(CommandError) as over:
        do(session, "next")
    assert str(over.value) == "the generation is over", "no way back is offered where there is none"


def test_one_that_counts_no_tokens_refuses_what_is_counted_in_them() -> None:
    session = debugger(counts_tokens=False)
    for line in ("token", "info tokens"):
        with pytest.raises(CommandError, match="a script cannot say which token it is producing"):
            do(session, line)
    with pytest.raises(UsageError, match="1@2 cannot name a token"):
        do(session, "until 1@2")
    do(session, "until 1")
    assert at(session) == "1@0"


def test_one_that_goes_back_is_run_again() -> None:
    session = debugger(goes_back=True)
    do(session, "token 4")
    do(session, "break 2 if max > 5")
    outcomes = [do(session, line) for line in ("reverse-step", "reverse-token", "goto 1@1", "reverse-continue")]
    assert all(isinstance(each, Moved) for each in outcomes)
    assert [f"{each.stop.stage.address}@{each.stop.token}" for each in outcomes if isinstance(each, Moved)] == [
        "logits@3",
        "sample@2",
        "1@1",
        "tokenize@0",
    ]
    do(session, "run")
    assert at(session) == "2@1"
    assert session.debuggee.begun > 3  # type: ignore[attr-defined]


def test_every_question_is_answered_or_refused_in_a_line() -> None:
    from llmdbg.debugger.inspection.topics import TOPICS
    from llmdbg.frontends.answers import answer_lines

    for goes_back in (False, True):
        session = debugger(goes_back=goes_back)
        for line in ("next", "token", "until 1"):
            do(session, line)
            for topic in TOPICS:
                try:
                    outcome = do(session, f"info {topic}")
                except UsageError as error:
                    assert "\n" not in str(error), topic
                else:
                    assert isinstance(outcome, Answer)
                    assert answer_lines(outcome.data), topic


def test_a_batch_writes_its_stops_as_text_and_as_json() -> None:
    out = io.StringIO()
    run_batch(debugger(), parsed(["break 2", "continue", "info candidates", "info tokens"]), TextWriter(out))
    assert "2 " in out.getvalue()
    out = io.StringIO()
    run_batch(debugger(), parsed(["break 2 if token == 1", "continue", "quit"]), JsonWriter(out))
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    stop = next(each for each in events if each["event"] == "stop")
    assert (stop["stage"]["address"], stop["token"], stop["tensor"]["max"]) == ("2", 1, 12.0)
    assert events[-1]["event"] == "end"
    out = io.StringIO()
    run_batch(debugger(), parsed([]), JsonWriter(out))
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [each["chosen"]["text"] for each in events if each.get("chosen")] == ["sat", "on", "a", "mat", "."]
    assert events[-1]["text"] == "sat on a mat ."


def test_what_runs_once_is_not_ended_by_a_question_that_it_cannot_answer() -> None:
    lines = ["until 1", "info nonfinite", "until 2", "x 0", "continue"]
    out = io.StringIO()
    assert run_batch(debugger(), parsed(lines), JsonWriter(out), runs_once=True) == 2
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [each["event"] for each in events] == ["tokens", "stop", "error", "stop", "error", "stop", "end"]
    assert events[2]["type"] == "UnableError" and "`break nonfinite` stops at" in events[2]["message"]
    assert events[-1]["text"] == "sat on a mat ."


@pytest.mark.parametrize("line", ["reverse-step", "zero 1"])
def test_but_by_a_command_that_would_have_moved_it_or_changed_something(line: str) -> None:
    with pytest.raises(UsageError):
        run_batch(debugger(), parsed(["until 1", line, "continue"]), JsonWriter(io.StringIO()), runs_once=True)


ABLE = (Capability.TOKENS, Capability.EDIT, Capability.GO_BACK, Capability.FORK)


def able(*more: Capability, layers: int = 1) -> Debugger:
    """One that can do everything but show a model, and whose only layer has a module inside."""
    return Debugger(ScriptedDebuggee(script(layers=layers, module=MLP), able=(*ABLE, *more)))


def test_the_tour_goes_through_stages_without_modules() -> None:
    session = able()
    seen = []
    while isinstance(outcome := do(session, "tour"), Moved):
        seen.append(at(session))
    before_and_in = ["tokenize@0", "embed@0", "0@0"]
    assert seen == [*before_and_in, "logits@0", "logits@0", "sample@0", "sample@0", "embed@1"]
    assert isinstance(outcome, Answer)
    assert "the last stop of the tour" in str(outcome.data)


def test_a_session_without_settings_is_saved_and_comes_back() -> None:
    session = able()
    do(session, "token 2")
    do(session, "scale 0 2")
    do(session, "branch other")
    saved = saved_again(session)
    assert [each.settings for each in saved.branches] == [(), ()]
    again = able()
    assert restore(again, saved) == ()
    assert [each.name for each in again.run.branches] == [each.name for each in session.run.branches]
    assert at(again) == at(session)
    assert len(again.run.edits.list()) == 1
    # A branch of a debuggee that takes settings has some, and one that takes none has none.
    notes = restore(able(Capability.SAMPLING), saved)
    assert "branch main is left out: it has no settings to choose tokens by" in notes
    sampled = able(Capability.SAMPLING)
    do(sampled, "token")
    do(sampled, "set temperature 0.5")
    assert "branch main is left out: nothing here takes its settings" in restore(able(), saved_again(sampled))


def test_a_plain_session_without_settings_is_saved_too() -> None:
    session = able()
    do(session, "token 2")
    assert saved_again(session).branches == ()


def saved_again(session: Debugger) -> SavedSession:
    """The session, written and read."""
    begun = begin(ModelSpec("a script"), "the cat", GenerationSettings())
    return from_json(to_json(capture(session, begun)), "the cat")


def test_a_saved_token_beyond_the_vocabulary_is_left_out() -> None:
    session = able()
    do(session, "token 2")
    do(session, "branch other")
    saved = saved_again(session)
    other = replace(saved.branches[1], generated=(len(WORDS), *saved.branches[1].generated[1:]))
    notes = restore(able(), replace(saved, branches=(saved.branches[0], other)))
    assert "branch other is left out: it has a token that this model does not have" in notes


def test_a_saved_branch_that_bans_every_token_is_left_out() -> None:
    session = able()
    do(session, "token 2")
    do(session, "branch other")
    saved = saved_again(session)
    for banned, left_out in ((range(len(WORDS)), True), (range(len(WORDS) - 1), False)):
        other = replace(saved.branches[1], choices=(SavedChoice(0, None, tuple(banned)),))
        notes = restore(able(), replace(saved, branches=(saved.branches[0], other)))
        assert ("branch other is left out: it bans every token there is" in notes) is left_out


def test_a_token_is_named_by_its_id_without_a_model() -> None:
    session = able(Capability.SAMPLING)
    do(session, "token 2")
    do(session, "force 5")
    assert session.stop.chosen is not None
    assert session.stop.chosen.text == "mat"
    do(session, "ban 5")
    with pytest.raises(CommandError, match="the vocabulary has ids 0 to 7, not 8"):
        do(session, "force 8")


def test_an_id_is_taken_as_it_is_where_the_size_of_the_vocabulary_is_unknown() -> None:
    session = able(Capability.SAMPLING)
    session.debuggee.vocabulary.size = None
    do(session, "token")
    do(session, "force 5")
    assert session.stop.chosen is not None
    assert session.stop.chosen.id == 5
    with pytest.raises(CommandError, match="an id has at most 9 digits"):
        do(session, f"force {'5' * 30}")


def test_a_tensor_is_saved_without_a_model(tmp_path: Path) -> None:
    from safetensors import safe_open

    session = able()
    do(session, "token 1")
    do(session, f"save tensor 0 {tmp_path / 'out.safetensors'}")
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        assert file.metadata()["model"] == "a script"
        assert file.get_tensor("0").shape == (1, 2, 4)


def test_a_refusal_speaks_of_what_is_there() -> None:
    session = able()
    with pytest.raises(CommandError, match=r"^a script cannot show its modules and weights$"):
        do(session, "info attention 0")
    for line in ("break jump 2", "watch max"):
        with pytest.raises(
            AddressError, match="there are no two layers to compare in what runs here: it has 1"
        ) as said:
            do(session, line)
        assert ("as in `watch max at 0`" in str(said.value)) == line.startswith("watch")
    do(session, "watch max at 0")
    with pytest.raises(AddressError, match="as in `watch max at sample`"):
        do(able(layers=0), "watch max")


def test_a_name_cannot_colour_or_split_a_message() -> None:
    session = Debugger(ScriptedDebuggee(script(), name="\x1b[31mevil\n name"))
    do(session, "token")
    for line in ("branch other", "info kv", "info model"):
        with pytest.raises(CommandError, match=r"^\\x1b\[31mevil\\n name (cannot|has no)") as said:
            do(session, line)
        assert str(said.value).isprintable()
