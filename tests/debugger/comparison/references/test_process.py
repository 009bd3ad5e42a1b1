"""What another process may say, or not say: the answer is typed, bounded and waited for, or it is one clear line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmdbg.debugger.comparison.references import process as module
from llmdbg.debugger.comparison.references.messages import Ask, Found, Ready
from llmdbg.debugger.comparison.references.process import InterruptedWaitError, OtherProcess
from llmdbg.errors import GenerationError

READY, FOUND = b'{"type":"ready","last_bit":0.5}\n', b'{"type":"found","number":1,"restarts":0,"there":false}\n'


@pytest.fixture
def running(tmp_path: Path) -> Callable[..., OtherProcess]:
    """Starts a program of these lines in the place of the real one."""

    def started(text: str, interrupted: Callable[[], bool] = lambda: False) -> OtherProcess:
        program = tmp_path / "program.py"
        program.write_text(f"import os, sys, time, signal\n{text}\n")
        return OtherProcess(sys.executable, program, interrupted)

    return started


def test_answers_come_in_order_and_signs_of_life_are_none(running: Callable[..., OtherProcess]) -> None:
    """In whatever pieces; what it prints to stderr is seen by nobody."""
    alive = b'{"type":"alive"}\n' * 3
    halves = f"os.write(1, {READY[:9]!r}); time.sleep(0.3); os.write(1, {READY[9:] + alive + FOUND!r})"
    process = running(f"print('noise', file=sys.stderr)\n{halves}\nsys.stdin.readline()\nos.write(1, {FOUND!r})")
    assert process.answer() == Ready(0.5)
    assert process.answer() == Found(1, 0, there=False)
    process.ask(Ask(2, 0, "embed", 0, 0, (), inputs=False))
    assert process.answer() == Found(1, 0, there=False)
    process.close()
    process.close()
    assert not process.folder.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("os.write(1, b'{}\\n')", "answers what llmdbg would not"),
        ("os.write(1, b'[' * 1000 + b'\\n')", "answers what llmdbg would not"),
        ('os.write(1, b\'{"type":"found","number":"x","restarts":0,"there":1}\\n\')', "llmdbg would not"),
        ("while True: os.write(1, b'x' * 4096)", "answers what llmdbg would not"),
        ("sys.exit(3)", "ended by itself (exit code 3)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed, as happens where memory runs out"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed (SIGSEGV)"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "was ended by SIGTERM"),
        ("time.sleep(600)", "has said nothing for"),
        ('os.write(1, b\'{"type":"failed","why":"no \\\\n room\' + b\'!\' * 2000 + b\'"}\\n\')', "no room!!"),
    ],
)
def test_anything_else_is_one_line(
    running: Callable[..., OtherProcess], monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    """Whatever it says, and if it says nothing."""
    monkeypatch.setattr(module, "LONGEST_SILENCE", 1.0 if "sleep" in text else 60.0)
    process = running(text)
    with pytest.raises(GenerationError) as raised:
        process.answer()
    assert says in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 1000
    process.close()
    assert not process.folder.exists()


def test_what_it_is_told_when_it_has_ended(running: Callable[..., OtherProcess]) -> None:
    """A pipe without a reader is the same as no answer."""
    process = running("sys.exit(0)")
    process._process.wait(30)
    with pytest.raises(GenerationError, match="ended by itself"):
        process.ask(Ask(1, 0, "x" * 2**20, 0, 0, (), inputs=False))
    process.close()


def test_the_user_need_not_wait(running: Callable[..., OtherProcess]) -> None:
    """An interruption ends the wait, and not the process."""
    process = running(f"sys.stdin.readline(); os.write(1, {READY!r}); sys.stdin.readline()", lambda: True)
    with pytest.raises(InterruptedWaitError):
        process.answer(wait=False)
    process.ask(Ask(1, 0, "embed", 0, 0, (), inputs=False))
    assert process.answer() == Ready(0.5)
    process.close()
