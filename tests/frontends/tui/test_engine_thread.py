"""The thread that owns the model, without one."""

import threading

from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends.tui.engine_thread import EngineThread
from llmdbg.frontends.tui.launch import LaunchRequest
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
