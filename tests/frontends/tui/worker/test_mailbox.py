"""What waits for a screen that does not come: the newest, every answer, and no more than fits."""

import threading
import tracemalloc
from typing import Any

import pytest

from llmdbg.frontends.tui.worker import mailbox as mailbox_module
from llmdbg.frontends.tui.worker.mailbox import Mailbox, MailCame
from llmdbg.frontends.tui.worker.messages import Arrived, Failed, Left, Loading, Running

# The mailbox looks into none of what it carries: any value stands for a snapshot or for progress here.


def running(progress: Any) -> Running:
    return Running(progress)


def loading(progress: Any) -> Loading:
    return Loading(progress)


def arrived(snapshot: Any, **more: Any) -> Arrived:
    return Arrived(snapshot, **more)


@pytest.fixture
def wakes():
    return []


@pytest.fixture
def mailbox(wakes):
    return Mailbox(lambda: wakes.append(1))


def told(mailbox):
    """What is taken, in short."""
    return [
        (message.snapshot, message.answer, message.error)
        if isinstance(message, Arrived)
        else getattr(message, "progress", type(message))
        for message in mailbox.take()
    ]


def test_of_progress_only_the_newest_waits(mailbox):
    for progress in range(5):
        mailbox.put(running(progress))

    assert told(mailbox) == [4]
    assert told(mailbox) == []


def test_kinds_of_progress_come_in_the_order_of_their_newest(mailbox):
    for message in (loading(1), running(2), loading(3)):
        mailbox.put(message)

    assert told(mailbox) == [2, 3]


def test_one_wake_up_waits_at_a_time(mailbox, wakes):
    for progress in range(5):
        mailbox.put(running(progress))
    assert len(wakes) == 1
    mailbox.take()
    mailbox.put(running(6))
    mailbox.put(Left())

    assert len(wakes) == 2


def test_what_arrived_makes_older_progress_stale_and_newer_follows(mailbox):
    for message in (running("old"), loading("old"), arrived("here"), running("new")):
        mailbox.put(message)

    assert told(mailbox) == [("here", (), ""), "new"]


def test_an_arrival_that_tells_nothing_more_gives_way(mailbox):
    for place in ("a", "b", "c"):
        mailbox.put(arrived(place))

    assert told(mailbox) == [("c", (), "")]


def test_answers_and_errors_are_kept_in_order_with_the_newest_snapshot(mailbox):
    mailbox.put(arrived("a", answer=("forty-two",)))
    mailbox.put(arrived("b"))
    mailbox.put(arrived("c", error="wrong"))
    mailbox.put(arrived("d"))

    assert told(mailbox) == [("d", ("forty-two",), ""), ("d", (), "wrong"), ("d", (), "")]


def test_looking_again_hides_no_arrival(mailbox):
    """The screen says where a run has come to when it arrives, and not when a pane was asked again."""
    mailbox.put(arrived("a"))
    for place in ("b", "c"):
        mailbox.put(arrived(place, looked_again=True))
    taken = mailbox.take()

    assert [(message.snapshot, message.looked_again) for message in taken] == [("c", False), ("c", True)]


def test_what_ends_the_session_comes_last(mailbox):
    error = ValueError()
    for message in (Failed(error), arrived("a"), Left()):
        mailbox.put(message)
    taken = mailbox.take()

    assert [type(message) for message in taken] == [Arrived, Failed, Left]
    assert taken[1].error is error


def test_too_many_answers_leave_the_oldest_out_and_say_so(mailbox, monkeypatch):
    monkeypatch.setattr(mailbox_module, "MOST_ANSWER_LINES", 10)
    for number in range(100):
        mailbox.put(arrived(number, answer=(f"answer {number}",)))
    taken = mailbox.take()

    assert [message.answer[-1] for message in taken] == [f"answer {number}" for number in range(95, 100)]
    assert taken[0].answer == ("(95 earlier answers are left out)", "answer 95")
    mailbox.put(arrived("x", answer=("next",)))
    assert told(mailbox) == [("x", ("next",), "")]


def test_one_answer_is_never_too_long_to_be_told(mailbox, monkeypatch):
    monkeypatch.setattr(mailbox_module, "MOST_ANSWER_LINES", 10)
    mailbox.put(arrived("a", answer=("line",) * 50))

    assert told(mailbox) == [("a", ("line",) * 50, "")]


def test_memory_stays_flat_however_long_nobody_comes(mailbox):
    def fill(count):
        for number in range(count):
            mailbox.put(running(bytearray(10_000)))
            mailbox.put(arrived(bytearray(10_000)))
            mailbox.put(arrived(bytearray(10_000), error=f"wrong {number}" if number % 10 == 0 else ""))
            mailbox.put(running(bytearray(10_000)))

    tracemalloc.start()
    try:
        fill(100)
        before = tracemalloc.get_traced_memory()[0]
        fill(1000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert grown < 200_000, "one hundred errors are all that may be added"


def test_a_screen_that_has_gone_is_no_trouble_for_the_engine():
    def gone():
        raise RuntimeError("Event loop is closed")

    Mailbox(gone).put(running(1))


def test_nothing_is_lost_between_threads():
    """Every answer comes, each source's in order, and after the last wake-up nothing is left."""
    pending = threading.Semaphore(0)
    mailbox = Mailbox(pending.release)
    taken: list[Any] = []
    threads: list[threading.Thread] = []

    def put(source):
        for number in range(200):
            mailbox.put(arrived("", answer=(source, number)))
            mailbox.put(running(number))

    for source in "abcd":
        threads.append(threading.Thread(target=put, args=(source,)))
        threads[-1].start()
    while any(thread.is_alive() for thread in threads):
        if pending.acquire(timeout=0.05):
            taken += mailbox.take()
    while pending.acquire(blocking=False):
        taken += mailbox.take()
    for thread in threads:
        thread.join()

    for source in "abcd":
        answers: list[Any] = [
            message.answer[1] for message in taken if isinstance(message, Arrived) and message.answer[0] == source
        ]
        assert answers == list(range(200))


async def test_an_app_that_is_busy_gets_one_wake_up_and_then_everything():
    """With Textual's own queue between: what a blocked main thread finds when it goes on."""
    from textual.app import App

    class Busy(App[None]):
        def __init__(self):
            super().__init__()
            self.mailbox = Mailbox(lambda: self.post_message(MailCame()))
            self.came, self.shown = 0, []

        def on_mail_came(self):
            self.came += 1
            for message in self.mailbox.take():
                self.post_message(message)

        def on_running(self, message):
            self.shown.append(message.progress)

        def on_arrived(self, message):
            self.shown.append(message.error)

    app = Busy()
    async with app.run_test() as pilot:

        def engine():
            for number in range(1000):
                app.mailbox.put(running(number))
            app.mailbox.put(arrived("", error="wrong"))
            app.mailbox.put(running("newest"))

        thread = threading.Thread(target=engine)
        thread.start()
        thread.join()  # The event loop stands still meanwhile.
        await pilot.pause()
        assert app.came == 1
        assert app.shown == ["wrong", "newest"]
