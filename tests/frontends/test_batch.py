"""The headless contract: stdout is data, one JSON object a line, every key as the design names it."""

import json
import math

import pytest

from llmdbg.cli import main


def llmdbg(capsys, folder, *arguments, prompt="The quick brown fox", tokens=3):
    """Run the command line. Returns exit code, stdout and stderr."""
    code = main([str(folder), "-p", prompt, "-n", str(tokens), "--batch", *arguments])
    return code, *capsys.readouterr()


def events(capsys, folder, *arguments, code=0, **settings):
    """Run with --json. Returns the events."""
    got, out, _ = llmdbg(capsys, folder, "--json", *arguments, **settings)
    assert got == code

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in out.splitlines()]


def test_the_trace_of_every_layer(capsys, tiny_folder):
    found = events(capsys, tiny_folder, "--greedy", tokens=2)

    assert [each["event"] for each in found] == ["tokens"] + ["stop"] * 15 + ["end"]
    one = ["embed", "0", "1", "2", "norm", "logits", "sample"]
    assert [each["stage"]["address"] for each in found[1:-1]] == ["tokenize", *one, *one]
    assert [each["token"] for each in found[1:-1]] == [0] * 8 + [1] * 7
    assert [each["phase"] for each in found[1:-1]] == ["prefill"] * 8 + ["decode"] * 7


def test_tokens(capsys, tiny_folder):
    [tokens, *_] = events(capsys, tiny_folder, "-ex", "quit")

    assert [row["index"] for row in tokens["tokens"]] == list(range(len(tokens["tokens"])))
    assert "".join(row["text"] for row in tokens["tokens"]) == "The quick brown fox"
    assert all(set(row) >= {"index", "id", "text"} for row in tokens["tokens"])


def test_a_stop_at_a_layer(capsys, tiny_folder):
    [tokens, _, stop, _] = events(capsys, tiny_folder, "-b", "1", "-ex", "continue")
    count = len(tokens["tokens"])

    assert stop["reason"] == "breakpoint"
    assert stop["breakpoint"] == 1
    assert stop["stage"] == {"kind": "layer", "address": "1", "module": "model.layers.1", "layer": 1, "depth": 1}
    tensor = stop["tensor"]
    assert (tensor["shape"], tensor["dtype"], tensor["device"]) == ([1, count, 32], "float32", "cpu")
    for numbers in (tensor, tensor["focus"]):
        assert all(math.isfinite(numbers[name]) for name in ("min", "max", "mean", "std", "norm"))
        assert (numbers["nan"], numbers["inf"]) == (0, 0)
    assert stop["ms"] > 0
    assert "candidates" not in stop


def test_logits_processors_and_sample(capsys, tiny_folder):
    commands = [x for each in ("until logits", "next", "next", "next") for x in ("-ex", each)]
    found = events(capsys, tiny_folder, "--temperature", "0.7", "--top-k", "5", *commands)
    logits, temperature, top_k, sample = (each for each in found if each["event"] == "stop")

    assert [row["rank"] for row in logits["candidates"]] == list(range(1, 11))
    assert all(set(row) >= {"rank", "id", "text", "logit", "prob"} for row in logits["candidates"])
    assert logits["entropy"] > 0
    assert temperature["stage"]["kind"] == top_k["stage"]["kind"] == "processor"
    assert top_k["stage"]["address"] == "sample.top_k"
    assert top_k["left"] == 5
    assert sum(row["cut_by"] == "sample.top_k" for row in top_k["candidates"]) == 5
    assert [row["logit"] for row in top_k["candidates"]][-1] == "-Infinity"
    assert set(sample["chosen"]) == {"id", "text", "prob", "rank"}
    assert sample["chosen"]["rank"] <= 5


def test_the_end(capsys, tiny_folder):
    *_, end = events(capsys, tiny_folder, "--greedy", "-ex", "continue")

    assert (end["stopped_by"], len(end["ids"])) == ("length", 3)
    *_, left = events(capsys, tiny_folder, "--greedy", "-ex", "token", "-ex", "quit", "-ex", "continue")
    assert (left["stopped_by"], left["ids"]) == ("quit", end["ids"][:1])
    assert end["text"].startswith(left["text"])


def test_sampling_follows_the_seed(capsys, tiny_folder):
    ids = [
        events(capsys, tiny_folder, "--temperature", "1.5", "--seed", seed, "-ex", "c", tokens=8)[-1]["ids"]
        for seed in ("1", "1", "2")
    ]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("topic", ["tokens", "stage", "stats", "candidates", "breakpoints", "model"])
def test_results_name_their_command(capsys, tiny_folder, topic):
    found = events(capsys, tiny_folder, "-b", "1", "-ex", "until logits", "-ex", f"info {topic}")
    result = found[-2]

    assert (result["event"], result["command"]) == ("result", f"info {topic}")
    assert result["data"]


def test_a_command_file_keeps_its_place_among_commands(capsys, tiny_folder, tmp_path):
    script = tmp_path / "commands"
    script.write_text("# a comment\n\nnext\n  info stage\n")
    found = events(capsys, tiny_folder, "-ex", "until 1", "-x", str(script), "-ex", "quit")

    assert [each.get("command", each["event"]) for each in found] == ["tokens", "stop", "stop", "info stage", "end"]
    assert found[2]["stage"]["address"] == "2"


def test_a_command_that_fails_is_an_event_and_a_line(capsys, tiny_folder):
    code, out, err = llmdbg(capsys, tiny_folder, "--json", "-ex", "next", "-ex", "until 77", "-ex", "next")
    *_, error = map(json.loads, out.splitlines())

    assert code == 2
    assert (error["event"], error["type"]) == ("error", "AddressError")
    assert "0 to 2" in error["message"]
    assert err.splitlines()[-1].startswith("llmdbg: ")
    assert out.count('"error"') == 1


def test_text_is_one_line_a_stop_and_nothing_a_terminal_would_obey(capsys, tiny_folder):
    code, out, err = llmdbg(capsys, tiny_folder, "--temperature", "2", prompt="x\x1b[31m\u202e\x07 fox")

    assert code == 0
    assert not set(out) & {"\x1b", "\u202e", "\x07"}
    assert sum(line.startswith("token ") for line in out.splitlines()) == 1 + 3 * 9, (
        "with temperature and generate()'s own top-k"
    )
    assert "Traceback" not in err


def test_narration_is_on_stderr(capsys, tiny_folder):
    _, out, err = llmdbg(capsys, tiny_folder)

    assert "reading …" in err
    assert "reading" not in out


def test_values_that_are_not_finite_are_strings(capsys, a_copy):
    import safetensors.torch
    import torch

    folder = a_copy()
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][0, 0] = torch.nan
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    *_, stop, _ = events(capsys, folder, "-ex", "until 1.mlp.down_proj")

    assert stop["tensor"]["nan"] == stop["tensor"]["shape"][1]
    assert stop["tensor"]["mean"] == "NaN"
