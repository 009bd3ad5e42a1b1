"""Errands to the main thread, which may be waiting: for the very thread that sends it."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable

import pytest

from llmdbg.engine.program import errands as module
from llmdbg.engine.program.errands import Errands

_TAKEN = signal.SIGURG


def sent(errands: Errands, do: Callable[[], None], wait: Callable[[threading.Thread], None]) -> list[object]:
    """What `do`'s errand returned or raised, sent from another thread while this one does `wait`."""
    found: list[object] = []

    def send() -> None:
        try:
            found.append(errands.run(do, lambda: False))
        except SystemExit as error:
            found.append(error)

    errands.begin()
    thread = threading.Thread(target=send)
    try:
        thread.start()
        wait(thread)
        thread.join(10)
    finally:
        errands.end()
    return found


def test_it_is_run_in_the_main_thread_while_that_waits_for_the_sender() -> None:
    ran: list[threading.Thread] = []
    assert sent(Errands(lambda: True), lambda: ran.append(threading.current_thread()), lambda each: each.join(10)) == [
        True
    ]
    assert ran == [threading.main_thread()]
    assert signal.getsignal(_TAKEN) == signal.SIG_DFL, "the signal is given back"


def test_one_that_fails_ends_the_sender_and_goes_on_in_the_main_thread() -> None:
    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sent(Errands(lambda: True), fails, lambda each: each.join(10))


def test_it_waits_while_the_main_thread_holds_a_lock_of_logging() -> None:
    order: list[str] = []

    class Slow(logging.Handler):
        def emit(self, _record: logging.LogRecord) -> None:
            logging_now.set()
            time.sleep(0.2)
            order.append("logged")

    logging_now = threading.Event()
    logger = logging.getLogger("slow")
    logger.addHandler(Slow())

    class Later(Errands):
        def run(self, do: Callable[[], None], is_waiting: Callable[[], bool]) -> bool:
            logging_now.wait(10)
            return super().run(do, is_waiting)

    sent(Later(lambda: True), lambda: order.append("ran"), lambda _: logger.warning("x"))
    assert order == ["logged", "ran"]


def test_a_main_thread_that_is_never_reached_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_TO_WAIT", 0.1)
    ran: list[int] = []
    assert sent(Errands(lambda: False), lambda: ran.append(1), lambda each: each.join(10)) == [False]
    assert ran == []


def test_one_that_is_made_in_another_thread_takes_no_signal() -> None:
    made: list[Errands] = []
    thread = threading.Thread(target=lambda: made.append(Errands(lambda: True)))
    thread.start()
    thread.join()
    made[0].begin()
    assert not made[0].can_run
    assert signal.getsignal(_TAKEN) == signal.SIG_DFL
