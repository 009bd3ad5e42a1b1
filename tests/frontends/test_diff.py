"""`llmdbg diff` on the command line: its words, its JSON and its exit codes."""

from __future__ import annotations

import gc
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len
from safetensors.torch import load_file, save_file

from llmdbg.cli import main
from llmdbg.frontends import output


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


@pytest.mark.slow
def test_a_side_is_run_by_another_python(
    tiny_folder: Path,
    faulty_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is recorded there, and the other side is run on what it recorded; nothing of it is left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    words = ["-p", "Hello", "-n", "2", "--greedy"]
    python = f"--python {sys.executable}"
    assert main(["diff", f"{tiny_folder} {python}", str(faulty_folder), *words, "--json", "-q"]) == 1
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found["verdict"], said.err) == ("diverged", "")
    assert found["findings"][0]["address"] == "1.self_attn.k_proj"
    assert main(["diff", str(tiny_folder), f"{tiny_folder} --python /bin/false", *words]) == 2
    assert "/bin/false ended by itself (exit code 1)" in capsys.readouterr().err
    gc.collect()
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["diff", "one --python p", "two", "-p", "Hi", "--bisect"], "--bisect runs both sides in this process"),
        (["diff", "one", "two --python p"], "there is no prompt"),
        (["diff", "one", "two --python no-such", "-p", "Hi"], "--python takes the path of an interpreter"),
        (["diff", "one"], "CANDIDATE"),
        (["diff", "no-such-folder", "no-such-folder", "-p", "Hi"], "no-such-folder"),
        (["diff", "'open", "'open", "-p", "Hi"], "cannot be split into words"),
        (["diff", "one --bogus", "two", "-p", "Hi"], 'in "one --bogus": unrecognized arguments: --bogus'),
        (["diff", "one", "two three", "-p", "Hi"], 'in "two three": unrecognized arguments: three'),
        (["diff", "", "two", "-p", "Hi"], "REFERENCE is empty"),
        (["diff", "one", " ", "-p", "Hi"], "CANDIDATE is empty"),
        (["diff", "one --json", "two", "-p", "Hi"], "--json is about the comparison, not about one side"),
        (["diff", "one", "two --html=x.html", "-p", "Hi"], "--html=x.html is about the comparison"),
        (["diff", "one", "two"], "there is no prompt"),
        (["diff", "one", "two -n 0", "-p", "Hi"], "max-new-tokens"),
        (["diff", "one", "two", "-p", "Hi", "--html", "x.txt"], "ends in .html"),
        (["diff", "one", "two --bisect", "-p", "Hi"], "--bisect is about the comparison"),
        (["diff", "one", "two", "-p", "Hi", "--map", "qkv"], "--map takes NAME=NAME"),
    ],
)
def test_trouble_is_2(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be compared is no difference."""
    assert main(arguments) == 2
    assert says in capsys.readouterr().err


def test_the_stages_that_repair_the_answer_are_named(
    tiny_folder: Path, faulty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the text, with the runs it took; each run is told of on the way."""
    sides = [str(tiny_folder), str(faulty_folder)]
    assert main(["diff", *sides, "-p", "Hello", "-n", "2", "--greedy", "--bisect"]) == 1
    out, err = capsys.readouterr()
    (line,) = (each for each in out.splitlines() if each.startswith("bisected   "))
    assert "without what 1.self_attn.k_proj adds by itself" in line
    assert line.endswith("runs)")
    assert "llmdbg diff: bisecting: run 2, no stages repaired" in err


def test_a_prompt_that_is_a_model_s_name_is_a_prompt(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Words are told apart by where they stand, not by what they say."""
    name = str(tiny_folder)
    assert main(["diff", "-p", name, name, name, "-n", "1", "--greedy"]) == 0
    assert capsys.readouterr().out.startswith("same: ")


def test_a_path_with_spaces_is_a_model(a_copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """What exists as a path is not cut into words."""
    folder = a_copy("my model")
    assert main(["diff", str(folder), f"'{folder}'", "-p", "Hello", "-n", "1", "--greedy", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_a_side_s_own_prompt_replaces_the_one_for_both(tiny_folder: Path, tmp_path: Path) -> None:
    """In whichever way either is given."""
    file = tmp_path / "prompt.txt"
    file.write_text("Hello")
    sides = [str(tiny_folder), f"{tiny_folder} --prompt-file {file}"]
    assert main(["diff", *sides, "-p", "Hello", "-n", "1", "--greedy"]) == 0
    assert main(["diff", *sides, "-p", "Hello Hello", "-n", "1", "--greedy"]) == 1


def test_the_verdict_comes_first_and_what_to_do_next_last(
    tiny_folder: Path, faulty_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command that stops at the stage can be pasted; a report is written beside the text."""
    report = tmp_path / "report.html"
    sides = [str(tiny_folder), str(faulty_folder)]
    assert main(["diff", *sides, "-p", "Hello", "-n", "2", "--greedy", "--html", str(report)]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("first differs at 1.self_attn.k_proj (isolated error ")
    assert err.splitlines()[-1] == (
        f"llmdbg diff: next: `llmdbg {faulty_folder} --prompt Hello --max-new-tokens 2 --greedy "
        "-b 1.self_attn.k_proj` stops there"
    )
    assert "1.self_attn.k_proj" in report.read_text()


def test_on_a_terminal_nothing_is_wider_than_it(
    tiny_folder: Path, faulty_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sentences are folded, and tables fit."""
    monkeypatch.setattr(output, "stdout_is_a_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["diff", str(tiny_folder), str(faulty_folder), "-p", "Hello", "-n", "2", "--greedy"]) == 1
    written = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, written)) < 80
    assert any(line.startswith("    its weight differs in 1 of ") for line in written)
    assert any(line.startswith("logits  ") for line in written)


def test_both_continuations_are_shown_where_the_texts_part(
    tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One below the other, with the likeliest tokens there."""
    sides = [str(tiny_folder), f"{tiny_folder} -p Once"]
    assert main(["diff", *sides, "-p", "Hello Hello", "-n", "8", "--greedy", "--fail-on", "text"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines if line.startswith(("both", "reference", "candidate"))][-2:] == [
        "reference",
        "candidate",
    ]
    assert any(line.startswith("likeliest there") for line in lines)


def test_two_recordings_take_no_options_of_a_run(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is run, so nothing that is asked of a run is passed over in silence."""
    run = str(tmp_path / "run")
    assert main(["record", str(tiny_folder), "-p", "Hello", "-n", "2", "--greedy", "-o", run]) == 0
    assert main(["diff", run, run, "-q"]) == 0
    capsys.readouterr()
    assert main(["diff", run, run, "-q", "--dtype", "bfloat16", "-n", "2", "--attn", "eager"]) == 2
    assert "read and not run: leave out --max-new-tokens, --dtype and --attn" in capsys.readouterr().err
    assert main(["diff", run, run, "-p", "Hi"]) == 2
    assert main(["diff", run, run, "--map", "qkv=q+k"]) == 2
    assert main(["diff", run, run, "--screen"]) == 2
