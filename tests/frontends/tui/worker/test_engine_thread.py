"""The thread that owns the model, without one."""

import gc
import queue
import threading
import time

import pytest

from llmdbg.debugger.execution.replay import Replay
from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends.autosave import Autosave
from llmdbg.frontends.launch_request import LaunchRequest
from llmdbg.frontends.tui.worker.engine_thread import EngineThread
from llmdbg.frontends.tui.worker.messages import Arrived
from llmdbg.models.spec import ModelSpec
from tests.frontends.tui.driving import watched_debuggers


def test_no_more_than_a_few_commands_wait():
    engine = EngineThread(LaunchRequest(ModelSpec("none"), "", GenerationSettings()), lambda _: None)
    taken = [engine.submit("next") for _ in range(200)]
    assert 1 < sum(taken) < 200
    assert taken == sorted(taken, reverse=True)


INSIGHT = ("lens", "attention", "kv")


@pytest.fixture
def watched(tiny_folder, monkeypatch):
    """An engine thread over a tiny model, what arrives from it, and the debuggers it makes."""
    debuggers = watched_debuggers(monkeypatch)
    arrived: queue.Queue[Arrived] = queue.Queue()
    request = LaunchRequest(
        ModelSpec(str(tiny_folder), device="cpu"), "The quick brown", GenerationSettings(max_new_tokens=6, greedy=True)
    )
    engine = EngineThread(request, lambda message: arrived.put(message) if isinstance(message, Arrived) else None)
    engine.start()
    arrived.get(timeout=60)
    yield engine, arrived, debuggers
    engine.leave(20)


@pytest.mark.parametrize("name", INSIGHT)
def test_nothing_is_computed_for_a_pane_that_is_not_in_view(watched, monkeypatch, name):
    engine, arrived, debuggers = watched
    runs: list[None] = []
    replay = debuggers[-1].replay
    monkeypatch.setattr(replay, "record_again", lambda: runs.append(Replay.record_again(replay)))

    def after(line):
        assert engine.submit(line)
        return arrived.get(timeout=60).snapshot

    assert name not in after("goto 1@1").asked
    assert runs == []
    assert replay.run.recorder.addresses(1) == frozenset()

    engine.ask((name,))
    assert name in arrived.get(timeout=60).snapshot.asked
    assert len(runs) <= 1
    for _ in range(6):
        assert name in after("next").asked
    assert len(runs) <= 1
    assert replay.run.recorder.addresses(replay.run.stop.token)

    engine.ask(())
    asked_last = replay.run.stop.token
    assert name not in after(f"goto 1@{asked_last + 2}").asked
    assert replay.run.recorder.addresses(replay.run.stop.token) == frozenset()


def test_what_the_first_stop_has_brought_is_not_looked_through_for_garbage_again(tiny_folder):
    frozen: list[int] = []
    request = LaunchRequest(ModelSpec(str(tiny_folder)), "The quick brown", GenerationSettings(max_new_tokens=2))
    engine = EngineThread(
        request, lambda message: frozen.append(gc.get_freeze_count()) if isinstance(message, Arrived) else None
    )
    engine.start()
    end = time.monotonic() + 60
    while engine.working:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert gc.get_freeze_count() > frozen[0]
    engine.leave(20)


def test_it_is_busy_until_everything_it_took_is_done_and_no_longer(watched):
    """Two threads count what waits: a count that is off would leave the screen busy forever, or free too early."""
    engine, arrived, _ = watched
    taken: list[bool] = []

    def submit(line):
        taken.extend(engine.submit(line) for _ in range(20))

    threads = [threading.Thread(target=submit, args=(line,)) for line in ("info stage", "no such command")]
    for each in threads:
        each.start()
    for question in INSIGHT:
        engine.ask((question,))
        engine.fetch("values", (0, len(question)))
    for each in threads:
        each.join()
    assert all(taken)
    done = 0
    while done < len(taken):
        assert engine.busy
        done += not arrived.get(timeout=60).looked_again
    end = time.monotonic() + 60
    while engine.busy:
        assert time.monotonic() < end, "it thinks that something still waits"
        time.sleep(0.01)
    assert engine.submit("next")
    assert engine.busy


def test_saving_waits_for_the_screen_but_not_for_the_next_command(watched, monkeypatch):
    engine = watched[0]
    while engine.working:
        time.sleep(0.01)
    events: queue.SimpleQueue[str] = queue.SimpleQueue()
    keep, post, run = Autosave.keep, engine._post, engine._run_line
    monkeypatch.setattr(Autosave, "keep", lambda *its: (events.put("saved"), keep(*its)))
    monkeypatch.setattr(engine, "_post", lambda message: (events.put("shown"), post(message)))
    monkeypatch.setattr(engine, "_run_line", lambda debugger, line: (events.put(line), run(debugger, line)))
    waits: list[float | None] = []
    lines = engine._lines

    class Watched:
        put = staticmethod(lines.put)

        def get(self, timeout=None):
            waits.append(timeout)
            return lines.get(timeout=timeout)

    engine._lines = Watched()
    engine.submit("next")
    assert [events.get(timeout=60) for _ in range(3)] == ["next", "shown", "saved"]
    assert any(waits)
    engine.submit("next")
    engine.submit("next")
    assert [events.get(timeout=60) for _ in range(6)] == ["next", "shown", "saved", "next", "shown", "saved"]
