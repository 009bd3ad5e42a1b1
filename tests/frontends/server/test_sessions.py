"""`open` takes up a saved session where it stood, and nothing in one does what a client may not."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import pytest
from mcp import Client as McpClient
from mcp import StdioServerParameters

from llmdbg.debugger.persistence.model import (
    SavedBranch,
    SavedBreakpoint,
    SavedEdit,
    SavedPosition,
    SavedSettings,
    begin,
)
from llmdbg.debugger.persistence.store import SessionStore
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import SessionRequestError
from llmdbg.frontends.server.carrying_out import carry_out
from llmdbg.frontends.server.opening import Served
from llmdbg.frontends.server.permissions import Permissions
from llmdbg.frontends.server.requests import Command, Open
from llmdbg.frontends.server.served_run import ServedRun
from llmdbg.models.spec import ModelSpec
from tests.frontends.server.client import SECONDS, Client

SETTINGS = GenerationSettings(max_new_tokens=8, greedy=True)


@pytest.fixture
def run(tiny_folder):
    found = ServedRun(Served(ModelSpec(str(tiny_folder))), Permissions())
    yield found
    found.close()


def ask(run, request):
    """The events of a request that goes well."""
    journal = carry_out(run, request, lambda *_: None)
    assert not journal.failed, journal.failure
    return journal.events


def refused(run, request):
    """The error of one that does not."""
    journal = carry_out(run, request, lambda *_: None)
    assert journal.failed
    return journal.events[-1]


def command(run, *lines):
    return [event for line in lines for event in ask(run, Command(line=line))]


def stored(folder, **fields):
    """A session that somebody has left."""
    store = SessionStore()
    saved = replace(begin(ModelSpec(str(folder)), "The quick brown fox", SETTINGS), **fields)
    store.save(saved)
    store.close(saved.id)
    return saved


def test_it_goes_on_where_it_stood_with_what_was_set(run):
    begun = ask(run, Open(prompt="The quick brown fox", max_new_tokens=8, greedy=True))
    id = begun[0]["session"]
    assert id == run.state().session and SessionStore().load(id).open
    command(run, "break 1@4 if norm > 0", "token 2", "zero 1.mlp", "until 0@3")
    place = (run.state().address, run.state().token)
    command(run, "quit")
    assert run.state().session == ""
    assert not SessionStore().load(id).open
    opened, _tokens, stop = ask(run, Open(session=id))
    assert (opened["session"], opened["notes"]) == (id, [])
    assert (stop["stage"]["address"], stop["token"]) == place == ("0", 3)
    assert "zero 1.mlp" in str(command(run, "info edits"))
    [stop] = command(run, "continue")
    assert (stop["breakpoint"], stop["stage"]["address"], stop["token"]) == (1, "1", 4)
    ids = command(run, "delete", "continue")[-1]["ids"]
    # The same session, taken up again while it is open here: at its end, with the same tokens.
    assert ask(run, Open(session=id))[-1]["ids"] == ids
    command(run, "quit")
    assert ask(run, Open(session="latest"))[0]["session"] == id


def test_what_cannot_be_had_is_refused_and_the_run_that_is_open_stays(run, tiny_folder, monkeypatch):
    ask(run, Open(prompt="Hi", max_new_tokens=3))
    open_here = run.state().session
    elsewhere = stored(tiny_folder)
    SessionStore().resume(elsewhere.id)  # of a process that runs: this one
    for request, said in (
        (Open(session="20260131-093000-1f2e"), "there is no saved session 20260131-093000-1f2e"),
        (Open(session="../../etc"), "is not a session id"),
        (Open(session=""), "is not a session id"),
        (Open(session=elsewhere.id), f"is open in process {os.getpid()}"),
        (Open(session=elsewhere.id, prompt="Hi"), "give one of them"),
        (Open(session=elsewhere.id, model="x", seed=3), "leave out seed and model"),
    ):
        error = refused(run, request)
        assert said in error["message"], error
        assert error["remedy"]
        assert run.state().session == open_here
    command(run, "step")


def test_a_session_whose_model_is_gone_leaves_nothing_open_and_can_be_asked_for_again(run, tmp_path, tiny_folder):
    lost = stored(tmp_path / "nowhere")
    for _ in range(2):
        assert refused(run, Open(session=lost.id))["type"] == "ModelRequestError"
        assert run.state().open is None
    assert not SessionStore().load(lost.id).open


def test_python_and_files_of_a_session_are_off_and_stay_off_without_the_users_word(run, tiny_folder, tmp_path):
    written = tmp_path / "x.json"
    main = SavedBranch(
        number=1,
        name="main",
        parent=None,
        fork=0,
        why="",
        place=SavedPosition("tokenize", 0),
        generated=(),
        settings=(SavedSettings(0, SETTINGS),),
        edits=(SavedEdit(1, f"edit 1.mlp out * open({str(written)!r}, 'w')", 0, enabled=True, stages=("1.mlp",)),),
    )
    point = SavedBreakpoint(
        1, "1", temporary=False, enabled=True, hits=0, commands=(f"info stage > {written}", "print 1", "info stage")
    )
    saved = stored(tiny_folder, branches=(main,), breakpoints=(point,))
    opened = ask(run, Open(session=saved.id))[0]
    assert any("edit 1" in note and "is off" in note for note in opened["notes"])
    assert any("breakpoint 1" in note and "are off" in note for note in opened["notes"])
    assert [each["event"] for each in command(run, "continue")] == ["stop", "result"], "what is harmless is on"
    for line in ("edits on 1", "commands 1 on"):
        assert "--allow-python" in refused(run, Command(line=line))["message"], line
    command(run, "goto 0@0", "continue")
    assert not written.exists()


def test_leave_to_run_code_is_neither_taken_from_a_session_nor_given_to_another_model():
    saved = begin(ModelSpec("theirs", trust_remote_code=True), "Hi", SETTINGS)
    for name, trusts in (("mine", True), ("theirs", False)):
        with pytest.raises(SessionRequestError, match="--trust-remote-code"):
            Served(ModelSpec(name, trust_remote_code=trusts)).spec_of(saved)
    assert Served(ModelSpec("theirs", trust_remote_code=True)).spec_of(saved).trust_remote_code
    unpickled = replace(saved, spec=ModelSpec("theirs", allow_pickle=True))
    with pytest.raises(SessionRequestError, match="--allow-pickle"):
        Served(ModelSpec("theirs", trust_remote_code=True)).spec_of(unpickled)


@pytest.mark.slow
def test_a_client_takes_up_the_session_of_a_server_that_was_killed(tiny_folder):
    client = Client(str(tiny_folder), "-p", "The quick brown fox", "-n", "8", "--greedy")
    id = client.next()["events"][0]["session"]
    assert client.command("until 1@2")["ok"]
    client.process.kill()
    client.process.wait(SECONDS)
    client.close()
    other = Client()
    assert other.ask("open", session=id)["events"][-1]["stage"]["address"] == "1"
    assert other.ask("state")["events"][0]["session"] == id
    assert other.end() == 0
    other.close()


@pytest.mark.slow
async def test_tools_take_one_up_too(tiny_folder):
    saved = stored(tiny_folder, place=SavedPosition("1", 0))
    server = StdioServerParameters(command=sys.executable, args=["-m", "llmdbg", "mcp"], env=dict(os.environ))
    async with McpClient(server, read_timeout_seconds=SECONDS) as client:
        properties = {each.name: each for each in (await client.list_tools()).tools}["open"].input_schema["properties"]
        assert "latest" in properties["session"]["description"]
        opened = (await client.call_tool("open", {"session": "latest"})).structured_content
        assert opened["events"][0]["session"] == saved.id
        assert opened["events"][-1]["stage"]["address"] == "1"
