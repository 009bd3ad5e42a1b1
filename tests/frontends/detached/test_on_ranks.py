"""An engine on two ranks of a real torchrun outlives its screens, and ends whole."""

from __future__ import annotations

import os
import random
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from llmdbg.debugger.persistence.store import SessionStore
from tests import sshd as ssh_server
from tests.frontends.detached.engines import Engines, ended, ids_of, is_alive, processes_of, saved_ids, wait_until
from tests.processes import kill
from tests.sshd import Sshd
from tests.terminal import Terminal
from tests.torchrun import SECONDS, complaints, write_model

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "llmdbg")
RUN = ("-p", "The quick brown", "--greedy", "-n", "6", "--detachable")
ROOT = Path(__file__).parents[3]
_SECONDS_TO_END = 10


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama that two ranks can share."""
    return write_model(tmp_path_factory.mktemp("shared") / "llama", "llama")


class Launched:
    """A torchrun without a terminal, and what it writes."""

    def __init__(self, engines: Engines, log: Path, *arguments: str, **environment: str) -> None:
        wanted = {**os.environ, **engines.environment, "OMP_NUM_THREADS": "1", **environment}
        self.log = log
        with log.open("w") as written:
            self.process = subprocess.Popen(
                (*TORCHRUN, *arguments),
                env={name: value for name, value in wanted.items() if value is not None},
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=written,
                start_new_session=True,
            )

    @property
    def said(self) -> list[str]:
        """What llmdbg complained of."""
        return complaints(self.log.read_text())

    def ranks(self) -> dict[int, psutil.Process]:
        """The processes of the ranks."""
        children = psutil.Process(self.process.pid).children()
        return {int(each.environ()["RANK"]): each for each in children}


@pytest.fixture
def launch(engines, tmp_path, shared_folder):
    """Starts two ranks of an engine; none of their processes is left when the test is over."""
    launched: list[Launched] = []

    def start(*arguments: str, **environment: str) -> Launched:
        words = arguments or (str(shared_folder), *RUN)
        launched.append(Launched(engines, tmp_path / f"log{len(launched)}", *words, **environment))
        return launched[-1]

    yield start
    kill(processes_of(engines.folder))
    for each in launched:
        each.process.wait()


def stands(engines: Engines, launched: Launched, where: str = "tokenize") -> int:
    """Wait until it stands at a stop. Returns the process of rank 0."""

    def there() -> bool:
        assert launched.process.poll() is None, launched.log.read_text()
        return bool(engines.ids()) and where in engines.status().place

    wait_until(there, f"the ranks to stand at {where}", SECONDS)
    return engines.status().pid


def attached(engines: Engines, shows: str = "tokenize", **settings) -> Terminal:
    """A screen that shows something."""
    seen = engines.attach(**settings)
    seen.wait_for(shows, SECONDS)
    return seen


def command(seen: Terminal, line: str, shows: str) -> None:
    """Type a command line, and wait for what it shows."""
    seen.send(f":{line}\r")
    seen.wait_for(shows, SECONDS)


def all_end(processes: Sequence[psutil.Process]) -> bool:
    """Whether all of them end in time."""
    return not psutil.wait_procs(processes, timeout=_SECONDS_TO_END)[1]


def after_the_screen(seen: Terminal) -> str:
    """What was written once the terminal was given back."""
    return seen.received.rpartition(b"\x1b[?1049l")[2].decode(errors="replace")


@pytest.mark.slow
def test_screens_that_are_killed_at_any_moment_are_followed_by_others_at_once(engines, launch, shared_folder):
    expected = ids_of(
        engines.run(str(shared_folder), *RUN[:-1], "--batch", "--json", "-ex", "continue"),
    )
    launched, chance, times = launch(), random.Random(18), []
    engine = stands(engines, launched)
    assert launched.log.read_text().startswith(f"the engine {engines.ids()[0][:6]} runs on 2 ranks: `llmdbg attach")
    assert "ends with its terminal" not in launched.log.read_text(), "it has none"
    ranks = launched.ranks()
    assert ranks[0].pid == engine
    for _ in range(10):
        seen = engines.attach()
        seen.drawing = False
        begun = time.perf_counter()
        seen.wait_for_bytes(b"quit", 30)
        times.append(time.perf_counter() - begun)
        seen.send("".join(chance.choices("nsf", k=chance.randrange(3))))
        time.sleep(chance.random() * 0.3)
        seen.process.kill()
    print(f"re-attached in {min(times):.3f} to {max(times):.3f} s")
    seen = attached(engines, "quit")
    command(seen, "until 1", "layer 1 of 2")
    seen.read(0.5)
    before = seen.text
    seen.process.kill()
    again = attached(engines, "layer 1 of 2")
    wait_until(lambda: again.read(0.1) or again.text == before, "the same screen")
    assert launched.ranks() == ranks
    again.send("c")
    wait_until(lambda: again.read(0.1) or "ended" in engines.status().place, "the end", SECONDS)
    wait_until(lambda: saved_ids(engines) == expected, "the tokens of one process to be saved")


def test_it_is_listed_two_screens_show_it_and_q_ends_every_rank(engines, launch):
    launched = launch()
    stands(engines, launched)
    _, row = engines.run("attach", "--list").stdout.splitlines()
    assert "llama on 2 ranks" in row
    assert "in 11 h 59 min if nobody attaches" in row
    driver = attached(engines, size=(120, 40))
    watcher = attached(engines, "watching: another screen drives", size=(120, 40))
    command(driver, "until 0.self_attn.q_proj", "split over axis 2")
    watcher.wait_for("split over axis 2")
    driver.send("Q")
    assert driver.wait_for_exit() == 0
    assert "is left standing" in after_the_screen(driver)
    watcher.send("q")
    watcher.wait_for("leave it standing")
    watcher.send("end\r")
    assert watcher.wait_for_exit() == 0
    assert launched.process.wait(SECONDS) == 0
    assert launched.said == []
    ended(engines)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_is_killed_while_nobody_looks_ends_all_and_the_session_is_saved(engines, launch, victim):
    launched = launch()
    stands(engines, launched)
    seen = attached(engines)
    command(seen, "until 1", "layer 1 of 2")
    seen.process.kill()
    wait_until(lambda: engines.status().screens == 0, "nobody to look")
    ranks = launched.ranks()
    ranks[victim].kill()
    assert all_end([*ranks.values()])
    ended(engines)
    [said] = launched.said
    assert re.match(rf"rank {victim} was lost \(.*\), so all ranks end; the session is saved", said), said
    [saved] = SessionStore().survey().interrupted
    assert f"--resume {saved.id}" in said
    assert "no engine is standing" in engines.run("attach").stderr
    again = launch("--resume", saved.id, "--detachable")
    stands(engines, again, "layer 1 of 2")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_screen_is_told_which_rank_was_lost_and_how_to_go_on(engines, launch, victim):
    launched = launch()
    stands(engines, launched)
    seen = attached(engines)
    command(seen, "until 1", "layer 1 of 2")
    session = engines.status().session
    launched.ranks()[victim].kill()
    assert seen.wait_for_exit(SECONDS) == 1
    told = after_the_screen(seen)
    if victim == 0:
        # How it has ended is known as long as torchrun has not taken note of it.
        assert "the engine was killed (SIGKILL" in told or "the engine has ended: its process has gone" in told
    else:
        assert "the engine has ended: rank 1 was lost (its process" in told
    assert f"torchrun on 2 ranks, with `--resume {session} --detachable`, continues the session" in told
    assert "start another" not in told
    ended(engines)
    assert SessionStore().load(session).place.address == "1"


@pytest.mark.slow
def test_nothing_is_left_of_it_when_torchrun_is_told_to_end(engines, launch):
    launched = launch()
    stands(engines, launched)
    seen = attached(engines)
    launched.process.terminate()
    assert seen.wait_for_exit(SECONDS) == 1
    assert "the engine has ended: ended by SIGTERM, so all ranks end" in after_the_screen(seen)
    launched.process.wait(SECONDS)
    ended(engines)
    assert SessionStore().survey().interrupted


@pytest.mark.slow
def test_nothing_is_left_of_it_when_its_holder_is_killed(engines, launch):
    launched = launch()
    stands(engines, launched)
    seen = attached(engines)
    ranks = launched.ranks()
    [holder] = (each for each in ranks[0].children() if each.cmdline() == ranks[0].cmdline())
    holder.kill()
    assert all_end([*ranks.values()])
    launched.process.wait(SECONDS)
    ended(engines)
    [said] = launched.said
    # Rank 0 has half a second to say it; then it is rank 1 that finds it gone.
    why = r"the process that held the engine has gone|rank 0 was lost \(.*\)"
    assert re.match(rf"({why}), so all ranks end; the session is saved", said), said
    assert seen.wait_for_exit() == 1
    assert "the process that held the engine has gone, and the engine with it" in after_the_screen(seen)
    assert "torchrun on 2 ranks, with `--resume" in after_the_screen(seen)


@pytest.mark.slow
def test_the_holder_that_is_told_to_end_ends_the_ranks_as_a_user_does(engines, launch):
    launched = launch()
    stands(engines, launched)
    ranks = launched.ranks()
    [holder] = (each for each in ranks[0].children() if each.cmdline() == ranks[0].cmdline())
    holder.terminate()
    assert launched.process.wait(SECONDS) == 0
    ended(engines)


@pytest.mark.slow
def test_ranks_that_nobody_looks_at_end_by_the_rule(engines, launch, tmp_path):
    settings = tmp_path / "llmdbg"
    settings.mkdir()
    (settings / "config.toml").write_text("[detachable]\nidle_hours = 0.001\n")
    launched = launch(XDG_CONFIG_HOME=str(tmp_path))
    assert launched.process.wait(SECONDS) == 0, launched.log.read_text()
    assert launched.said == []
    ended(engines)
    assert SessionStore().survey().closed


@pytest.mark.slow
def test_what_goes_wrong_is_found_where_torchrun_writes(engines, launch, tmp_path):
    nowhere = launch(str(tmp_path / "nothing"), *RUN)
    assert nowhere.process.wait(SECONDS) == 1
    assert any("nothing" in each for each in nowhere.said), nowhere.said
    without_a_screen = launch(str(tmp_path), *RUN, "--batch")
    assert without_a_screen.process.wait(SECONDS) == 1
    assert "--batch has no screen to outlive: leave out --detachable" in without_a_screen.said
    assert "attach" not in without_a_screen.log.read_text()
    ended(engines)


@pytest.mark.slow
def test_a_folder_that_others_can_enter_is_refused_on_ranks_too(engines, launch):
    engines.folder.mkdir(mode=0o755)
    launched = launch()
    assert launched.process.wait(SECONDS) == 1
    [said] = launched.said
    assert "is not a folder that only you can enter" in said


@pytest.mark.slow
def test_a_torchrun_that_ends_with_its_terminal_is_said(engines, shared_folder):
    seen = Terminal(
        *TORCHRUN, str(shared_folder), *RUN, size=(200, 24), environment={**engines.environment, "OMP_NUM_THREADS": "1"}
    )
    try:
        seen.wait_for("torchrun, and every rank with it, ends with its terminal: `setsid -f torchrun …`", SECONDS)
        wait_until(lambda: engines.ids() and "tokenize" in engines.status().place, "the ranks to stand", SECONDS)
        left = processes_of(engines.folder)
        seen.hang_up()
        wait_until(lambda: not any(map(is_alive, left)), "all of them to end")
        assert list(engines.folder.iterdir()) == []
    finally:
        seen.close()


@pytest.mark.slow
@pytest.mark.skipif(bool(ssh_server.missing()), reason=ssh_server.missing())
def test_started_as_the_documentation_says_it_outlives_a_link_that_drops(engines, shared_folder, tmp_path):
    [line] = re.findall(r"(?m)^(setsid -f torchrun .*)$", (ROOT / "docs" / "ranks.md").read_text())
    program = shlex.join((*TORCHRUN, str(shared_folder), *RUN))
    line = re.sub(r"torchrun .* --detachable", lambda _: program, line).replace("run.log", str(tmp_path / "run.log"))
    assert line.startswith("setsid -f /")
    assert line.endswith(f"--detachable </dev/null >{tmp_path}/run.log 2>&1")
    server = Sshd(tmp_path)
    settings = {name: value for name, value in engines.environment.items() if name != "LC_ALL"}
    variables = [f"{name}={value}" for name, value in settings.items()]
    folders = (f"XDG_{kind}_HOME={tmp_path / kind}" for kind in ("STATE", "CONFIG"))
    begin = f"cd {shlex.quote(str(ROOT))}; export {shlex.join((*variables, *folders, 'OMP_NUM_THREADS=1'))}"
    attach = shlex.join((sys.executable, "-m", "llmdbg", "attach"))
    login = again = None
    try:
        # Typed in an interactive bash, which hangs up on its jobs as it is hung up on.
        login = Terminal(*server.ssh(f"{begin}; PS1=ready exec bash --norc -i"), environment={"LANG": "C.UTF-8"})
        login.wait_for("ready")
        login.send(f"{line}\r")
        wait_until(lambda: engines.ids() and "tokenize" in engines.status().place, "the ranks to stand", SECONDS)
        engine = engines.status().pid
        assert "ends with its terminal" not in (tmp_path / "run.log").read_text()
        login.send(f"{attach}\r")
        login.wait_for("tokenize", SECONDS)
        command(login, "until 1", "layer 1 of 2")
        kill((psutil.Process(login.process.pid), *server.serving()))
        wait_until(lambda: engines.status().screens == 0, "the screen to be gone")
        again = Terminal(*server.ssh(f"{begin}; {attach}"), environment={"LANG": "C.UTF-8"})
        again.wait_for("layer 1 of 2", SECONDS)
        assert engines.status().pid == engine
        again.send("q")
        again.wait_for("leave it standing")
        again.send("end\r")
        assert again.wait_for_exit(SECONDS) == 0
        ended(engines)
    finally:
        for each in (login, again):
            if each is not None:
                each.close()
        server.close()
        kill(processes_of(engines.folder))


@pytest.mark.slow
def test_a_screen_that_attaches_while_the_ranks_load_sees_them_stop(engines, launch):
    launch()
    wait_until(engines.ids, "the engine to be found", SECONDS)
    seen = attached(engines)
    seen.send("n")
    seen.wait_for("@0 · embed", SECONDS)
