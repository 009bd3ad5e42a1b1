"""An engine outlives its screen: real terminals that are killed, closed, resized, shared and attached again."""

import os
import random
import signal
import statistics
import time

import psutil
import pytest

from llmdbg.files import state_folder
from llmdbg.frontends.wire.frames import MOST_BYTES, PREAMBLE, Kind
from llmdbg.frontends.wire.messages import End, Ended, Refused, Repaint, Role
from tests.frontends.detached.engines import (
    PROGRAM,
    cooked,
    ended,
    ids_of,
    modes_left_changed,
    processes_of,
    saved_ids,
    started,
    wait_until,
)
from tests.terminal import Terminal


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "hung up", "terminated", "interrupted"])
def test_the_engine_stands_where_it_was_when_its_screen_has_gone(engines, tiny_folder, how):
    seen = started(engines, tiny_folder)
    seen.send("nn")
    seen.wait_for("layer 0")
    seen.read(0.3)
    before, engine = seen.text, engines.status().pid
    if how == "hung up":
        seen.hang_up()
    else:
        numbers = {"killed": signal.SIGKILL, "terminated": signal.SIGTERM, "interrupted": signal.SIGINT}
        seen.process.send_signal(numbers[how])
    code = seen.wait_for_exit()
    assert code in (-9, 129, 130, 143)
    if how in ("terminated", "interrupted"):
        wait_until(lambda: seen.read() or modes_left_changed(seen.received) == {}, "the terminal to be given back")
        assert cooked(seen.line_settings)

    again = engines.attach()
    again.wait_for("layer 0")
    again.read(0.3)
    assert again.text == before
    assert engines.status().pid == engine
    again.send("n")
    again.wait_for("layer 1")


def test_a_screen_that_is_killed_leaves_its_terminal_as_it_was(engines, tiny_folder):
    seen = Terminal(
        "sh", "-c", f"{' '.join(PROGRAM)} {tiny_folder} -p Hi --detachable; read line", environment=engines.environment
    )
    try:
        seen.wait_for("split into")
        psutil.Process(seen.process.pid).children()[0].kill()
        wait_until(lambda: seen.read() or modes_left_changed(seen.received) == {}, "the terminal to be given back")
        assert b"takes the engine up again" in seen.received
        assert cooked(seen.line_settings)
    finally:
        seen.close()


@pytest.mark.slow
def test_leaving_asks_and_ending_leaves_nothing(engines, tiny_folder):
    seen = started(engines, tiny_folder)
    seen.send("q")
    seen.wait_for("leave it standing")
    seen.send("\x1b")
    seen.read(0.5)
    seen.send("q")
    seen.wait_for("leave it standing")
    seen.send("\r")
    assert seen.wait_for_exit() == 0
    assert b"takes it up again" in seen.received.rpartition(b"\x1b[?1049l")[2]
    assert modes_left_changed(seen.received) == {}
    assert engines.status().screens == 0

    again = engines.attach()
    again.wait_for("split into")
    again.send("Q")
    assert again.wait_for_exit() == 0

    last = engines.attach()
    last.wait_for("split into")
    last.send("q")
    last.wait_for("leave it standing")
    last.send("end\r")
    assert last.wait_for_exit() == 0
    assert modes_left_changed(last.received) == {}
    ended(engines)


@pytest.mark.slow
def test_the_terminal_that_comes_is_shown_what_it_can_show(engines, tiny_folder):
    seen = started(engines, tiny_folder, size=(120, 40))
    seen.process.kill()
    plain = engines.attach(TERM="vt100", COLORTERM=None, LC_ALL="C", size=(80, 24))
    plain.wait_for("split into")
    plain.read(0.5)
    assert plain.received.isascii()
    assert b"38;2;" not in plain.received
    assert b"38;5;" not in plain.received
    assert b"\x1b[>25u" not in plain.received
    assert "+" in plain.screen.display[1]
    plain.process.kill()
    rich = engines.attach(TERM="xterm-256color", COLORTERM="truecolor", size=(120, 40))
    rich.wait_for("╭")
    rich.read(0.5)
    assert b"38;2;" in rich.received
    assert all(mode in rich.received for mode in (b"\x1b[?1006h", b"\x1b[?2004h", b"\x1b[?1049h", b"\x1b[>25u"))
    assert "╰" in rich.text.splitlines()[37] + rich.text.splitlines()[38]
    rich.send("Q")
    assert rich.wait_for_exit() == 0
    assert modes_left_changed(rich.received) == {}


def test_two_screens_watch_and_one_drives(engines, tiny_folder):
    driver = started(engines, tiny_folder, size=(100, 30))
    watcher = engines.attach(size=(110, 30))
    watcher.wait_for("watching: another screen drives")
    small = engines.attach(size=(60, 20))
    small.wait_for("is larger:")
    driver.send("n")
    for each in (driver, watcher):
        each.wait_for("@0 · embed")
    watcher.send("n")
    # By itself: Enter is only known where it comes alone.
    watcher.read(0.5)
    assert "watching: another screen drives" in watcher.text
    assert "layer 0" not in watcher.text.splitlines()[0]
    watcher.send("\r")
    watcher.wait_for("q quit")
    assert "watching" not in watcher.text
    driver.wait_for("is larger:")
    watcher.send("n")
    watcher.wait_for("layer 0")
    small.send("q")
    assert small.wait_for_exit() == 0
    # The one that drives leaves: the other drives again.
    watcher.send("Q")
    assert watcher.wait_for_exit() == 0
    driver.wait_for("layer 0")
    driver.send("n")
    driver.wait_for("layer 1")


@pytest.mark.slow
def test_a_wrong_model_says_and_returns_what_it_does_without(engines, tmp_path):
    said = []
    for detachable in ("--no-detachable", "--detachable"):
        seen = engines.terminal(str(tmp_path / "nothing"), "-p", "Hi", detachable)
        code = seen.wait_for_exit(60)
        said.append((code, seen.received.rpartition(b"\x1b[?1049l")[2].rpartition(b"llmdbg: ")[2]))
    assert said[0] == said[1]
    assert said[0][0] == 2
    ended(engines)


@pytest.mark.slow
def test_what_is_not_understood_is_dropped_in_a_line(engines, tiny_folder):
    seen = started(engines, tiny_folder)
    oversized = Kind.KEYS.value + (MOST_BYTES[Kind.KEYS] + 1).to_bytes(4, "big")
    for sent in (
        os.urandom(4096),
        PREAMBLE + oversized,
        PREAMBLE + b"m\x00\x00\x00\x02{}",
        PREAMBLE + b"o\x00\x00\x00\x00",
    ):
        client = engines.client()
        # The client has greeted already: another greeting is no frame either.
        client.socket.sendall(sent)
        refused = [each for each in client.messages(5) if isinstance(each, Refused)]
        assert len(refused) == 1
        client.close()
    silent = engines.client()
    seen.send("n")
    seen.wait_for("embed")
    silent.close()
    assert engines.status().screens == 1


@pytest.mark.slow
def test_who_only_watches_does_not_type(engines, tiny_folder):
    seen = started(engines, tiny_folder)
    client = engines.client()
    client.attach()
    assert next(each for each in client.messages(5) if isinstance(each, Role)).drives is False
    client.socket.sendall(Kind.KEYS.value + (4).to_bytes(4, "big") + b"nnnn")
    seen.read(1)
    assert "tokenize" in seen.text.splitlines()[0]
    client.close()


@pytest.mark.slow
def test_a_screen_that_reads_nothing_stops_nobody_and_sees_all_in_the_end(engines, tiny_folder):
    seen = started(engines, tiny_folder, size=(200, 50))
    stuck = engines.client()
    stuck.attach((200, 50))
    noisy = engines.client()
    noisy.attach((200, 50))
    for _ in range(150):
        # Each makes the engine draw the whole screen.
        noisy.send(Repaint())
        list(noisy.messages(0.01))
    seen.send("n")
    seen.wait_for("embed", 30)
    wait_until(lambda: list(stuck.messages(0.2)) or b"embed" in stuck.output.rpartition(b"\x18")[2], "all of it")
    for each in (stuck, noisy):
        each.close()


@pytest.mark.slow
def test_engines_are_listed_and_ended(engines, tiny_folder):
    assert "no engine is standing" in engines.run("attach").stderr
    assert engines.run("attach", "--list").stdout == "no engine is standing\n"
    first, second = started(engines, tiny_folder), started(engines, tiny_folder)
    first.send("Q")
    assert first.wait_for_exit() == 0
    listed = engines.run("attach")
    assert listed.returncode == 2
    assert "there are several" in listed.stderr
    heading, *rows = listed.stdout.splitlines()
    assert heading.split()[:3] == ["ID", "MODEL", "STANDS"]
    assert sorted("not while it is used" in each for each in rows) == [False, True]
    assert any("none" in each and "in 11 h 59 min if nobody attaches" in each for each in rows)
    for id in engines.ids():
        assert engines.run("attach", id[:8], "--end").returncode == 0
    second.wait_for_exit()
    assert "there is no engine 'ab'" in engines.run("attach", "ab").stderr
    ended(engines)


@pytest.mark.slow
def test_an_idle_engine_ends_by_the_rule(engines, tiny_folder, tmp_path):
    settings = tmp_path / "llmdbg"
    settings.mkdir()
    (settings / "config.toml").write_text("[detachable]\nalways = true\nidle_hours = 0.001\n")
    seen = engines.terminal(str(tiny_folder), "-p", "Hi", XDG_CONFIG_HOME=str(tmp_path))
    seen.wait_for("split into")
    seen.read(4)
    assert engines.status().screens == 1
    seen.process.kill()
    ended(engines)


@pytest.mark.slow
def test_ctrl_z_stops_the_screen_and_not_the_engine(engines, tiny_folder):
    seen = started(engines, tiny_folder)
    seen.process.send_signal(signal.SIGTSTP)
    wait_until(lambda: psutil.Process(seen.process.pid).status() == psutil.STATUS_STOPPED, "the screen to stop")
    seen.read(0.2)
    assert modes_left_changed(seen.received) == {}
    assert engines.status().screens == 1
    seen.process.send_signal(signal.SIGCONT)
    seen.screen.reset()
    seen.wait_for("split into")
    seen.send("n")
    seen.wait_for("embed")


@pytest.mark.slow
def test_a_link_that_drops_at_fifty_moments_loses_nothing(engines, tiny_folder):
    """The bound is half a second. Whatever else the machine does adds to it, so it is for the quickest quarter."""
    chance, times = random.Random(17), []
    expected = ids_of(
        engines.run(
            str(tiny_folder),
            "-p",
            "The quick brown fox",
            "--greedy",
            "-n",
            "40",
            "--batch",
            "--json",
            "-ex",
            "continue",
        )
    )
    seen = engines.start(tiny_folder, "-n", "40")
    seen.wait_for("split into")
    engine = engines.status().pid
    for _ in range(50):
        seen.send("".join(chance.choices("nsft", k=chance.randrange(3))))
        time.sleep(chance.random() * 0.2)
        seen.process.kill()
        begun = time.perf_counter()
        seen = engines.attach()
        seen.drawing = False
        seen.wait_for_bytes(b"quit", 20)
        times.append(time.perf_counter() - begun)
    quickest = statistics.quantiles(times, n=4)[0]
    print(f"re-attached in {quickest:.3f} s, {statistics.median(times):.3f} s, at most {max(times):.3f} s")
    assert quickest <= 0.5
    assert engines.status().pid == engine
    seen.send("c")
    wait_until(lambda: seen.read(0.1) or "ended" in engines.status().place, "the end", 60)
    wait_until(lambda: saved_ids(engines) == expected, "what was saved to be what a run without a screen generates")


def settled(count):
    """What is counted, once it has not changed for a while: the last that asked may not have been let go yet."""
    seen, since = count(), time.monotonic()
    while time.monotonic() < since + 1:
        time.sleep(0.05)
        if (now := count()) != seen:
            seen, since = now, time.monotonic()
    return seen


@pytest.mark.slow
def test_screens_that_come_and_go_in_every_way_leave_no_file(engines, tiny_folder, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    engines.environment["TMPDIR"] = str(temporary)
    seen = started(engines, tiny_folder)
    seen.send("Q")
    seen.wait_for_exit()

    def there():
        folders = (engines.folder, temporary, state_folder())
        return sorted(path for folder in folders for path in folder.rglob("*")), len(processes_of(engines.folder))

    before = settled(there)
    ways = (
        lambda seen: seen.process.kill(),
        lambda seen: seen.process.terminate(),
        lambda seen: seen.hang_up(),
        lambda seen: seen.send("Q"),
    )
    for leave in 4 * ways:
        seen = engines.attach()
        seen.drawing = False
        seen.wait_for_bytes(b"quit")
        leave(seen)
        assert seen.wait_for_exit() is not None
    assert settled(there) == before


@pytest.mark.slow
def test_a_day_of_coming_and_going_leaves_nothing(engines, tiny_folder):
    seen = started(engines, tiny_folder)
    seen.send("Q")
    seen.wait_for_exit()
    holder, engine = engines.holder(), psutil.Process(engines.status().pid)

    def counted():
        return holder.num_fds(), engine.num_fds(), engine.num_threads(), len(processes_of(engines.folder))

    before = settled(counted)
    for at in range(300):
        client = engines.client()
        client.attach((80 + at % 7, 24))
        if at % 3:
            next(each for each in client.messages(5) if isinstance(each, Role))
        client.close()
    wait_until(lambda: engines.status().screens == 0, "the last to be gone")
    wait_until(lambda: counted() == before, f"{before}, where it is {counted()}")
    again = engines.attach()
    again.wait_for("split into")
    again.send("q")
    again.wait_for("leave it standing")
    again.send("end\r")
    assert again.wait_for_exit() == 0
    ended(engines)


@pytest.mark.slow
def test_who_asks_for_the_end_is_told_of_it(engines, tiny_folder):
    started(engines, tiny_folder)
    client = engines.client()
    client.send(End())
    assert [each.code for each in client.messages(15) if isinstance(each, Ended)] == [0]
    client.close()
