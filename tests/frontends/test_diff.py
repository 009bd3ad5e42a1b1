"""`llmdbg diff` on the command line: its words, its JSON and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from llmdbg.cli import main


@pytest.fixture
def faulty_folder(a_copy) -> Path:
    """A copy of the tiny model in which one projection of layer 1 is another."""
    folder: Path = a_copy()
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.self_attn.k_proj.weight"][3, 4] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_model_is_the_same_as_itself(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, and one sentence."""
    assert main(["diff", str(tiny_folder), str(tiny_folder), "-p", "Hello", "-n", "2", "--greedy"]) == 0
    assert "same: every value is bitwise equal; the texts are the same" in capsys.readouterr().out


def test_a_fault_is_named(tiny_folder: Path, faulty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and the stage in JSON."""
    assert main(["diff", str(tiny_folder), str(faulty_folder), "-p", "Hello", "-n", "2", "--greedy", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["event"], found["verdict"]) == ("diff", "diverged")
    assert found["findings"][0]["address"] == "1.self_attn.k_proj"


def test_a_side_has_options_of_its_own(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Options in quotes are for one side; --fail-on says what counts."""
    sides = [str(tiny_folder), f"{tiny_folder} --dtype bfloat16"]
    assert main(["diff", *sides, "-p", "Hello", "-n", "2", "--greedy"]) == 0
    assert "same within the arithmetic" in capsys.readouterr().out
    assert main(["diff", *sides, "-p", "Hello", "-n", "2", "--greedy", "--fail-on", "difference"]) == 1


def test_another_prompt_is_named_first(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The input is compared before any tensor."""
    other = f"{tiny_folder} -p 'Hello Hello'"
    assert main(["diff", str(tiny_folder), other, "-p", "Hello", "-n", "2", "--greedy"]) == 1
    assert "the input differs: at the end the candidate has" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["diff", "one"], "CANDIDATE"),
        (["diff", "no-such-folder", "no-such-folder", "-p", "Hi"], "no-such-folder"),
        (["diff", "'open", "'open", "-p", "Hi"], "cannot be split into words"),
        (["diff", "one --bogus", "two", "-p", "Hi"], "--bogus"),
    ],
)
def test_trouble_is_2(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be compared is no difference."""
    assert main(arguments) == 2
    assert says in capsys.readouterr().err
