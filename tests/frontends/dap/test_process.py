"""The adapter as an editor starts it: a process whose stdout is the protocol's alone, and that goes with its editor."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import psutil
import pytest

from llmdbg.frontends.dap import port
from llmdbg.frontends.dap.inbox import SECONDS_TO_LEAVE
from tests.frontends.dap.client import Client, started
from tests.frontends.dap.test_session import DOWN, FILE

pytestmark = pytest.mark.untraced

SCRIPT = """
import os, subprocess, sys
os.environ["OMP_NUM_THREADS"] = "1"
assert "torch" not in sys.modules
print("first line", sys.argv[1], os.getcwd(), repr(sys.stdin.read()), flush=True)
os.write(1, b"straight to one\\n")
import torch
from transformers import LlamaConfig, LlamaForCausalLM

sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes))
model(torch.tensor([[1, 2]]))
print("between", file=sys.stderr)
try:
    model(torch.tensor([[1, 50]]))
except IndexError as error:
    print("caught", error)
subprocess.run(["echo", "from a child"])
sys.exit(7)
"""


@contextmanager
def running(*options):
    process, client = started(*options)
    try:
        yield process, client
    finally:
        process.kill()
        process.wait()
        client.reading.join(10)
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        process.stderr.close()


@pytest.fixture
def adapter():
    with running() as found:
        yield found


def is_gone(pid, seconds=SECONDS_TO_LEAVE + 5):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def launched(client, folder, **more):
    given = {"model": str(folder), "prompt": "the cat", "settings": {"max_new_tokens": 40, "greedy": True}}
    client.configured(**{**given, **more})


def test_a_script_is_debugged_and_what_it_prints_goes_to_the_editor(adapter, tmp_path):
    process, client = adapter
    script = tmp_path / "net.py"
    script.write_text(SCRIPT)

    def before(client):
        found = client.ask("setBreakpoints", source={"path": FILE}, breakpoints=[{"line": DOWN, "hitCondition": "2"}])
        assert found["breakpoints"][0]["verified"], found
        client.ask("setExceptionBreakpoints", filters=["raised"])

    client.configured(program="net.py", args=["one"], cwd=str(tmp_path), before=before)
    assert client.event("capabilities")["capabilities"] == {"supportsStepBack": False, "supportsRestartRequest": False}
    assert client.stopped()["reason"] == "breakpoint"
    frame = client.frames()[1]
    assert (frame["name"], frame["line"], frame["source"]["path"]) == ("LlamaMLP.forward  1.mlp", DOWN, FILE)
    assert client.variables(client.scopes()["Locals"])["x"]["value"] == "[1, 2, 32] float32 cpu"
    assert client.output("stdout") == f"first line one {tmp_path} ''\nstraight to one\n"
    assert "cannot go back" in client.refused("stepBack", threadId=1)
    assert "launch it again" in client.refused("restart")
    client.ask("setBreakpoints", source={"path": FILE}, breakpoints=[])
    client.ask("continue", threadId=1)
    stop = client.stopped()
    assert (stop["reason"], stop["text"]) == ("exception", "IndexError: index out of range in self")
    assert client.ask("exceptionInfo", threadId=1)["exceptionId"] == "IndexError"
    assert client.variables(client.scopes()["Locals"])
    client.ask("continue", threadId=1)
    assert client.event("exited") == {"exitCode": 7}
    client.event("terminated")
    assert "caught index out of range in self\n" in client.output("stdout") and "from a child\n" in client.output(
        "stdout"
    )
    assert "between\n" in client.output("stderr")
    client.ask("disconnect")
    assert process.wait(20) == 0


@pytest.mark.slow
def test_exceptions_pass_where_their_filter_is_off(adapter, tmp_path):
    _, client = adapter
    (tmp_path / "net.py").write_text(SCRIPT)
    off = lambda client: client.ask("setExceptionBreakpoints", filters=[])  # noqa: E731
    client.configured(program=str(tmp_path / "net.py"), args=["one"], before=off)
    assert client.event("exited") == {"exitCode": 7}


@pytest.mark.slow
def test_the_editor_killed_ends_the_adapter_at_a_stop(adapter, tiny_folder):
    process, client = adapter
    launched(client, tiny_folder, stopOnEntry=True)
    client.stopped()
    children = psutil.Process(process.pid).children(recursive=True)
    process.stdin.close()
    assert process.wait(SECONDS_TO_LEAVE + 5) == 0
    assert all(is_gone(each.pid) for each in children)


@pytest.mark.slow
def test_and_in_the_middle_of_a_program_that_meets_no_stage(adapter, tmp_path):
    process, client = adapter
    (tmp_path / "sleeps.py").write_text("import time\nprint('asleep', flush=True)\ntime.sleep(600)\n")
    client.ask("initialize", adapterID="x")
    client.send("launch", program=str(tmp_path / "sleeps.py"))
    assert client.event("output", category="stdout")["output"] == "asleep\n"
    process.stdin.close()
    assert process.wait(SECONDS_TO_LEAVE + 5) == 0


@pytest.mark.slow
def test_disconnect_is_answered_though_the_program_never_comes_to_a_stage(adapter, tmp_path):
    process, client = adapter
    (tmp_path / "sleeps.py").write_text("import time\nprint('asleep', flush=True)\ntime.sleep(600)\n")
    client.ask("initialize", adapterID="x")
    client.send("launch", program=str(tmp_path / "sleeps.py"))
    client.event("output", category="stdout")
    client.ask("disconnect")
    assert process.wait(5) == 0


@pytest.mark.slow
def test_terminate_and_disconnect_while_the_run_is_going(adapter, tiny_folder):
    process, client = adapter
    launched(client, tiny_folder, stopOnEntry=True)
    client.stopped()
    client.ask("continue", threadId=1)
    client.ask("terminate")
    client.event("terminated")
    client.ask("disconnect")
    assert process.wait(20) == 0


@pytest.mark.parametrize(
    "text", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0\1\2\n", b"Content-Length: 999999999\r\n\r\n"]
)
def test_what_is_no_protocol_ends_the_adapter_with_a_line(adapter, text):
    process, _ = adapter
    process.stdin.write(text)
    process.stdin.flush()
    assert process.wait(20) == 1
    said = process.stderr.read().decode()
    assert said.startswith("llmdbg: ") and said.count("\n") == 1


@pytest.mark.slow
def test_a_port_is_for_this_machine_and_this_user(tiny_folder):
    with running("--port", "0") as (process, _):
        where = process.stderr.readline().decode()
        assert "127.0.0.1:" in where
        number = int(where.rpartition(":")[2])
        listening = [each.laddr for each in psutil.Process(process.pid).net_connections() if each.status == "LISTEN"]
        assert [each.ip for each in listening] == ["127.0.0.1"]
        with (
            socket.create_connection(("127.0.0.1", number)) as connection,
            connection.makefile("rb") as reader,
            connection.makefile("wb") as writer,
        ):
            client = Client(reader, writer)
            launched(client, tiny_folder, stopOnEntry=True)
            assert client.stopped()["reason"] == "entry"
            client.ask("disconnect")
            assert process.wait(20) == 0
            client.reading.join(10)


def test_the_owner_of_a_connection_is_known():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        here = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", here)) as connection:
            assert port.owner_of(connection.getsockname()[1], here) == os.getuid()
            assert port.owner_of(1, here) is None


def test_somebody_elses_connection_is_refused(monkeypatch):
    owners = iter([os.getuid() + 1, None, os.getuid()])
    monkeypatch.setattr(port, "owner_of", lambda *_: next(owners))
    found: list[bytes] = []

    def wait():
        with port.one_connection(number) as streams:
            found.append(streams[0].readline())

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", number)) as refused:
            assert refused.recv(1) == b""
    with socket.create_connection(("127.0.0.1", number)) as taken:
        taken.sendall(b"mine\n")
        thread.join(10)
    assert found == [b"mine\n"]


def test_nothing_heavy_is_imported_before_a_launch():
    code = (
        "import sys, llmdbg.frontends.dap.adapter, llmdbg.frontends.dap.opening, llmdbg.frontends.dap.streams;"
        "sys.exit(bool({'torch', 'numpy', 'transformers', 'textual'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_signal_ends_it(adapter):
    process, client = adapter
    client.ask("initialize", adapterID="x")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == -signal.SIGTERM
