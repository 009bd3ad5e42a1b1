"""A client that knows nothing but what schemas and `help` say finds a planted fault: over MCP, and over JSON Lines."""

from __future__ import annotations

import os
import re
import sys

import pytest
import torch
from mcp import Client, StdioServerParameters
from safetensors.torch import load_file, save_file

from tests.frontends.server.client import Client as JsonClient

PLANTED = "model.layers.1.post_attention_layernorm.weight"
STAGE = "1.post_attention_layernorm"


@pytest.fixture
def faulty(a_copy):
    """A model folder in which one weight of a norm is infinite."""
    folder = a_copy("faulty")
    weights = load_file(folder / "model.safetensors")
    weights[PLANTED] = weights[PLANTED].clone()
    weights[PLANTED][3] = torch.inf
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def command_about(helped, *words):
    """The commands whose help speaks of all these words, by the example that help gives."""
    return [
        each for each in helped if all(re.search(word, f"{each['usage']} {each['summary']}", re.I) for word in words)
    ]


def resuming(helped):
    """The command that runs on to the next breakpoint."""
    return min(command_about(helped, r"go on", r"next breakpoint"), key=lambda each: len(each["name"]))["name"]


def stage_of(events):
    """The stage that the last stop among the events names, and why it stopped there."""
    stop = [each for each in events if each["event"] == "stop"][-1]
    return stop["stage"]["address"], stop["why"]


def ready_made(breaking):
    """The ready-made condition that the help of `break` offers for values that are not finite."""
    told = " ".join([breaking["summary"], breaking["usage"]])
    return next(word for word in re.findall(r"\w+", told) if "nonfinite" in word)


def hunt(call):
    """Find the fault. `call(tool, arguments)` returns the events of the reply."""
    [listed] = call("help", {"most": 100_000})
    [breaking] = [each for each in listed["data"] if each["name"] == "break"]
    word = ready_made(breaking)
    assert call("command", {"line": f"{breaking['name']} {word}"})[-1]["event"] == "result"
    address, why = stage_of(call("command", {"line": resuming(listed["data"])}))
    [asking] = [each for each in listed["data"] if each["name"] == "info"]
    topic = next(each for each in re.findall(r"\w+", asking["summary"]) if each == word)
    [answer] = call("command", {"line": f"{asking['name']} {topic}", "most": 50_000})
    return address, why, answer["data"]["found"]


@pytest.mark.slow
async def test_over_mcp_by_the_client_of_the_reference_package(faulty):
    server = StdioServerParameters(command=sys.executable, args=["-m", "llmdbg", "mcp"], env=dict(os.environ))
    for mode in ("auto", "legacy"):
        async with Client(server, mode=mode, read_timeout_seconds=120) as client:
            tools = {each.name: each for each in (await client.list_tools()).tools}
            assert all(each.description for each in tools.values())
            opening = tools["open"].input_schema["properties"]
            arguments = {"model": str(faulty), "prompt": "The quick brown fox", "max_new_tokens": 4, "greedy": True}
            assert set(arguments) <= set(opening)
            opened = await client.call_tool("open", arguments)
            assert not opened.is_error and opened.structured_content["ok"]

            [listed] = (await client.call_tool("help", {"most": 100_000})).structured_content["events"]
            [breaking] = [each for each in listed["data"] if each["name"] == "break"]
            await client.call_tool("command", {"line": f"break {ready_made(breaking)}"})
            moved = await client.call_tool("command", {"line": resuming(listed["data"])})
            address, why = stage_of(moved.structured_content["events"])
            assert address == STAGE and "nonfinite" in why
            assert STAGE in moved.content[0].text


@pytest.mark.slow
async def test_a_whole_session_over_mcp(tiny_folder):
    arguments = ["-m", "llmdbg", "mcp", str(tiny_folder), "-p", "The quick brown fox", "-n", "200", "--greedy"]
    server = StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))
    told = []

    async def progress(done, total, message):
        told.append((done, total, message))

    async with Client(server, read_timeout_seconds=120) as client:
        listed = (await client.list_tools()).tools
        assert sum(len(each.model_dump_json()) for each in listed) < 40_000, "a model reads all of it"

        async def call(tool, **given):
            return await client.call_tool(tool, given, progress_callback=progress)

        assert (await call("command", line="until 1")).structured_content["events"][-1]["stage"]["address"] == "1"
        refused = await call("command", line="print 1")
        assert refused.is_error and "--allow-python" in refused.content[0].text
        for tool, given in (("nothing", {}), ("command", {}), ("command", {"line": 3}), ("open", {"prompt": ""})):
            wrong = await client.call_tool(tool, given)
            assert wrong.is_error and wrong.structured_content["events"][-1]["remedy"]
        cut = await call("help", most=2_000)
        [left] = [each for each in cut.structured_content["left_out"] if each["handle"].endswith("/data")]
        more = await call("more", handle=left["handle"], offset=left["next"])
        assert more.structured_content["events"][0]["found"]
        assert (await call("schema", name="StopEvent")).structured_content["events"][0]["found"]["properties"]
        assert (await call("state")).structured_content["events"][0]["address"] == "1"
        ended = await call("command", line="continue")
        assert ended.structured_content["events"][-1]["event"] == "end"
        assert (await call("command", line="goto 0@2")).structured_content["events"][-1]["token"] == 2
        assert any(message == "generating" for _, _, message in told)


def test_over_json_lines(faulty):
    client = JsonClient()
    for do in ("open", "command", "help"):
        assert do in client.ready["requests"]
    opened = client.ask("open", model=str(faulty), prompt="The quick brown fox", max_new_tokens=4)
    assert opened["ok"], opened
    address, why, found = hunt(lambda do, arguments: client.ask(do, **arguments)["events"])
    assert address == STAGE and "nonfinite" in why
    assert STAGE in str(found) or PLANTED in str(found), found
    assert client.end() == 0
