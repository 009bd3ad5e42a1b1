"""What is wrong with weights, as the command line and its JSON tell it."""

import json

import pytest
from safetensors.torch import load_file, save_file

from llmdbg.cli import main

LOST = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def incomplete(a_copy):
    """A model folder whose weights lack a tensor."""
    folder = a_copy()
    weights = load_file(folder / "model.safetensors")
    del weights[LOST]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def run(capsys, folder, *arguments):
    """Run the command line. Returns exit code, stdout and stderr."""
    code = main([str(folder), "-p", "The quick", "-n", "1", "--greedy", "--batch", *arguments])
    return code, *capsys.readouterr()


def test_the_error_names_them_in_one_line_and_in_full_in_json(capsys, incomplete):
    code, out, err = run(capsys, incomplete)
    assert (code, out) == (1, "")
    [line] = [line for line in err.splitlines() if "1 tensor missing" in line]
    assert LOST in line
    assert "--allow-missing" in line

    code, out, _ = run(capsys, incomplete, "--json")
    [error] = map(json.loads, out.splitlines())
    assert (code, error["type"]) == (1, "WeightsError")
    assert error["weights"]["missing"] == [LOST]


def test_allow_missing_opens_it_with_the_names_in_info_model(capsys, incomplete):
    code, out, _ = run(capsys, incomplete, "--allow-missing", "--json", "-ex", "info model")
    [result] = [each for each in map(json.loads, out.splitlines()) if each["event"] == "result"]
    assert code == 0
    assert result["data"]["weights"]["missing"] == [LOST]
    assert any(LOST in note for note in result["data"]["notes"])

    _, out, _ = run(capsys, incomplete, "--allow-missing", "-ex", "info model")
    assert any(line.startswith("note: ") and LOST in line for line in out.splitlines())


def test_info_model_names_the_processors_that_run(capsys, a_copy):
    folder = a_copy()
    (folder / "generation_config.json").write_text(json.dumps({"suppress_tokens": [3, 4], "bad_words_ids": [[5]]}))
    _, out, _ = run(capsys, folder, "-ex", "info model")
    assert "greedy · bans 1 sequence · suppresses 2 tokens" in out


@pytest.mark.parametrize("kind", ["csv", "json", "txt"])
def test_info_model_goes_into_a_file(capsys, incomplete, tmp_path, kind):
    path = tmp_path / f"model.{kind}"
    code, _, err = run(capsys, incomplete, "--allow-missing", "-ex", f"info model > {path}")
    assert code == 0, err
    assert LOST in path.read_text()


def test_finer_patterns_than_a_note_has_room_for_are_in_info_model(capsys, a_copy):
    folder = a_copy()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 5}))
    _, out, _ = run(capsys, folder, "--allow-missing", "-ex", "info model")
    [line] = [line for line in out.splitlines() if line.startswith("missing: ")]
    assert "model.layers.3-4.mlp.up_proj.weight (2)" in line
    assert "model.layers.3-4.self_attn.o_proj.weight (2)" in line
