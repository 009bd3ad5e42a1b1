"""The user's own Python: whatever it does is told in one line, can be stopped, and leaves the run as it was."""

import io
import subprocess
import sys
import threading
import time
from functools import partial

import pytest
import torch

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.execution.stop import Reason
from llmdbg.debugger.user_code import SECONDS_TO_OBEY, UserCode, UserCodeError
from llmdbg.engine.stage_event import main_tensor
from llmdbg.engine.thread_modes import as_in_this_thread
from llmdbg.errors import CommandError, LlmdbgError
from tests.sessions import do, tiny_session

# CPython 3.11 may never raise what is to stop a thread in one that is traced, as coverage traces all.
pytestmark = pytest.mark.untraced

ENDLESS = "[0 for _ in iter(int, 1)]"
SLEEPS = "__import__('time').sleep(1000)"
CATCHES_ALL = "exec('while True:\\n try:\\n  while True: pass\\n except BaseException: pass')"
STARTS_AGAIN = "exec('while True:\\n try:\\n  while True: pass\\n finally:\\n  while True: pass')"


def thrown(what):
    return f"(_ for _ in ()).throw({what})"


def object_with(**methods):
    body = ", ".join(f"'__{name}__': lambda self: {code}" for name, code in methods.items())
    return f"type('Odd', (), {{{body}}})()"


def error_with(message):
    return f"type('Odd', (BaseException,), {{'__str__': lambda self: {message}}})"


FAILS = {
    "exit()": "SystemExit: this ends only your own code; `quit` leaves the debugger",
    "__import__('sys').exit(3)": "SystemExit: 3",
    "quit()": "SystemExit: this ends only your own code; `quit` leaves the debugger",
    thrown("KeyboardInterrupt"): "KeyboardInterrupt: no message",
    thrown("GeneratorExit"): "GeneratorExit: no message",
    thrown("BaseException('all of it')"): "BaseException: all of it",
    thrown("StopIteration"): "RuntimeError: generator raised StopIteration",
    thrown("__import__('greenlet').GreenletExit"): "GreenletExit: no message",
    "(lambda f: f(f))(lambda f: f(f))": "RecursionError: maximum recursion depth exceeded",
    "[0] * 10 ** 15": "MemoryError: no message",
    object_with(repr="1 / 0"): "ZeroDivisionError: division by zero",
    object_with(repr="exit()"): "SystemExit: this ends only your own code; `quit` leaves the debugger",
    object_with(repr="repr(self)"): "RecursionError: maximum recursion depth exceeded",
    thrown(error_with("1 / 0")): "Odd: its message cannot be read: ZeroDivisionError",
    thrown(error_with("exit()")): "Odd: its message cannot be read: SystemExit",
    thrown("Exception('two\\nlines\\n' + 'x' * 10_000)"): "Exception: two lines xxx",
}


@pytest.fixture
def debugger():
    opened = tiny_session(max_new_tokens=6)
    do(opened, "goto 1@2")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def untouched():
    opened = tiny_session(max_new_tokens=6)
    do(opened, "continue")
    yield opened.end.ids
    opened.close()


def goes_on(debugger, ids):
    """The run stands where it stood and goes on to the same bits."""
    assert (debugger.stop.stage.address, debugger.stop.token) == ("1", 2)
    assert debugger.run.event.stage.address == "1"
    do(debugger, "continue")
    assert debugger.end.ids == ids
    assert do(debugger, "verify").data.differs is None


@pytest.mark.parametrize("word", ["print", "edit"])
def test_whatever_it_raises_is_one_line_and_the_run_goes_on(debugger, untouched, word):
    for code, says in FAILS.items():
        with pytest.raises(CommandError) as told:
            do(debugger, f"{word} {code}")
        if "__repr__" in code and word == "edit":
            assert "Odd, not an ordinary tensor" in str(told.value)
            continue
        assert says in str(told.value)
        assert "\n" not in str(told.value)
        assert len(str(told.value)) < 500
    goes_on(debugger, untouched)


STOPPED = [
    f"print {ENDLESS}",
    f"print {CATCHES_ALL}",
    f"print {STARTS_AGAIN}",
    f"print {SLEEPS}",
    f"print {object_with(repr=ENDLESS)}",
    f"print {thrown(error_with(ENDLESS))}",
    f"print {object_with(**{'del': ENDLESS})}",
    f"edit {ENDLESS}",
    f"edit {SLEEPS}",
    f"edit {CATCHES_ALL}",
]


@pytest.mark.parametrize("line", STOPPED)
def test_it_can_be_stopped_and_the_run_goes_on(debugger, untouched, line, monkeypatch):
    # What stops a `__del__` is dropped by Python, with a warning.
    monkeypatch.setattr("sys.unraisablehook", lambda _: None)
    stopping = threading.Timer(0.2, debugger.interrupt)
    stopping.start()
    started = time.monotonic()
    with pytest.raises(CommandError, match="stopped"):
        do(debugger, line)
    assert time.monotonic() - started < 0.2 + SECONDS_TO_OBEY + 5
    stopping.join()
    goes_on(debugger, untouched)


@pytest.mark.slow
def test_what_was_left_behind_ends_when_it_wakes_up(debugger):
    before = set(threading.enumerate())
    threading.Timer(0.1, debugger.interrupt).start()
    with pytest.raises(CommandError, match="in the background"):
        do(debugger, "print (__import__('time').sleep(2), setattr(model, 'spoilt', True))")
    left = [each for each in threading.enumerate() if each not in before and each.name == "llmdbg-user-code"]
    for each in left:
        each.join(20)
    assert not any(each.is_alive() for each in left)
    assert not hasattr(debugger.debuggee.loaded.model, "spoilt")


ENDLESS_WHILE_ASKED = "edit out if not [0 for _ in iter(lambda: torch.never_end, False)] else out"


@pytest.mark.parametrize("interrupts_after", [(0.2, 0.6), (0.2,)], ids=["twice", "once"])
def test_an_edit_that_does_not_end_inside_a_forward_is_broken_off_and_undone_like_any_other(
    debugger, untouched, monkeypatch, interrupts_after
):
    """By a second interrupt, or once it has run for long enough."""
    longest = 1000.0 if len(interrupts_after) > 1 else 1.0
    monkeypatch.setattr("llmdbg.debugger.user_code.SECONDS_TO_END_BY_ITSELF", longest)
    monkeypatch.setattr(torch, "never_end", False, raising=False)
    do(debugger, ENDLESS_WHILE_ASKED)
    monkeypatch.setattr(torch, "never_end", True)
    for seconds in interrupts_after:
        threading.Timer(seconds, debugger.interrupt).start()
    with pytest.raises(CommandError, match=r"edit 1 .* at 1 of token 3: stopped"):
        do(debugger, "continue")
    with pytest.raises(CommandError, match="the forward failed: go back"):
        do(debugger, "continue")
    monkeypatch.setattr(torch, "never_end", False)
    debugger.run.forget_interrupt()
    do(debugger, "undo")
    goes_on(debugger, untouched)


TAKES_A_WHILE = "edit (__import__('time').sleep(torch.a_while), out * 0)[1]"


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_while_an_edit_runs_in_a_forward_stops_at_the_next_stage_with_it_applied(
    debugger, monkeypatch, times
):
    """Interrupts that come at once, as from a client that pauses and sets a breakpoint, are one."""
    monkeypatch.setattr(torch, "a_while", 0, raising=False)
    do(debugger, TAKES_A_WHILE)
    monkeypatch.setattr(torch, "a_while", 0.6)
    for _ in range(times):
        threading.Timer(0.2, debugger.interrupt).start()
    # `1` is not armed: the next stage that is hooked is one of the token loop.
    stop = do(debugger, "continue").stop
    assert (stop.reason, stop.stage.address, stop.token) == (Reason.STEP, "logits", 3)
    assert debugger.run.was_interrupted
    logits = main_tensor(debugger.run.event.output).clone()
    monkeypatch.setattr(torch, "a_while", 0)
    list(COMMANDS.run_all(debugger, "goto 1@3"))
    assert not main_tensor(debugger.run.event.output).any()
    list(COMMANDS.run_all(debugger, "goto logits@3"))
    again = main_tensor(debugger.run.event.output)
    assert again is not None and torch.equal(again, logits)
    list(COMMANDS.run_all(debugger, "continue"))
    assert debugger.end is not None


def test_what_was_interrupted_is_over_with_the_next_command(debugger, untouched):
    """A `print` that is stopped must not leave an interruption behind, at which the next `continue` would stop."""
    threading.Timer(0.2, debugger.interrupt).start()
    with pytest.raises(CommandError):
        list(COMMANDS.run_all(debugger, f"print {ENDLESS}"))
    debugger.interrupt()
    list(COMMANDS.run_all(debugger, "continue"))
    assert debugger.end.ids == untouched


@pytest.mark.parametrize(
    "question", ["info lens", "info attention", "info kv", "info effect", "verify", "x 0", "explain"]
)
def test_a_question_that_is_interrupted_leaves_the_run_where_it_stood(debugger, untouched, question):
    debugger.interrupt()
    do(debugger, question)
    debugger.run.forget_interrupt()
    goes_on(debugger, untouched)


def test_a_breakpoints_own_commands_are_stopped_too(debugger):
    do(debugger, "break 0")
    do(debugger, f"commands 1 print {ENDLESS}")
    threading.Timer(0.4, debugger.interrupt).start()
    with pytest.raises(CommandError, match="stopped"):
        list(COMMANDS.run_all(debugger, "continue"))
    assert debugger.stop.stage.address == "0"


def test_no_condition_takes_long_whatever_is_written_in_it(debugger):
    longest = " + ".join(["norm ** 9999 ** 9999 * 9999999 ** 9999999"] * 200)
    started = time.monotonic()
    try:
        do(debugger, f"break * if {longest} > 1")
        do(debugger, "continue")
    except LlmdbgError:
        pass
    assert time.monotonic() - started < 20


def test_it_sees_copies_of_what_went_into_the_stage(debugger, untouched):
    do(debugger, "goto 1@2")
    do(debugger, "print inputs[0].zero_()")
    do(debugger, "print (lambda: inputs[0].zero_())()")
    do(debugger, "edit (lambda: inputs and out)()")
    do(debugger, "undo")
    goes_on(debugger, untouched)


def test_a_result_brings_no_code_of_the_user_into_the_forward(debugger):
    made = "type('Odd', (torch.Tensor,), {'__torch_function__': classmethod(lambda *_, **__: exit())})"
    with pytest.raises(CommandError, match="returns Odd, not an ordinary tensor"):
        do(debugger, f"edit torch.Tensor._make_subclass({made}, out)")
    text = do(debugger, f"print {object_with(repr=chr(34) + 'x' + chr(34))}").data
    assert text == "x"


def test_what_it_prints_is_told_line_by_line_where_stdout_is_for_data(debugger, capsys):
    told: list[str] = []
    debugger.run.user_code.tell = told.append
    do(debugger, "print print('one\\ntwo', 'x' * 10_000)")
    assert told[0] == "one"
    assert [len(each) for each in told[1:]] == [4000, 4000, 2004]
    assert capsys.readouterr().out == ""


def test_a_keyboard_interrupt_of_the_one_who_waits_stops_it(monkeypatch):
    user_code, started = UserCode(), threading.Event()

    def endless():
        started.set()
        while True:
            time.sleep(0.01)

    def interrupted(_self, _timeout=None):
        started.wait(20)
        raise KeyboardInterrupt

    before = set(threading.enumerate())
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("llmdbg.debugger.user_code._Job.wait_for_news", interrupted)
        user_code.run(endless)
    for each in set(threading.enumerate()) - before:
        each.join(20)
        assert not each.is_alive()
    assert user_code.run(lambda: 5) == 5
    assert not user_code.interrupt()


def test_many_pieces_from_many_threads_keep_apart():
    found: dict[tuple[int, int], object] = {}
    threads: list[threading.Thread] = []

    def one(number):
        mine = UserCode()
        for each in range(10):
            found[number, each] = mine.run(partial(divmod, 10 * number + each, 10))

    for number in range(8):
        threads.append(threading.Thread(target=one, args=(number,)))
        threads[-1].start()
    for each in threads:
        each.join()
    assert len(found) == 80
    assert all(key == value for key, value in found.items())


def test_stopping_at_any_moment_ends_only_what_runs():
    """The exception that stops a piece of code must hit neither the next piece nor the one who waits."""
    user_code = UserCode()
    for number in range(200):
        stopping = threading.Timer(number % 20 / 4000, user_code.interrupt)
        stopping.start()
        try:
            assert user_code.run(lambda: sum(range(20_000))) == 199_990_000
        except UserCodeError as error:
            assert str(error) == "stopped"
        stopping.join()
    assert user_code.run(lambda: 5) == 5


def test_the_modes_of_the_thread_go_along():
    def modes():
        ones = torch.ones(2, 2)
        return (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            (ones @ ones).dtype,
            torch.ones(1).device.type,
        )

    def elsewhere(function):
        found = []
        thread = threading.Thread(target=lambda: found.append(function()))
        thread.start()
        thread.join()
        return found[0]

    with torch.no_grad():
        assert elsewhere(as_in_this_thread(modes)) == (False, False, torch.float32, "cpu")
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert elsewhere(as_in_this_thread(modes)) == modes() == (False, True, torch.bfloat16, "cpu")
    with torch.device("meta"):
        assert elsewhere(as_in_this_thread(modes)) == modes() == (True, False, torch.float32, "meta")


@pytest.mark.slow
def test_code_runs_under_a_tracer_too(debugger):
    """A sign that CPython is left with, that something is to be raised, kept a traced thread at its first step."""
    tracing = (
        "import sys, threading\n"
        "from tests.sessions import do, tiny_session\n"
        "threading.settrace(lambda *_: None); sys.settrace(lambda *_: None)\n"
        "session = tiny_session()\n"
        "do(session, 'next')\n"
        "print(do(session, 'print 1 + 1').data, do(session, 'print 2 + 2').data)\n"
    )
    done = subprocess.run([sys.executable, "-c", tracing], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["2", "4"], done.stderr[-500:]


@pytest.mark.parametrize("line", ["print exit()", "edit quit()"])
def test_leaving_by_pythons_own_words_does_not_close_stdin(line: str) -> None:
    """The next command is read from there."""
    session = tiny_session()
    COMMANDS.run(session, "until 1")
    stdin = sys.stdin = io.StringIO("step\n")
    try:
        with pytest.raises(CommandError):
            COMMANDS.run(session, line)
    finally:
        sys.stdin = sys.__stdin__
    assert not stdin.closed
    session.close()
