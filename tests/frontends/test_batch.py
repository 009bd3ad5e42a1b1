"""The headless contract: stdout is data, one JSON object a line, every key as the design names it."""

import json
import math

import pytest
from jsonschema.exceptions import best_match

from llmdbg.cli import main
from llmdbg.models.load_steps import LoadStep
from tests import schemas
from tests.sessions import tiny_tokenizer


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

    found = [json.loads(line, parse_constant=refuse) for line in out.splitlines()]
    for each in found:
        wrong = best_match(schemas.batch_event().iter_errors(each))
        assert wrong is None, f"{wrong.message[:300]} at {list(wrong.absolute_path)}"
    return found


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


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["-b", "1 if entropie < 1"], "ConditionError"),
        (["-ex", "trace 1 norm +"], "ConditionError"),
        (["-ex", "watch top2"], "ConditionError"),
        (["-ex", "until 1 if token > 2"], "CommandError"),
        (["-ex", "frobnicate"], "CommandError"),
        (["-ex", "next", "-ex", "next many"], "CommandError"),
        (["-ex", "next 0"], "CommandError"),
        (["-ex", "finish now"], "CommandError"),
        (["-ex", "break"], "CommandError"),
        (["-ex", "delete x"], "CommandError"),
        (["-ex", "info weather"], "CommandError"),
        (["-ex", "info s"], "CommandError"),
        (["-ex", "focus left"], "CommandError"),
        (["-ex", "help frobnicate"], "CommandError"),
        (["-b", "nosuch"], "AddressError"),
        (["-ex", "next", "-ex", "until 77", "-ex", "next"], "AddressError"),
        (["-ex", "tbreak 1@x"], "AddressError"),
    ],
)
def test_what_makes_no_sense_is_all_that_is_written(capsys, tiny_folder, arguments, kind):
    [error] = events(capsys, tiny_folder, *arguments, code=2)
    assert (error["event"], error["type"]) == ("error", kind)

    code, out, err = llmdbg(capsys, tiny_folder, *arguments)
    assert (code, out) == (2, "")
    assert (LoadStep.WEIGHTS in err) == (kind == "AddressError"), "a command is looked at before the model is loaded"


@pytest.mark.parametrize(
    "command",
    ["n", "next 2", "step", "s 3", "t", "finish", "u 1", "tb 1@1", "i stage", "i tok", "d", "h", "h n", "focus last"],
)
def test_what_makes_sense_is_run(capsys, tiny_folder, command):
    assert events(capsys, tiny_folder, "-ex", command)[-1]["event"] == "end"


def mamba_folder(folder, tokenizer):
    """A model whose convolutions are called by their weights alone."""
    import transformers

    config = transformers.MambaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        state_size=8,
        num_hidden_layers=2,
        intermediate_size=64,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    transformers.MambaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_stage_that_never_runs_is_told(capsys, tmp_path):
    folder = mamba_folder(tmp_path / "mamba", tiny_tokenizer())
    _, _, err = llmdbg(capsys, folder, "-b", "0.mixer.conv1d", "-ex", "until 1.mixer.conv1d")

    assert "note: breakpoint 1 (0.mixer.conv1d) was never hit" in err
    assert "note: `until 1.mixer.conv1d` stopped at the end" in err


def test_stages_that_run_are_not_told(capsys, tiny_folder):
    _, _, err = llmdbg(capsys, tiny_folder, "-b", "1", "-ex", "until 2", "-ex", "c 2", "-ex", "until sample@2")
    assert "note:" not in err
    _, _, err = llmdbg(capsys, tiny_folder, "-b", "1@9", "-ex", "next", "-ex", "quit")
    assert "note:" not in err, "who leaves early knows why nothing came"


def test_a_token_that_is_never_generated_is_told_without_a_guess(capsys, tiny_folder):
    _, _, err = llmdbg(capsys, tiny_folder, "-b", "1@9", "-ex", "continue")
    [note] = [line for line in err.splitlines() if "note:" in line]
    assert note == "note: breakpoint 1 (1@9) was never hit: the run ended without that stage"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"num_beams": 4}, "4 beams"),
        ({"prompt_lookup_num_tokens": 3}, "prompt lookup"),
    ],
)
def test_another_decoding_method_is_told(capsys, a_copy, config, words):
    folder = a_copy()
    (folder / "generation_config.json").write_text(json.dumps(config))
    code, _, err = llmdbg(capsys, folder)

    assert code == 0
    assert err.count("note: ") == 1
    assert words in err


@pytest.mark.parametrize(
    "config",
    [
        {"temperature": -1.0, "do_sample": True},
        {"temperature": "hot", "do_sample": True},
        {"top_k": -5, "do_sample": True},
        {"penalty_alpha": 0.6, "top_k": 4},
        {"dola_layers": "low"},
    ],
)
def test_settings_that_generate_refuses_are_all_that_is_written(capsys, a_copy, config):
    folder = a_copy()
    (folder / "generation_config.json").write_text(json.dumps(config))
    [error] = events(capsys, folder, code=2)

    assert error["type"] == "SettingsError"
    assert "generation_config.json" in error["message"]


def test_a_prompt_beyond_max_length_says_so(capsys, a_copy):
    folder = a_copy()
    (folder / "generation_config.json").write_text('{"max_length": 1}')
    assert main([str(folder), "-p", "The quick brown fox", "--batch", "--json"]) == 2
    out, _ = capsys.readouterr()
    [error] = map(json.loads, out.splitlines())

    assert "max_length" in error["message"]
    assert "-n" in error["message"]


def test_a_vocabulary_smaller_than_the_tokenizers_is_told(capsys, a_copy):
    folder = a_copy()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 40}))
    [error] = events(capsys, folder, "--random-weights", code=2)

    assert error["type"] == "PromptError"
    assert "vocab_size" in error["message"]


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

    assert [each for each in err.splitlines() if each.endswith(" …")] == [f"{step} …" for step in LoadStep]
    assert not any(step in out for step in LoadStep)


def test_values_that_are_not_finite_are_strings(capsys, a_copy):
    import safetensors.torch
    import torch

    folder = a_copy()
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][0, 0] = torch.nan
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    *_, stop, _ = events(capsys, folder, "-ex", "until 1.mlp.down_proj")

    assert stop["tensor"]["nan"] == stop["tensor"]["shape"][1]
    assert stop["tensor"]["norm"] == "NaN"
    assert isinstance(stop["tensor"]["mean"], float), "over the finite numbers"
