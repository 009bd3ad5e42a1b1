"""The thread that owns the model, without one."""

import queue
import threading

import pytest

from llmdbg.debugger.execution.replay import Replay
from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends.tui.worker.engine_thread import EngineThread
from llmdbg.frontends.tui.worker.launch import LaunchRequest
from llmdbg.frontends.tui.worker.messages import Arrived
from llmdbg.models.spec import ModelSpec


def test_what_waits_is_counted_by_one_thread_at_a_time():
    """Both threads count: an addition that another overtakes would leave the screen busy for ever."""
    engine = EngineThread(LaunchRequest(ModelSpec("none"), "", GenerationSettings()), lambda _: None)
    submits = threading.Thread(target=engine.submit, args=("next",))
    with engine._counting:
        submits.start()
        submits.join(0.2)
        assert submits.is_alive()
        assert not engine.busy
    submits.join()
    assert engine.busy


def test_no_more_than_a_few_commands_wait():
    engine = EngineThread(LaunchRequest(ModelSpec("none"), "", GenerationSettings()), lambda _: None)
    taken = [engine.submit("next") for _ in range(200)]
    assert 1 < sum(taken) < 200
    assert taken == sorted(taken, reverse=True)


INSIGHT = ("lens", "attention", "kv")


@pytest.fixture
def watched(tiny_folder):
    """An engine thread over a tiny model, and how often each token was run again since it last stood still."""
    arrived: queue.Queue[Arrived] = queue.Queue()
    request = LaunchRequest(
        ModelSpec(str(tiny_folder), device="cpu"), "The quick brown", GenerationSettings(max_new_tokens=6, greedy=True)
    )
    engine = EngineThread(request, lambda message: arrived.put(message) if isinstance(message, Arrived) else None)
    engine.start()
    arrived.get(timeout=60)
    yield engine, arrived
    engine.leave(20)


@pytest.mark.parametrize("name", INSIGHT)
def test_nothing_is_computed_for_a_pane_that_is_not_in_view(watched, monkeypatch, name):
    engine, arrived = watched
    runs: list[None] = []
    replay = engine._debugger.replay
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
