"""What a screen offers when its engine, or the process that holds it, is killed."""

import os
import signal

import psutil
import pytest

from tests.frontends.detached.engines import PROGRAM, cooked, is_alive, modes_left_changed, started, wait_until
from tests.terminal import Terminal


@pytest.mark.slow
def test_an_engine_that_is_killed_can_be_followed_by_another(engines, tiny_folder):
    seen = started(engines, tiny_folder)
    seen.send("nn")
    seen.wait_for("layer 0")
    seen.read(0.5)
    os.kill(engines.status().pid, signal.SIGKILL)
    seen.wait_for("start another")
    assert b"the engine was killed (SIGKILL" in seen.received
    assert modes_left_changed(seen.received) == {}
    seen.send("\r")
    seen.wait_for("layer 0")
    seen.wait_for("resumed")


def test_of_an_engine_that_is_killed_while_it_loads_no_session_is_promised(engines, tiny_folder):
    seen = engines.terminal(str(tiny_folder), "-p", "Hi", "--greedy", "-n", "4", "--detachable")
    seen.wait_for("loading")
    os.kill(engines.status().pid, signal.SIGKILL)
    seen.wait_for("there is no saved session of it to continue")
    assert b"the engine was killed (SIGKILL" in seen.received
    assert b"--resume" not in seen.received
    assert seen.wait_for_exit() == 1


@pytest.mark.slow
def test_a_holder_that_is_killed_takes_its_engine_along_and_the_session_stays(engines, tiny_folder):
    seen = started(engines, tiny_folder)
    seen.send("n")
    seen.wait_for("embed")
    seen.read(0.5)
    session, engine, holder = engines.status().session, psutil.Process(engines.status().pid), engines.holder()
    holder.kill()
    seen.wait_for("start another")
    wait_until(lambda: not is_alive(engine), "the engine to end")
    seen.send("n\r")
    assert seen.wait_for_exit() == 1
    assert f"--resume {session} --detachable".encode() in seen.received
    assert engines.run("attach").returncode == 2


@pytest.mark.slow
def test_after_a_killed_holder_it_is_its_own_session_that_goes_on_detachable_as_before(engines, tiny_folder):
    seen = started(engines, tiny_folder)
    seen.send("nn")
    seen.wait_for("layer 0")
    seen.read(0.5)
    session, holder = engines.status().session, engines.holder()
    # Another one is saved later than this.
    later = started(engines, tiny_folder)
    later.send("Q")
    later.wait_for_exit()
    before = set(engines.ids())
    holder.kill()
    seen.wait_for("start another")
    # At once, while the engine may still be ending.
    seen.send("\r")
    seen.wait_for("resumed")
    seen.wait_for("layer 0")
    assert [engines.status(id).session for id in set(engines.ids()) - before] == [session]


@pytest.mark.slow
def test_without_an_engine_of_its_own_a_kill_gives_the_terminal_back(engines, tiny_folder):
    said = f"{' '.join(PROGRAM)} {tiny_folder} -p Hi --greedy -n 4 --no-detachable; read line"
    seen = Terminal("sh", "-c", said, environment=engines.environment)
    try:
        seen.wait_for("split into")
        seen.send("n")
        seen.wait_for("embed")
        seen.read(0.5)
        psutil.Process(seen.process.pid).children()[0].kill()
        wait_until(lambda: seen.read() or modes_left_changed(seen.received) == {}, "the terminal to be given back")
        assert b"`llmdbg --resume` continues the session" in seen.received
        assert cooked(seen.line_settings)
    finally:
        seen.close()
    again = engines.terminal("--resume", "--no-detachable")
    again.wait_for("resumed")
    again.wait_for("embed")
