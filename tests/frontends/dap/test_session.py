"""Each request of an editor, against a tiny model in this process. Every message is valid by the protocol's schema."""

import inspect
import time

import pytest
import torch
from transformers.models.llama import modeling_llama

from tests.frontends.dap.client import schema
from tests.frontends.dap.editor import editor

pytestmark = pytest.mark.untraced
FILE = modeling_llama.__file__


def line_with(text, function):
    """The number of the first line of a function that contains a text."""
    lines, first = inspect.getsourcelines(function)
    return next(first + place for place, each in enumerate(lines) if text in each)


DOWN = line_with("down_proj(", modeling_llama.LlamaMLP.forward)
RESIDUAL = line_with("residual + hidden_states", modeling_llama.LlamaDecoderLayer.forward)


@pytest.fixture
def client():
    with editor() as found:
        yield found


@pytest.fixture
def launch(client, tiny_folder):
    """Launches the tiny model; `before(client)` sets breakpoints."""

    def launched(**more):
        given = {"model": str(tiny_folder), "prompt": "the cat", "settings": {"max_new_tokens": 4, "greedy": True}}
        client.configured(**{**given, **more})
        return client

    return launched


def stages(*names, **more):
    return lambda client: client.ask("setFunctionBreakpoints", breakpoints=[{"name": each, **more} for each in names])


def lines(*wanted):
    return lambda client: client.ask("setBreakpoints", source={"path": FILE}, breakpoints=list(wanted))


def top(client):
    return client.frames()[0]["name"].split()[0]


def test_the_schema_is_at_hand():
    if schema() is None:
        pytest.skip("debugpy, which carries the protocol's schema, is not installed: messages are not checked")
    assert "InitializeRequest" in schema()["definitions"]


def test_a_breakpoint_at_a_stage_with_its_condition_and_hit_count(launch):
    client = launch(before=stages("*.mlp if layer >= 1", condition="token < 3", hitCondition=">= 2"))
    stop = client.stopped()
    assert (stop["reason"], stop["hitBreakpointIds"]) == ("function breakpoint", [1])
    assert top(client) == "2.mlp@0"
    assert "layer 2 >= 1" in stop["text"]
    client.ask("continue", threadId=1)
    client.stopped()
    assert top(client) == "1.mlp@1"


@pytest.mark.parametrize(("hits", "token"), [("3", 2), (">=1", 0), ("> 1", 1)])
def test_hit_counts(launch, hits, token):
    client = launch(before=stages("1.mlp", hitCondition=hits))
    client.stopped()
    assert top(client) == f"1.mlp@{token}"


def test_what_is_no_breakpoint_says_why(launch):
    client = launch(stopOnEntry=True)
    client.stopped()
    asked = [{"name": "bogus"}, {"name": "1.mlp", "hitCondition": "often"}, {"name": "1", "condition": "import os"}]
    found = client.ask("setFunctionBreakpoints", breakpoints=asked)["breakpoints"]
    assert [each["verified"] for each in found] == [False] * 3
    assert "no stage is called 'bogus'" in found[0]["message"]
    assert "a hit count is N" in found[1]["message"]
    where = client.ask("setBreakpoints", source={"path": FILE}, breakpoints=[{"line": 1}])["breakpoints"][0]
    assert "runs nothing" in where["message"]
    elsewhere = client.ask("setBreakpoints", source={"path": "/tmp/a.py"}, breakpoints=[{"line": 1}])["breakpoints"]
    assert "no module's forward is in" in elsewhere[0]["message"]


def test_breakpoints_that_are_sent_again_keep_their_number_and_others_go(launch):
    client = launch(stopOnEntry=True, before=stages("0.mlp", "1.mlp"))
    client.stopped()
    again = stages("1.mlp", "2.mlp")(client)["breakpoints"]
    assert [each["id"] for each in again] == [2, 3]
    client.ask("continue", threadId=1)
    client.stopped()
    assert top(client) == "1.mlp@0"


def test_a_line_of_the_models_file(launch):
    client = launch(before=lines({"line": DOWN, "condition": "layer == 1"}))
    assert client.stopped()["reason"] == "breakpoint"
    stage, frame, caller = client.frames()[:3]
    assert stage["name"] == f"1.mlp:{DOWN}@0  model.layers.1.mlp"
    assert (frame["name"], frame["line"], frame["source"]["path"]) == ("LlamaMLP.forward  1.mlp", DOWN, FILE)
    assert caller["name"] == "LlamaDecoderLayer.forward  1"
    scopes = client.scopes()
    assert next(iter(scopes)) == "Locals"
    assert client.variables(scopes["Locals"])["x"]["value"].endswith("float32 cpu")
    assert "hidden_states" in client.variables(client.scopes(2)["Locals"])


def test_steps_go_by_lines_from_a_line_and_by_modules_elsewhere(launch):
    client = launch(before=lines({"line": DOWN}))
    client.stopped()

    def go(command, **more):
        client.ask(command, threadId=1, **more)
        client.stopped()
        return top(client)

    assert go("next") == f"0.mlp:{DOWN + 1}@0"
    assert go("stepBack") == f"0.mlp:{DOWN}@0"
    assert go("stepOut") == "0.mlp@0"
    assert go("stepIn") == "0@0"
    assert go("next") == "1@0" or top(client).startswith("1.mlp:")
    assert "/" in go("next", granularity="instruction")


def test_going_back_is_bitwise_the_same(launch):
    client = launch(before=stages("1.mlp"))
    client.stopped()

    def norm():
        return client.ask("evaluate", expression="out.double().norm().item()", context="watch")["result"]

    first = norm()
    client.ask("continue", threadId=1)
    client.stopped()
    assert norm() != first
    client.ask("reverseContinue", threadId=1)
    assert client.stopped()["reason"] == "function breakpoint"
    assert (top(client), norm()) == ("1.mlp@0", first)
    client.ask("stepBack", threadId=1)
    client.stopped()
    assert top(client) != "1.mlp@0"


@pytest.mark.parametrize("request_", ["stepBack", "reverseContinue"])
def test_going_back_at_the_start_says_so_and_is_no_failure(launch, request_):
    client = launch(stopOnEntry=True)
    client.stopped()
    client.ask(request_, threadId=1)
    assert client.stopped()["reason"] == "entry"
    assert "this is the start of the run" in client.output()
    assert top(client) == "tokenize@0"
    client.ask("next", threadId=1)
    assert client.stopped()["reason"] == "step"


def test_tensors_are_shapes_until_they_are_expanded_page_by_page(launch):
    client = launch(before=stages("1.mlp"))
    client.stopped()
    out = client.variables(client.scopes()["Stage"])["out"]
    assert (out["value"], out["type"], out["indexedVariables"]) == ("[1, 5, 32] float32 cpu", "Tensor", 1)
    whole = client.variables(out["variablesReference"])
    assert "‖" in whole["statistics"]["value"]
    row = client.variables(whole["[0]"]["variablesReference"])["[4]"]
    page = client.variables(row["variablesReference"], filter="indexed", start=30, count=10)
    assert list(page) == ["[30]", "[31]"]
    real = client.ask("evaluate", expression="out[0, 4, 30].item()", context="watch")["result"]
    assert float(page["[30]"]["value"]) == pytest.approx(float(real), rel=1e-6)
    assert page["[30]"]["evaluateName"] == "out[0][4][30]"
    # A reference belongs to its stop.
    client.ask("next", threadId=1)
    client.stopped()
    assert "earlier stop" in client.refused("variables", variablesReference=row["variablesReference"])


def test_what_there_is_to_see(launch):
    client = launch(before=stages("sample"))
    client.stopped()
    scopes = client.scopes()
    assert list(scopes) == ["Stage", "Candidates", "Tokens", "Settings"]
    assert client.variables(scopes["Candidates"])["1"]["value"].count("logit") == 1
    assert client.variables(scopes["Tokens"], filter="indexed", start=1, count=2).keys() == {"[1]", "[2]"}
    assert client.variables(scopes["Settings"])["greedy"]["value"] == "True"
    stages("1")(client)
    client.ask("continue", threadId=1)
    client.stopped()
    assert "0" in client.variables(client.scopes()["Candidates (lens)"])


def test_expressions_and_command_lines(launch):
    client = launch(before=stages("1.mlp"))
    client.stopped()
    shape = client.ask("evaluate", expression="out * 2", context="hover")
    assert shape["result"] == "[1, 5, 32] float32 cpu" and shape["variablesReference"]
    caller = client.frames()[1]["id"]
    local = client.ask("evaluate", expression="hidden_states.shape", frameId=caller, context="watch")
    assert local["result"] == "torch.Size([1, 5, 32])"
    assert "there is no name 'nope' here" in client.refused("evaluate", expression="nope", context="watch")
    assert "breakpoint 1" in client.ask("evaluate", expression="info breakpoints", context="repl")["result"]
    client.ask("evaluate", expression="break 2.mlp", context="repl")
    assert client.event("breakpoint")["reason"] == "new"
    client.ask("evaluate", expression="continue", context="repl")
    client.event("continued")
    assert client.stopped()["hitBreakpointIds"] == [2]
    assert "there is no command" in client.refused("evaluate", expression="frobnicate", context="repl")


def test_completion_is_the_command_languages(launch):
    client = launch(stopOnEntry=True)
    assert client.stopped()["reason"] == "entry"
    found = client.ask("completions", text="break 1.self", column=13)["targets"]
    assert {"label": "1.self_attn", "start": 7, "length": 6} in found
    # Columns are UTF-16 code units.
    assert client.ask("completions", text="p '😀' inf", column=4)["targets"] == []


def test_values_tokens_and_settings_are_changed_and_the_editor_is_told(launch):
    client = launch(before=stages("1.mlp"))
    client.stopped()
    out = client.variables(client.scopes()["Stage"])["out"]["variablesReference"]
    row = client.variables(client.variables(out)["[0]"]["variablesReference"])["[4]"]["variablesReference"]
    client.ask("setVariable", variablesReference=row, name="[7]", value="2.5")
    assert client.event("invalidated") == {"areas": ["all"]}
    assert client.ask("evaluate", expression="out[0, 4, 7].item()", context="watch")["result"] == "2.5"
    assert "index_put" in client.ask("evaluate", expression="info edits", context="repl")["result"]
    client.ask("setVariable", variablesReference=client.scopes()["Settings"], name="repetition_penalty", value="1.5")
    client.event("invalidated")
    assert client.variables(client.scopes()["Settings"])["repetition_penalty"]["value"] == "1.5"
    refused = client.refused("setVariable", variablesReference=client.scopes()["Stage"], name="token", value="3")
    assert "cannot be set" in refused
    client.ask("evaluate", expression="undo", context="repl")
    client.event("invalidated")


def test_a_logpoint_writes_its_values_and_does_not_stop(launch):
    client = launch(before=lines({"line": DOWN, "logMessage": "layer {layer}, token {token}"}))
    assert client.stopped()["reason"] == "end"
    assert "layer 2, token 3\n" in client.output("console")


def test_where_nan_begins_is_an_exception(launch, tiny_folder):
    def poison(client):
        client.ask("setExceptionBreakpoints", filters=["nonfinite", "raised"])

    client = launch(before=poison, stopOnEntry=True)
    client.stopped()
    client.ask("evaluate", expression="until 1.mlp", context="repl")
    client.stopped()
    client.ask("evaluate", expression="edit out * float('nan')", context="repl")
    client.ask("continue", threadId=1)
    stop = client.stopped()
    assert stop["reason"] == "exception" and "NaN" in stop["text"]
    found = client.ask("exceptionInfo", threadId=1)
    assert found["exceptionId"] == "nonfinite" and "NaN" in found["description"]
    assert "no exception filter 'x'" in client.refused("setExceptionBreakpoints", filters=["x"])


def test_the_end_can_be_gone_back_from_and_going_on_ends_the_session(launch):
    client = launch()
    assert client.stopped()["reason"] == "end"
    assert "the generation is over" in client.refused("next", threadId=1)
    client.ask("stepBack", threadId=1)
    client.stopped()
    client.ask("continue", threadId=1)
    client.stopped()
    client.ask("continue", threadId=1)
    assert client.event("exited") == {"exitCode": 0}
    client.event("terminated")


def test_restart_begins_again_with_hit_counts_anew(launch):
    client = launch(before=stages("1.mlp", hitCondition="2"))
    client.stopped()
    client.ask("restart")
    client.stopped()
    assert top(client) == "1.mlp@1"


def test_pause_and_breakpoints_while_the_run_is_going(launch):
    client = launch(stopOnEntry=True, settings={"max_new_tokens": 50, "greedy": True})
    client.stopped()
    client.ask("continue", threadId=1)
    client.ask("pause", threadId=1)
    stop = client.stopped()
    assert stop["reason"] in ("pause", "end")
    client.ask("restart")
    client.stopped()
    client.ask("continue", threadId=1)
    assert stages("2.mlp@49", "norm@49")(client)["breakpoints"][0]["verified"]
    assert client.stopped()["reason"] in ("function breakpoint", "end")


@pytest.mark.parametrize("pauses", [False, True])
def test_what_comes_while_an_edit_runs_in_the_forward_lets_it_end(launch, monkeypatch, pauses):
    monkeypatch.setattr(torch, "a_while", 0, raising=False)
    commands = ["until 1.mlp", "edit (__import__('time').sleep(torch.a_while), out * 0)[1]"]
    client = launch(stopOnEntry=True, commands=commands, settings={"max_new_tokens": 3, "greedy": True})
    client.stopped()
    monkeypatch.setattr(torch, "a_while", 0.5)
    client.ask("continue", threadId=1)
    time.sleep(0.2)
    if pauses:
        client.ask("pause", threadId=1)
        assert client.stopped()["reason"] == "pause"
    else:
        stages("norm@2")(client)
        assert client.stopped()["reason"] == "function breakpoint"


def test_files_and_lines_that_can_be_stopped_at(launch):
    client = launch(stopOnEntry=True)
    client.stopped()
    assert FILE in [each["path"] for each in client.ask("loadedSources")["sources"]]
    found = client.ask("breakpointLocations", source={"path": FILE}, line=DOWN - 1, endLine=DOWN)["breakpoints"]
    assert found == [{"line": DOWN}]
    assert client.ask("threads")["threads"] == [{"id": 1, "name": "forward"}]


def test_lines_are_counted_as_the_editor_counts_them(client, tiny_folder):
    client.ask("initialize", adapterID="x", linesStartAt1=False, columnsStartAt1=False)
    client.ask("launch", model=str(tiny_folder), prompt="a", settings={"max_new_tokens": 2})
    client.event("initialized")
    assert lines({"line": DOWN - 1})(client)["breakpoints"][0]["line"] == DOWN - 1
    client.ask("configurationDone")
    client.stopped()
    assert client.frames()[0]["line"] == DOWN - 1


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"prompt": "a", "model": "/no/such/folder"}, "there is no folder or file"),
        ({"model": "x"}, "launch needs a prompt"),
        ({"prompt": 3}, "launch: Expected `str | null`, got `int` - at `$.prompt`"),
        ({"prompt": "a", "settings": {"temprature": 1}}, "settings has no 'temprature'"),
        ({"prompt": "a", "settings": {"temperature": "hot"}}, "settings: temperature is float"),
        ({"prompt": "a", "dtype": "int3"}, "dtype is one of"),
        ({"prompt": "a", "trustRemoteCode": True}, "is not taken from a file"),
        ({"program": "a.py", "prompt": "a"}, "launch takes one of"),
        ({"program": "/no/such.py"}, "there is no program /no/such.py"),
        ({"program": "a.py", "cwd": "/no/such"}, "cwd /no/such cannot be entered"),
    ],
)
def test_a_launch_that_cannot_be_is_one_clear_line_and_another_may_follow(client, wrong, why):
    client.ask("initialize", adapterID="x")
    assert why in client.refused("launch", **wrong)
    assert why in client.refused("launch", **wrong)


def test_what_launch_does_not_know_is_said_once_on_the_console(launch):
    client = launch(
        promt="x",
        maxTokens=5,
        type="llmdbg",
        request="launch",
        name="mine",
        console="integratedTerminal",
        __sessionId="1",
        trustRemoteCode=False,
    )
    said = [line for line in client.output("console").splitlines() if "does not know" in line]
    assert said == [
        "note: launch does not know 'promt', and ignores it (did you mean prompt?)",
        "note: launch does not know 'maxTokens', and ignores it",
    ]


def test_nonsense_is_refused_in_one_line_and_the_session_goes_on(launch, client):
    assert "comes after launch" in client.refused("stackTrace", threadId=1)
    assert "attach is not possible" in client.refused("attach")
    launch(before=stages("1.mlp"))
    client.stopped()
    assert "no request 'wibble'" in client.refused("wibble")
    assert "variables: Object missing required field `variablesReference`" in client.refused("variables")
    assert "earlier stop" in client.refused("scopes", frameId=77)
    assert "earlier stop" in client.refused("variables", variablesReference=10**6)
    assert "launched already" in client.refused("launch", model="x", prompt="y")
    client.send_raw(b"not json")
    assert "no JSON object" in client.event("output", category="important")["output"]
    client.send_raw(b'{"seq": "one", "type": "request"}')
    assert "no request" in client.event("output", category="important")["output"]
    assert top(client) == "1.mlp@0"


def test_the_model_is_as_it_was(launch):
    client = launch(before=stages("1.mlp"))
    client.stopped()
    client.ask("disconnect")
    assert torch.is_grad_enabled()
