"""An engine behind a real sshd, whose link is dropped."""

import shlex
import sys
from pathlib import Path

import psutil
import pytest

from tests import sshd as ssh_server
from tests.frontends.detached.engines import wait_until
from tests.processes import kill
from tests.sshd import Sshd
from tests.terminal import Terminal

pytestmark = pytest.mark.skipif(bool(ssh_server.missing()), reason=ssh_server.missing())

ROOT = Path(__file__).parents[3]


def test_a_dropped_link_leaves_the_engine_at_its_stop(engines, tiny_folder, tmp_path):
    server = Sshd(tmp_path)
    settings = {name: value for name, value in engines.environment.items() if name != "LC_ALL"}
    variables = [f"{name}={value}" for name, value in settings.items()]

    def session(*arguments):
        folders = (f"XDG_{kind}_HOME={tmp_path / kind}" for kind in ("STATE", "CONFIG"))
        program = shlex.join(("env", *variables, *folders, sys.executable, "-m", "llmdbg", *arguments))
        return Terminal(*server.ssh(f"cd {shlex.quote(str(ROOT))} && {program}"), environment={"LANG": "C.UTF-8"})

    seen = session(str(tiny_folder), "-p", "The quick brown fox", "--greedy", "--detachable")
    again = None
    try:
        seen.wait_for("split into")
        seen.send("nn")
        seen.wait_for("layer 0")
        seen.read(0.3)
        before, engine = seen.text, engines.status().pid
        kill((psutil.Process(seen.process.pid), *server.serving()))
        wait_until(lambda: engines.status().screens == 0, "the screen to be gone")
        again = session("attach")
        again.wait_for("layer 0")
        again.read(0.3)
        assert again.text == before
        assert engines.status().pid == engine
    finally:
        for each in (seen, again):
            if each is not None:
                each.close()
        server.close()
