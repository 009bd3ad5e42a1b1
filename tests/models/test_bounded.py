"""A child does the work, and its limits hold."""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from llmdbg.models.bounded import BoundExceededError, WorkFailedError, run_bounded

MIB = 2**20


def bounded(work, seconds=2, memory=256 * MIB, most=1000):
    return run_bounded(work, seconds=seconds, memory=memory, most=most)


@pytest.mark.parametrize("text", ["", "hello", "é☂\ud800", "x" * 999])
def test_the_result_comes_back(text):
    assert bounded(lambda: text, most=10_000) == text


def test_it_runs_elsewhere():
    assert bounded(lambda: str(os.getpid())) != str(os.getpid())


@pytest.mark.parametrize(
    ("error", "message"),
    [(ValueError("no"), "no"), (KeyError(), "KeyError"), (SystemExit(3), "3"), (OSError("x"), "x")],
)
def test_an_exception_comes_back_as_words(error, message):
    def fail():
        raise error

    with pytest.raises(WorkFailedError) as caught:
        bounded(fail)
    assert str(caught.value) == message


def spin():
    while True:
        pass


def compute():
    # One call into C, which looks at no signal.
    return str(10 ** (10**9))[:1]


@pytest.mark.parametrize("work", [spin, compute])
def test_time_is_limited(work):
    began = time.monotonic()
    with pytest.raises(BoundExceededError, match="takes more than"):
        bounded(work, seconds=1)
    assert time.monotonic() - began < 10


def test_a_child_that_waits_for_a_lock_of_another_thread_is_forked_again():
    lock = threading.Lock()
    assert lock.acquire()
    threading.Timer(1, lock.release).start()

    def work():
        with lock:
            return "done"

    began = time.monotonic()
    assert bounded(work, seconds=20) == "done"
    assert time.monotonic() - began < 20, "not only when its time was over"


@pytest.mark.slow
def test_sleeping_is_limited():
    began = time.monotonic()
    with pytest.raises(BoundExceededError, match="takes more than 1 seconds"):
        bounded(lambda: str(time.sleep(60)), seconds=1)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("work", [lambda: "x" * 2**34, lambda: str([0] * 2**31)])
def test_memory_is_limited(work):
    with pytest.raises(BoundExceededError, match="takes more than 256 MiB of memory"):
        bounded(work)


def test_the_result_is_limited():
    with pytest.raises(BoundExceededError, match="makes more than"):
        bounded(lambda: "x" * 50 * MIB, most=MIB)


def test_a_child_that_is_killed_is_reported():
    with pytest.raises(BoundExceededError, match="takes more than 2 seconds or 256 MiB of memory"):
        bounded(lambda: str(os.kill(os.getpid(), signal.SIGKILL)))


def children():
    return {child for thread in Path("/proc/self/task").glob("*/children") for child in thread.read_text().split()}


def test_nothing_is_left_behind():
    others = children()
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for work in (lambda: "x", spin):
        with suppress(BoundExceededError):
            bounded(work, seconds=1)
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert children() <= others
