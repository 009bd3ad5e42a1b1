"""The thread that owns the run goes on, whatever a request comes to."""

from __future__ import annotations

import pytest

from llmdbg.frontends.server.opening import Served
from llmdbg.frontends.server.permissions import Permissions
from llmdbg.frontends.server.requests import Command, Open
from llmdbg.frontends.server.run_thread import RunThread
from llmdbg.frontends.server.served_run import ServedRun
from llmdbg.models.spec import ModelSpec


@pytest.fixture
def thread(tiny_folder):
    found = RunThread(lambda: ServedRun(Served(ModelSpec(str(tiny_folder))), Permissions()))
    found.start()
    assert not ask(found, Open(prompt="Hi", max_new_tokens=3)).failed
    yield found
    found.leave()


def ask(thread, request):
    return thread.submit(request, lambda *_: None).result(120)


@pytest.mark.parametrize("bug", [ZeroDivisionError("oh\nno"), SystemExit(3), KeyboardInterrupt(), RecursionError()])
def test_a_bug_of_ours_ends_one_request_alone(thread, monkeypatch, bug):
    def fail(*_):
        raise bug

    with monkeypatch.context() as patched:
        patched.setattr(ServedRun, "_run", fail)
        journal = ask(thread, Command(line="info model"))
    [error] = journal.events
    assert journal.failed and error["type"] == "Bug" and type(bug).__name__ in error["message"]
    assert "\n" not in error["message"]
    assert not ask(thread, Command(line="step")).failed


def test_what_waits_when_the_client_has_gone_is_not_begun(thread):
    running = thread.submit(Command(line="step 1000000"), lambda *_: None)
    waiting = [thread.submit(Command(line="step"), lambda *_: None) for _ in range(5)]
    thread.leave()
    assert running.done() and all(each.cancelled() for each in waiting)
    assert not thread.is_alive()


def test_it_says_what_runs_and_where_it_stands(thread):
    assert (thread.state().open is not None, thread.state().running) == (True, None)
    ask(thread, Command(line="until 1"))
    assert (thread.state().address, thread.state().token) == ("1", 0)
    assert thread.interrupt() is False, "nothing runs"
