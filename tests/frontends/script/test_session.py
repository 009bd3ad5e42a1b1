"""A session in a user's own program: closing, threads, commands, and how it shows itself."""

from __future__ import annotations

import signal
import threading
from typing import Any, cast

import pytest

import llmdbg
from llmdbg.debugger.commands import COMMANDS
from llmdbg.errors import AddressError, CommandError, LlmdbgError, UsageError
from tests.engine.runs import hooks_on
from tests.html_fragments import read_fragment
from tests.tiny import tiny_model


def opened(prompt: str = "Hello there", **more: Any) -> llmdbg.Session:
    return llmdbg.open_session(tiny_model("llama"), prompt, **{"max_new_tokens": 4, "greedy": True, **more})


def test_leaving_the_block_closes_it():
    with opened() as session:
        session.do("next 3")
        model = session.debugger.inspector.model
        assert hooks_on(model)
        before = session.closed
    assert (before, session.closed) == (False, True)
    assert not hooks_on(model)
    assert session.end is not None
    assert session.end.stopped_by == "quit"


def test_an_error_in_the_block_closes_it_and_passes_on():
    with pytest.raises(KeyError, match="mine"), opened() as session:
        raise KeyError("mine")
    assert session.closed


def test_closing_twice_does_nothing():
    session = opened()
    session.do("continue")
    end = session.close()
    assert end.stopped_by == "length"
    assert session.close() is end
    assert session.end is end


USES: dict[str, Any] = {
    "do": lambda session: session.do("next"),
    "run_script": lambda session: session.run_script("next"),
    "stop": lambda session: session.stop,
    "text": lambda session: session.text,
    "tokens": lambda session: session.tokens(),
    "breakpoints": lambda session: session.breakpoints,
    "branches": lambda session: session.branches,
    "notes": lambda session: session.notes,
    "with": lambda session: session.__enter__(),
}


@pytest.mark.parametrize("name", USES)
def test_a_closed_session_says_so(name):
    session = opened()
    USES[name](session)
    session.close()
    with pytest.raises(UsageError, match=r"^this session is closed: open another one with llmdbg\.open_session$"):
        USES[name](session)


def in_a_thread(use: Any) -> list[Any]:
    """What comes of a call in another thread."""
    found: list[Any] = []

    def call() -> None:
        try:
            found.append(use())
        except llmdbg.LlmdbgError as error:
            found.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return found


@pytest.mark.parametrize("name", [*USES, "close"])
def test_another_thread_is_sent_back(name):
    session = opened()
    use = {**USES, "close": lambda session: session.close()}[name]
    [error] = in_a_thread(lambda: use(session))
    assert isinstance(error, UsageError)
    assert str(error) == "this session belongs to the thread that opened it (MainThread): use it from there"
    assert isinstance(session.do("next"), llmdbg.Moved)
    session.close()


def test_a_session_lives_in_the_thread_that_opened_it():
    def whole() -> Any:
        with opened() as session:
            session.do("continue")
        return session.end

    [end] = in_a_thread(whole)
    assert end.stopped_by == "length"


def test_another_thread_may_interrupt():
    with opened() as session:
        session.debugger.run.on_token = lambda *_: in_a_thread(session.debugger.interrupt).clear()
        session.do("continue")
        assert session.end is None


def test_what_it_tells_along_the_way():
    with opened() as session:
        assert session.text == ""
        assert [row.text for row in session.tokens()] == list("Hello there")
        session.do("break 1 if norm > 1e9")
        session.do("token 2")
        session.do("branch other")
        assert session.stop.stage.address == "sample"
        assert [row.generated for row in session.tokens()[-2:]] == [0, 1]
        assert session.text == "".join(row.text for row in session.tokens()[-2:])
        assert [point.number for point in session.breakpoints] == [1]
        assert [branch.name for branch in session.branches] == ["main", "other"]
        session.do("continue")
    assert session.end is not None
    assert len(session.end.ids) == 4


def test_a_command_comes_to_a_stop_an_answer_or_an_end():
    with opened() as session:
        assert isinstance(session.do("next"), llmdbg.Moved)
        assert isinstance(session.do("info stage"), llmdbg.Answer)
        assert isinstance(session.do("quit"), llmdbg.Quit)
        assert isinstance(session.do("next"), llmdbg.Moved), "quitting is for whoever runs the commands"


WRONG = ["brake 3", "break", "goto 99", "print 1 / 0", "edit 0 out.nothing", "", "print exit()", "edit 0 exit()"]


@pytest.mark.parametrize("line", WRONG)
def test_whatever_a_command_raises_is_an_llmdbg_error_in_one_line(line):
    with opened() as session:
        with pytest.raises(llmdbg.LlmdbgError) as caught:
            session.do(line)
            session.do("continue")
        assert "\n" not in str(caught.value)
        session.do("run")


def test_a_command_line_is_text():
    with opened() as session, pytest.raises(CommandError, match="a command line is text, not an int"):
        session.do(3)  # type: ignore[arg-type]


def test_an_error_nobody_expected_is_an_llmdbg_error_too(monkeypatch):
    def fails(*_: object) -> None:
        raise RuntimeError("two\nlines")

    with opened() as session:
        monkeypatch.setattr(COMMANDS, "run", fails)
        with pytest.raises(llmdbg.LlmdbgError, match=r"^info lens: RuntimeError: two lines$") as caught:
            session.do("info lens")
        assert isinstance(caught.value.__cause__, RuntimeError)


def test_an_interrupted_command_leaves_a_session_that_goes_on():
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with opened() as session:
        session.debugger.run.on_token = interrupt
        with pytest.raises(KeyboardInterrupt):
            session.do("continue")
        session.debugger.run.on_token = None
        with pytest.raises(CommandError, match="interrupted in the middle of a forward"):
            session.do("continue")
        session.do("run")
        assert session.end is not None
    assert not hooks_on(session.debugger.inspector.model)


def test_ctrl_c_stops_the_run_at_a_stage_and_a_second_one_at_once():
    with opened(max_new_tokens=12) as session:
        session.debugger.run.on_token = lambda token, _: signal.raise_signal(signal.SIGINT) if token == 3 else None
        with pytest.raises(KeyboardInterrupt):
            session.do("continue")
        session.debugger.run.on_token = None
        assert session.stop.token in (3, 4)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert session.do("verify").data.differs is None
        session.do("continue")
        assert session.end is not None

    def twice(token: int, _: object) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with opened(max_new_tokens=12) as session:
        session.debugger.run.on_token = twice
        with pytest.raises(KeyboardInterrupt):
            session.do("continue")
        with pytest.raises(CommandError, match="interrupted in the middle of a forward"):
            session.do("next")


def test_an_interrupt_while_nothing_runs_stops_nothing():
    with opened() as session:
        session.debugger.interrupt()
        session.do("continue")
        assert session.end is not None


def failing_at_the_fifth_forward() -> tuple[Any, Any]:
    """A model whose fifth forward fails, and the handle of the hook that makes it."""
    model, calls = tiny_model("llama"), []

    def failing(*_: object) -> None:
        calls.append(1)
        if len(calls) == 5:
            raise RuntimeError("mine")

    return model, model.model.layers[1].register_forward_hook(failing)


@pytest.mark.parametrize("back", ["reverse-step", "reverse-next", "reverse-token", "reverse-continue"])
def test_after_a_failure_the_run_goes_back_from_where_it_failed(back):
    model, handle = failing_at_the_fifth_forward()
    with llmdbg.open_session(model, "Hello there", max_new_tokens=12, greedy=True) as session:
        if back == "reverse-continue":
            session.do("break 0 if token == 2")
            session.do("disable 1")
        with pytest.raises(LlmdbgError, match="mine"):
            session.do("continue")
        handle.remove()
        if back == "reverse-continue":
            session.do("enable 1")
        session.do(back)
        place = (session.stop.stage.address, session.stop.token)
        assert place == (("0", 2) if back == "reverse-continue" else ("sample", 3))
        assert session.do("verify").data.differs is None


def test_verify_after_a_failure_compares_what_was_generated():
    model, handle = failing_at_the_fifth_forward()
    with llmdbg.open_session(model, "Hello there", max_new_tokens=12, greedy=True) as session:
        with pytest.raises(LlmdbgError, match="mine"):
            session.do("continue")
        handle.remove()
        proof = session.do("verify").data
        assert (proof.tokens, proof.differs) == (4, None)


def test_a_script_runs_the_commands_of_its_breakpoints():
    with opened() as session:
        outcomes = session.run_script("# look\nbreak 1\n\ncommands 1 info stage; info model\ncontinue\n")
    assert [type(each).__name__ for each in outcomes] == ["Answer", "Answer", "Moved", "Answer", "Answer"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "'' is not a command: it is blank"),
        ("  # look", "'# look' is not a command: it is a comment"),
        ("brek 1", "the nearest is 'break'"),
        ("hp", "the nearest is 'help'"),
        ("nope", "there is no command 'nope': `help` lists all"),
        ("jump", "there is no command 'jump': `help` lists all"),
        ("\x1b[31m", "there is no command '\\x1b[31m': `help` lists all"),
        (
            "print stop",
            "print stop: there is no name 'stop' here: there are out, inputs, returned, given, torch and model",
        ),
        ("print 1 +", "print 1 +: this is not valid Python: invalid syntax"),
        ("trace 1 norm,", "at character 6 of 'norm,': an expression is missing after the comma"),
        ("set max_new_tokens 0", "max_new_tokens must be from 1 to 2147483647, not 0"),
    ],
)
def test_a_mistyped_line_is_told_in_its_own_words(line, words):
    with opened() as session, pytest.raises(UsageError) as caught:
        session.do(line)
    assert words in str(caught.value)


def test_a_script_is_text_or_several_lines():
    with opened() as session, pytest.raises(UsageError, match="lines takes text or a list of strings, not b'x'"):
        session.run_script(cast("str", b"x"))


def test_a_closed_session_says_so_before_anything_else():
    session = opened()
    session.close()
    for call in (lambda: session.run_script("nope"), lambda: session.do("nope"), lambda: session.do(cast("str", 3))):
        with pytest.raises(UsageError, match="this session is closed"):
            call()


def test_a_script_is_read_before_it_is_run():
    with opened() as session:
        with pytest.raises(CommandError, match="fly"):
            session.run_script(["next", "fly"])
        with pytest.raises(AddressError, match=r"1\.mpl"):
            session.run_script(["next", "goto 1.mpl"])
        with pytest.raises(UsageError, match=r"lines\[0\] takes text, not 1"):
            session.run_script([1])  # type: ignore[list-item]
        assert session.stop.stage.address == "tokenize"


def test_a_script_ends_where_it_quits():
    with opened() as session:
        assert [type(each).__name__ for each in session.run_script("next\nquit\nnext")] == ["Moved", "Quit"]
        assert session.stop.stage.address == "embed"


def test_a_session_in_a_repl():
    session = opened()
    session.do("goto 1")
    assert repr(session) == f"<Session LlamaForCausalLM, cpu float32: {session.stop!r}>"
    assert str(session) == repr(session)
    session.do("continue")
    session.close()
    assert repr(session) == f"<Session LlamaForCausalLM, cpu float32, closed: {session.end!r}>"
    assert "<End length, 4 tokens: " in repr(session)


def test_a_session_in_a_notebook():
    session = opened()
    session.do("goto logits")
    shown = read_fragment(session._repr_html_())
    assert shown.lines[:2] == ["Session LlamaForCausalLM, cpu float32", "logits (lm_head): token 0, prefill"]
    assert [table[0][0] for table in shown.tables] == ["tensor", "rank"]
    session.close()
    assert read_fragment(session._repr_html_()).lines[0] == "Session LlamaForCausalLM, cpu float32, closed"


def test_a_models_name_is_data():
    model = tiny_model("llama")
    model.config.name_or_path = "<b>\x1b[31m"
    with llmdbg.open_session(model, "Hello there", max_new_tokens=1) as session:
        assert "\x1b" not in repr(session)
        assert read_fragment(session._repr_html_()).lines[0] == "Session <b>␛[31m, cpu float32"
