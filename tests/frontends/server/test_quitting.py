"""`quit` as a command closes the run, and the server answers on."""

from __future__ import annotations

import json
import os
import re
import sys

import pytest
from mcp import Client, StdioServerParameters

from llmdbg.debugger.persistence.store import SessionStore
from llmdbg.frontends.server.opening import Served
from llmdbg.frontends.server.permissions import Permissions
from llmdbg.frontends.server.requests import Command, Open
from llmdbg.frontends.server.run_thread import RunThread
from llmdbg.frontends.server.served_run import ServedRun
from llmdbg.models.spec import ModelSpec
from tests import schemas
from tests.frontends.server.client import Client as JsonClient

SECONDS = 60


def check(answer):
    """After `quit`: `answer(do, **arguments)` returns the events of a reply."""
    note = answer("command", line="quit")[-1]
    assert note["event"] == "warning" and "`open` begins another" in note["message"]
    assert answer("state")[-1]["open"] is None
    for line in ("info stage", "step", "quit"):
        error = answer("command", line=line)[-1]
        assert (error["event"], error["type"]) == ("error", "NothingOpenError")
        assert "nothing is open" in error["message"]
        # What it says to do is a request that can be made.
        [asked] = re.findall(r"{.*?}", error["remedy"])
        assert not list(schemas.request().iter_errors(json.loads(asked)))
    assert answer("help")[-1]["event"] == "result"


@pytest.mark.slow
def test_json_lines_answer_on_and_another_run_is_opened(tiny_folder):
    client = JsonClient(str(tiny_folder), "-p", "Hi", "-n", "3")
    assert client.next()["ok"]
    check(lambda do, **arguments: client.ask(do, **arguments)["events"])
    saved = SessionStore().survey().latest
    assert saved is not None and not saved.open, "`quit` leaves the session as on the screen"
    assert client.ask("open", model=str(tiny_folder), prompt="Ho", max_new_tokens=3)["ok"]
    assert client.command("step")["ok"]
    assert client.end() == 0


@pytest.mark.slow
async def test_tools_answer_on_and_another_run_is_opened(tiny_folder):
    server = StdioServerParameters(command=sys.executable, args=["-m", "llmdbg", "mcp"], env=dict(os.environ))
    open_it = {"model": str(tiny_folder), "prompt": "Hi", "max_new_tokens": 3}
    async with Client(server) as client:

        async def answer(do, **arguments):
            return (await client.call_tool(do, arguments, read_timeout_seconds=SECONDS)).structured_content["events"]

        assert (await answer("open", **open_it))[-1]["event"] == "stop"
        assert (await answer("command", line="quit"))[-1]["event"] == "warning"
        error = (await answer("command", line="info stage"))[-1]
        assert error["type"] == "NothingOpenError"
        assert (await answer("open", **open_it))[-1]["event"] == "stop"
        assert (await answer("command", line="step"))[-1]["event"] == "stop"


@pytest.mark.parametrize("given", [("quit", "step"), ("break 1", "commands 1 quit", "continue", "step")])
def test_the_users_own_quit_closes_the_run_and_nothing_comes_after_it(tiny_folder, given):
    thread = RunThread(lambda: ServedRun(Served(ModelSpec(str(tiny_folder)), given), Permissions()))
    thread.start()
    ask = lambda request: thread.submit(request, lambda *_: None).result(SECONDS)  # noqa: E731
    opened = ask(Open(prompt="Hi", max_new_tokens=3))
    assert not opened.failed and opened.events[-1]["event"] == "warning"
    assert ask(Command(line="step")).events[-1]["type"] == "NothingOpenError"
    thread.leave()
