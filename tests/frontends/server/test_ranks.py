"""`serve --json` and `mcp` on two ranks of a torchrun: rank 0 answers a client, and the others do what it does."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from mcp import Client as McpClient
from mcp import StdioServerParameters

from llmdbg.debugger.persistence.store import SessionStore
from llmdbg.frontends.log import log_path
from tests.frontends.server.client import SECONDS, Client
from tests.torchrun import complaints, processes_of, run, write_model

FAILING = str(Path(__file__).parents[2] / "faults" / "failing_rank.py")
SECONDS_TO_END = 10
PROMPT, TOKENS = "The quick brown", 6
WALK = (
    "break 1.mlp.gate_proj",
    "continue",
    "rank 1",
    "info ranks",
    "rank all",
    "reverse-step",
    "info lens",
    "token",
    "zero 1.mlp.up_proj",
    "delete",
    "continue",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama that two ranks can share."""
    return write_model(tmp_path_factory.mktemp("shared") / "llama", "llama")


@pytest.fixture(scope="module")
def undivided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2, which transformers cannot split."""
    return write_model(tmp_path_factory.mktemp("whole") / "gpt2", "gpt2")


def opening(folder):
    return {"model": str(folder), "prompt": PROMPT, "max_new_tokens": TOKENS, "greedy": True}


def comparable(events):
    """Events without the milliseconds, which are never the same, and without notes, which a batch writes to stderr."""
    told = [each for each in events if each["event"] != "warning"]
    return json.loads(re.sub(r'"ms": [0-9.e-]+', '"ms": 0', json.dumps(told)))


@pytest.fixture
def client():
    """A server on two ranks, with nothing open."""
    found = Client(ranks=2)
    yield found
    if found.process.poll() is None:
        found.process.kill()
        found.process.wait(SECONDS)
    found.close()


def error_of(answer):
    assert not answer["ok"]
    return answer["events"][-1]


def in_batch(folder):
    """The events of the same walk in a batch on two ranks."""
    commands = [word for line in WALK for word in ("-ex", line)]
    found = run(
        2, "-m", "llmdbg", str(folder), "-p", PROMPT, "-n", str(TOKENS), "--greedy", "--batch", "--json", *commands
    )
    assert found.returncode == 0, found.stderr
    return [json.loads(line) for line in found.stdout.splitlines()]


@pytest.mark.slow
def test_a_walk_has_the_events_of_a_batch_and_the_end_of_the_input_ends_every_rank(client, folder):
    opened = client.ask("open", **opening(folder))
    assert [each["event"] for each in opened["events"]] == ["opened", "tokens", "stop"]
    assert opened["events"][0]["place"].endswith("on 2 ranks")
    walked = [event for line in WALK for event in client.command(line, most=100_000)["events"]]
    split, own = [each for each in walked if each["event"] == "stop"][:2]
    assert (split["layout"], own["rank"]) == ("split over axis 2", 1)
    assert [each["rank"] for each in walked[3]["data"]["rows"]] == [0, 1]
    assert walked[-1]["event"] == "end"
    assert comparable([opened["events"][1], *walked]) == comparable(in_batch(folder))
    processes = processes_of(client.process, 2)
    client.process.stdin.close()
    assert client.process.wait(SECONDS) == 0
    assert not psutil.wait_procs(processes.values(), timeout=SECONDS_TO_END)[1]
    assert client.next() is None
    assert complaints(client.process.stderr.read().decode()) == []
    saved = SessionStore().survey().latest
    assert saved is not None and not saved.open and saved.prompt == PROMPT


@pytest.mark.slow
def test_what_ranks_cannot_open_is_refused_and_the_next_open_works(client, folder, undivided, tmp_path):
    refused = error_of(client.ask("open", **opening(undivided)))
    assert refused["type"] == "ModelRequestError" and refused["remedy"]
    assert "no tensor-parallel plan for gpt2" in refused["message"]
    assert "cannot be split over 2 ranks" in error_of(client.ask("open", model="x.gguf", prompt="Hi"))["message"]
    assert error_of(client.ask("open", model="x", prompt="Hi", device="cuda:0"))["type"] == "ModelRequestError"
    assert error_of(client.ask("open", prompt="Hi", recording="x"))["type"] == "UsageError"
    assert error_of(client.command("step"))["type"] == "NothingOpenError"
    assert client.ask("open", **opening(folder))["ok"]
    assert client.command("step")["ok"]
    assert error_of(client.command("rank 7"))["message"] == "there is no rank 7: this run has ranks 0 to 1"
    assert "--allow-python" in error_of(client.command("print 1"))["message"]
    # Another run in place of this one, and then one after it is closed.
    assert client.ask("open", **opening(folder))["ok"]
    assert client.command("quit")["ok"]
    assert error_of(client.command("step"))["type"] == "NothingOpenError"
    assert client.ask("open", **opening(folder))["ok"]
    assert client.command("until 1")["events"][-1]["layout"] == "whole on every rank"
    # And the session of this one, on every rank.
    id = client.ask("state")["events"][0]["session"]
    assert client.command("zero 1.mlp.up_proj")["ok"]
    assert client.command("until 0.mlp.gate_proj@2")["ok"]
    assert client.command("quit")["ok"]
    assert error_of(client.ask("open", session="20260131-093000-1f2e"))["type"] == "SessionRequestError"
    again = client.ask("open", session=id)["events"]
    assert (again[0]["session"], again[0]["notes"]) == (id, [])
    assert (again[-1]["stage"]["address"], again[-1]["token"]) == ("0.mlp.gate_proj", 2)
    assert (again[-1]["layout"], again[-1].get("unequal", [])) == ("split over axis 2", [])
    assert client.command("continue")["events"][-1]["event"] == "end"
    assert client.ask("quit")["ok"]
    assert client.process.wait(SECONDS) == 0


@pytest.mark.slow
def test_a_recording_is_opened_by_rank_0_and_a_model_after_it_by_all(client, folder, tmp_path):
    made = (sys.executable, "-m", "llmdbg", "record", str(folder), "-p", "Hi", "-n", "2", "-o", str(tmp_path / "run"))
    subprocess.run(made, check=True, capture_output=True)
    assert client.ask("open", **opening(folder))["ok"]
    assert error_of(client.ask("open", recording="/nowhere"))["type"]
    assert client.command("step")["ok"], "the run that was open still is"
    assert client.ask("open", recording=str(tmp_path / "run"))["ok"]
    assert client.command("goto logits@1")["ok"]
    assert client.ask("open", **opening(folder))["ok"]
    assert client.command("until 1")["ok"]
    assert client.end() == 0


def test_a_run_and_the_users_own_python_are_interrupted_on_every_rank(folder):
    client = Client("--allow-python", ranks=2)
    assert client.ask("open", **{**opening(folder), "max_new_tokens": 400})["ok"]
    for line in ("next 100000000", "print [i for i in iter(int, 1)]"):
        running = client.send("command", line=line)
        time.sleep(1)
        client.send("interrupt")
        answers = {}
        while running not in answers:
            answer = client.next()
            answers[answer["id"]] = answer
        assert answers[running]["interrupted"], line
    assert client.command("info stage")["ok"], "and it can be driven on"
    assert client.end() == 0


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "doing"), [(0, "runs"), (1, "runs"), (0, "waits"), (1, "waits")])
def test_a_killed_rank_ends_all_and_the_client_hears_of_it(client, folder, victim, doing):
    assert client.ask("open", **{**opening(folder), "max_new_tokens": 400})["ok"]
    assert client.command("until 1")["ok"]
    processes = processes_of(client.process, 2)
    running = client.send("command", line="next 100000000") if doing == "runs" else None
    time.sleep(1)
    processes[victim].kill()
    assert not psutil.wait_procs(processes.values(), timeout=SECONDS_TO_END)[1]
    client.process.wait(SECONDS)
    last = []
    while (message := client.next()) is not None:
        last.append(message)
    [line] = complaints(client.process.stderr.read().decode())
    [saved] = SessionStore().survey().interrupted
    assert re.match(
        rf"rank {victim} was lost \(.*\), so all ranks end; the session is saved, and `--resume {saved.id}", line
    )
    if victim == 0:
        assert last == [], "nobody is left to write"
        return
    if running is not None:
        assert last[0]["id"] == running and error_of(last[0])["type"] == "EngineLostError"
    assert last[-1] == {"event": "lost", "rank": 1, "message": line, "session": saved.id}
    assert len(last) == (1 if running is None else 2)


@pytest.mark.slow
def test_the_client_hears_of_a_signal_that_is_about_no_rank(client, folder):
    assert client.ask("open", **opening(folder))["ok"]
    client.process.terminate()
    last = client.next()
    assert (last["event"], last["rank"]) == ("lost", None)
    assert last["message"].startswith("ended by SIGTERM, so all ranks end; the session is saved")
    client.process.wait(SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["load", "forward"])
def test_a_rank_that_fails_alone_ends_all_and_the_client_hears_of_it(folder, where, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMDBG_PLANTED", str(tmp_path / "planted"))
    client = Client(ranks=2, program=(FAILING, "raise", where, "5", "1"))
    client.send("open", **opening(folder))
    client.send("command", line="continue")
    last = []
    while (message := client.next()) is not None:
        last.append(message)
    assert client.process.wait(SECONDS_TO_END) == 1
    assert last[-1]["event"] == "lost"
    assert "rank 1 failed" in last[-1]["message"] and "planted" in last[-1]["message"]
    assert [each["id"] for each in last[:-1]] == [1, 2]
    assert error_of(last[-2])["type"] == "EngineLostError"
    client.close()


@pytest.mark.slow
def test_what_ranks_cannot_do_is_refused_at_the_start(undivided):
    for arguments, said in (
        (("serve", "--json", "x.gguf"), "cannot be split over 2 ranks"),
        (("mcp", "--quantize", "4bit"), "--quantize is not supported on 2 ranks"),
        (("dap",), "llmdbg dap runs in one process: start it without torchrun, not on 2 ranks"),
    ):
        found = run(2, "-m", "llmdbg", *arguments)
        [line] = complaints(found.stderr)
        assert said in line
        assert "exitcode  : 2" in found.stderr


@pytest.mark.slow
async def test_tools_walk_on_two_ranks(folder):
    arguments = ["-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "llmdbg", "mcp"]
    server = StdioServerParameters(command=sys.executable, args=arguments, env={**os.environ, "OMP_NUM_THREADS": "1"})
    async with McpClient(server, read_timeout_seconds=SECONDS) as client:

        async def events(do, **given):
            found = await client.call_tool(do, given)
            assert found.structured_content["ok"], found
            return found.structured_content["events"]

        opened = await events("open", **opening(folder))
        walked = [event for line in WALK for event in await events("command", line=line, most=100_000)]
        assert (await events("state"))[0]["ended_by"] == "length"
    assert comparable([opened[1], *walked]) == comparable(in_batch(folder))
    assert "Traceback" not in log_path().read_text()


@pytest.mark.slow
async def test_a_call_that_waits_is_answered_when_a_rank_is_killed(folder):
    arguments = ["-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "llmdbg", "mcp"]
    server = StdioServerParameters(command=sys.executable, args=arguments, env={**os.environ, "OMP_NUM_THREADS": "1"})
    before = {each.pid for each in psutil.Process().children()}
    async with McpClient(server, read_timeout_seconds=SECONDS) as client:
        await client.call_tool("open", {**opening(folder), "max_new_tokens": 400})
        [launcher] = [each for each in psutil.Process().children() if each.pid not in before]
        call = asyncio.ensure_future(client.call_tool("command", {"line": "next 100000000"}))
        await asyncio.sleep(1)
        processes_of(launcher, 2)[1].kill()
        answer = await asyncio.wait_for(call, SECONDS_TO_END)
    assert answer.is_error
    [saved] = SessionStore().survey().interrupted
    assert "rank 1 was lost" in answer.content[0].text and saved.id in answer.content[0].text
