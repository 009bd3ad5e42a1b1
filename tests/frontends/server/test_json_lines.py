"""`llmdbg serve --json` as a client sees it: one answer for each request, whatever is sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.persistence.store import SessionStore
from llmdbg.frontends.sanitize import json_text
from tests import schemas
from tests.frontends.server.client import Client

TOPICS = ("kv", "lens", "attention", "cost", "ops", "values", "tokens", "locals", "model", "candidates", "stage")
LOOKING = (
    "step",
    "explain",
    "explain attention",
    "glossary",
    "x 1.mlp by magnitude",
    "x 1.mlp as heat",
    "backtrace",
    "edits",
    "break *.mlp",
    "trace *.mlp norm",
    "nonsense " + "word " * 1_000,
    *(f"info {each}" for each in TOPICS),
)
"""Lines whose answers are long, or have many fields."""


@pytest.fixture
def client(tiny_folder):
    found = Client(str(tiny_folder), "-p", "The quick brown fox", "-n", "8", "--greedy")
    assert found.next()["ok"], "what the command line asks to open is open"
    yield found
    if found.process.poll() is None:
        found.end()
    found.close()


def kinds(answer):
    return [each["event"] for each in answer["events"]]


def error_of(answer):
    assert not answer["ok"]
    error = answer["events"][-1]
    assert error["event"] == "error" and error["message"] and error["remedy"]
    return error


def test_a_session(client):
    assert "help" in client.ready["how"]
    listed = client.ask("help", most=100_000)["events"][0]["data"]
    assert {each["name"] for each in listed} == {each.name for each in COMMANDS}
    assert kinds(client.command("break 1")) == ["result"]
    stop = client.command("continue")["events"][-1]
    assert (stop["event"], stop["stage"]["address"], stop["breakpoint"]) == ("stop", "1", 1)
    assert client.ask("state")["events"][0]["address"] == "1"
    client.command("delete")
    ended = client.command("continue")
    assert kinds(ended)[-1] == "end"
    assert error_of(client.command("step"))["type"] == "OverError"
    assert client.command("goto 0@2")["ok"]
    assert kinds(client.command("continue"))[-1] == "end", "the end is said again after going back"
    left = client.ask("quit")
    assert left["ok"]
    assert client.next() is None
    assert client.process.wait(60) == 0
    assert client.process.stderr.read() == b""


@pytest.mark.slow
def test_what_is_no_request_is_one_error_each_and_ends_nothing(client):
    nonsense = [
        b"not json\n",
        b"\xff\xfe\x00binary\x00\n",
        b"[1,2]\n",
        b"null\n",
        b'{"do": 7}\n',
        b'{"do": "comand"}\n',
        b'{"do": "command"}\n',
        b'{"do": "command", "line": 5}\n',
        b'{"do": "command", "line": "step", "extra": 1}\n',
        b'{"do": "command", "line": "step", "most": 1e300}\n',
        b'{"do": "command", "line": "step", "most": -1}\n',
        b'{"do": "more", "handle": "1/../../x", "offset": 0}\n',
        b'{"do": "more", "handle": "", "offset": -5}\n',
        b'{"id": {}, "do": "state"}\n',
        b'{"id": true, "do": "state"}\n',
        b'{"id": "' + b"x" * 1000 + b'", "do": "state"}\n',
        b'{"do": "command", "line": "\\ud800"}\n',
        b'{"do": "command", "line": ""}\n',
        b'{"do": "command", "line": "# a comment"}\n',
        b'{"do": "command", "line": "step\\nquit"}\n',
        b'{"do": "schema", "name": "Nothing"}\n',
        b'{"do": "open"}\n',
        b'{"do": "open", "prompt": "x", "temperature": -3}\n',
        b'{"do": "open", "prompt": ""}\n',
        b'{"do": "open", "recording": "/nowhere"}\n',
        b"[" * 100_000 + b"\n",
        b'{"a":' * 100_000 + b"\n",
        b"x" * 10_000_000 + b"\n",
    ]
    for each in nonsense:
        client.raw(each)
        error_of(client.next())
    client.raw(b"\n   \n")
    assert client.ask("state")["events"][0]["open"], "the run is still there"
    assert client.command("step")["ok"]


@pytest.mark.slow
def test_every_answer_is_bounded_and_the_rest_can_be_fetched(client):
    client.command("until 1")
    answer = client.command("help", most=2_000)
    [left] = [each for each in answer["left_out"] if each["handle"].endswith("/data")]
    names = [each["name"] for each in answer["events"][-1]["data"]]
    assert left["kept"] == len(names) < left["of"]
    while left is not None:
        more = client.ask("more", handle=left["handle"], offset=left["next"], most=2_000)
        names += [each["name"] for each in more["events"][0]["found"]]
        left = next(iter(more["left_out"]), None)
    assert names == [each.name for each in COMMANDS]


@pytest.mark.slow
def test_no_answer_is_longer_than_it_may_be_and_none_breaks_its_schema(client):
    client.command("until 1.mlp")
    asked = [{"do": "state"}, {"do": "help"}, {"do": "schema"}, {"do": "schema", "name": "StopEvent"}]
    asked += [{"do": "command", "line": line} for line in LOOKING]
    for most in (2_000, 3_000, 8_000):
        for each in asked:
            answer = client.ask(most=most, **each)
            assert len(json_text(answer)) <= most, each
            assert not any("more than `most`" in event.get("message", "") for event in answer["events"]), each
            for left in answer["left_out"]:
                more = client.ask("more", handle=left["handle"], offset=left["next"], most=most)
                assert more["ok"] and len(json_text(more)) <= most, left
                [event] = more["events"]
                assert event["found"], "there is always something of it"


@pytest.mark.slow
def test_a_bound_that_no_answer_can_keep_is_refused(client):
    for most in (0, 500, 1_999, 100_001):
        error = error_of(client.ask("state", most=most))
        assert "`most` must be from 2000" in error["message"] and str(most) in error["message"]


@pytest.mark.slow
def test_many_stops_leave_the_last_one_here(client):
    client.command("trace 0.*")
    client.command("trace 1.*")
    answer = client.command("continue", most=3_000)
    assert kinds(answer)[-1] == "end"
    assert any(each["handle"].endswith("/events") for each in answer["left_out"])


@pytest.mark.slow
def test_requests_that_come_at_once_are_done_in_their_order(client):
    for _ in range(20):
        client.send("command", line="step")
    seen = [client.next() for _ in range(20)]
    assert [each["id"] for each in seen] == sorted(each["id"] for each in seen)
    assert all(each["ok"] for each in seen)


@pytest.mark.slow
def test_too_many_are_refused_and_each_is_answered(client):
    for _ in range(300):
        client.send("command", line="info model")
    seen = [client.next() for _ in range(300)]
    assert {each["id"] for each in seen} == set(range(1, 301))
    assert all(each["ok"] or error_of(each)["type"] == "BusyError" for each in seen)


@pytest.mark.slow
def test_a_long_run_is_interrupted_and_tells_how_far_it_is(tiny_folder):
    client = Client()
    opened = client.ask("open", model=str(tiny_folder), prompt="Hi", max_new_tokens=200, greedy=True)
    assert opened["ok"], opened
    assert {each["doing"] for each in client.progress} >= {"loading the weights", "preparing the run"}
    # Operation by operation it runs for minutes.
    assert client.command("set depth op")["ok"]
    running = client.send("command", line="step 100000000")
    end = time.monotonic() + 30
    while client.ask("state")["events"][0]["running"] is None:
        assert time.monotonic() < end
    client.send("interrupt")
    answers = {}
    while running not in answers:
        answer = client.next()
        answers[answer["id"]] = answer
    assert answers[running]["interrupted"] and kinds(answers[running])[-1] == "stop"
    assert client.command("info stage")["ok"], "and it can be driven on"
    assert client.end() == 0
    client.close()


@pytest.mark.slow
def test_python_and_files_are_off_until_they_are_allowed(client, tmp_path):
    for line in (
        "print 1",
        "edit 1 out * 2",
        f"save tensor 1 {tmp_path}/x.safetensors",
        f"info stage > {tmp_path}/x.json",
        f"source {tmp_path}/x.txt",
        f"record {tmp_path}/run",
        "reference smollm2 --python /usr/bin/python3",
        "reference smollm2 --trust-remote-code",
    ):
        error = error_of(client.command(line))
        assert "off here" in error["message"] and "was started with --allow-" in error["message"], line
        assert error["type"] == "NotAllowedError" and "whoever starts llmdbg can allow it" in error["remedy"]
    client.command("break 1")
    assert "off here" in error_of(client.command("commands 1 print 1"))["message"]
    assert client.command("commands 1 info stage; info model")["ok"]
    assert kinds(client.command("continue")) == ["stop", "result", "result"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_they_are_on_after_the_users_own_word(tiny_folder, tmp_path):
    allowed = ("--allow-python", "--allow-files")
    client = Client(str(tiny_folder), "-p", "Hi", "-n", "3", *allowed, "-ex", "until 1")
    assert client.next()["events"][-1]["stage"]["address"] == "1"
    printed = client.command("print print('to the client') or 6 * 7")
    assert [each["line"] for each in printed["events"] if each["event"] == "printed"] == ["to the client"]
    assert "42" in json.dumps(printed["events"][-1])
    # Neither Python nor a program that it starts can break the protocol.
    noisy = "print __import__('os').system('echo from a program') or __import__('os').write(1, b'raw')"
    assert client.command(noisy)["ok"]
    assert client.command(f"info stage > {tmp_path}/x.json")["ok"]
    assert json.loads((tmp_path / "x.json").read_text())
    assert client.end() == 0


@pytest.mark.slow
def test_what_is_asked_before_the_input_ends_is_answered_and_the_session_is_saved(tiny_folder):
    lines = [
        {"id": 1, "do": "open", "model": str(tiny_folder), "prompt": "Hi", "max_new_tokens": 3},
        {"id": 2, "do": "command", "line": "break 1"},
        {"id": 3, "do": "command", "line": "continue"},
    ]
    for each in lines:
        assert not list(schemas.request().iter_errors(each))
    done = subprocess.run(
        [sys.executable, "-m", "llmdbg", "serve", "--json"],
        input="".join(f"{json.dumps(each)}\n" for each in lines),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    answers = [each for each in map(json.loads, done.stdout.splitlines()) if each["event"] == "answer"]
    assert [(each["id"], each["ok"]) for each in answers] == [(1, True), (2, True), (3, True)]
    saved = SessionStore().survey().latest
    assert saved is not None and not saved.open and saved.prompt == "Hi"
    assert saved.place.address == "1"
    assert [each.address for each in saved.breakpoints] == ["1"]


@pytest.mark.slow
def test_a_client_that_goes_away_leaves_no_server(tiny_folder):
    command = [sys.executable, "-m", "llmdbg", "serve", "--json", str(tiny_folder), "-p", "Hi", "-n", "200"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        while json.loads(server.stdout.readline())["event"] != "answer":
            pass
        server.stdin.write(b'{"do": "command", "line": "next 100000000"}\n')
        server.stdin.flush()
        server.stdout.close()
        # The input stays open: it is by its answers that the server finds out.
        assert server.wait(60) in (0, 1)


@pytest.mark.slow
def test_a_recording_is_opened_and_the_run_before_it_is_over(client, tiny_folder, tmp_path):
    subprocess.run(
        [
            sys.executable,
            "-m",
            "llmdbg",
            "record",
            str(tiny_folder),
            "-p",
            "Hi",
            "-n",
            "2",
            "-o",
            str(tmp_path / "run"),
        ],
        check=True,
        capture_output=True,
        env=os.environ,
    )
    opened = client.ask("open", recording=str(tmp_path / "run"))
    assert opened["ok"], opened
    assert client.command("goto logits@1")["ok"]
    assert client.command("info candidates")["ok"]


def test_refusals_on_the_command_line(capsys, tiny_folder):
    from llmdbg.cli import main

    assert main(["serve"]) == 2
    assert "--json" in capsys.readouterr().err
    assert main(["serve", "--json", str(tiny_folder), "-p", "Hi", "-ex", "nonsense"]) == 2
    assert main(["serve", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["$defs"]["StopEvent"]
