"""`llmdbg replay` on the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmdbg.cli import main
from tests.recordings import record, tiny_generation


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings") / "run"
    record(tiny_generation(greedy=True), folder)
    return folder


def _replay(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["replay", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_batch_runs_its_commands(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _replay(capsys, recording, "--batch", "--json", "-b", "1.mlp if token == 2", "-ex", "continue")
    assert code == 0
    events = [each for line in out.splitlines() if (each := json.loads(line))["event"] != "warning"]
    assert [each["event"] for each in events] == ["tokens", "result", "stop", "end"]
    assert (events[2]["stage"]["address"], events[2]["token"], events[2]["breakpoint"]) == ("1.mlp", 2, 1)
    assert events[2]["tensor"]["norm"] > 0


def test_without_commands_it_is_traced_to_the_end(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _replay(capsys, recording, "--batch")
    assert code == 0 and out.count("chose") == 4 and "length  4 tokens" in out


def test_a_command_file(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "look").write_text("# go and look\ngoto logits@1\ninfo candidates\n")
    code, out, _ = _replay(capsys, recording, "--batch", "-x", tmp_path / "look")
    assert code == 0 and "tokens left, entropy" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--json"], "--batch"),
        ([], "terminal"),
        (["--batch", "-ex", "fly"], "fly"),
        (["--batch", "-b", "99"], "99"),
        (["--batch", "-x", "/no/such/file"], "cannot read"),
        (["--batch", "-p", "Hi"], "unrecognized"),
    ],
)
def test_bad_usage(recording: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _replay(capsys, recording, *arguments)
    assert code == 2 and "stop" not in out
    assert words in err and err.count("\n") == 1


def test_what_is_no_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, words in ((tmp_path / "none", "no such folder"), (tmp_path, "no trace.json")):
        code, out, err = _replay(capsys, folder, "--batch")
        assert code == 1 and not out and words in err and err.count("\n") == 1


def test_damage_is_said_and_what_is_before_it_shown(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(recording, tmp_path / "run"))
    lines = (run / "tokens.jsonl").read_text().splitlines(keepends=True)
    (run / "tokens.jsonl").write_text("".join([*lines[:2], "\x1b[31m{]\n"]))
    code, out, err = _replay(capsys, run, "--batch", "-ex", "continue")
    assert code == 0
    assert "2 tokens" in out and "the recording goes no further" in out
    assert "tokens.jsonl is damaged in line 3" in err and "\x1b" not in err


def test_neither_transformers_nor_a_tokenizer_is_imported(recording: Path) -> None:
    code = (
        "import sys\nfrom llmdbg.cli import main\n"
        "before = {'torch', 'transformers', 'tokenizers'} & sys.modules.keys()\n"
        f"assert main(['replay', {str(recording)!r}, '--batch', '-ex', 'goto 1@2', '-ex', 'info stage']) == 0\n"
        "print(sorted(before), sorted({'transformers', 'tokenizers'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[] []"
