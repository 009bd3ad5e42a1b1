"""`llmdbg record` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmdbg.cli import main
from llmdbg.traces.reader import Trace


def _run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["record", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_run_is_recorded(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    arguments = (tiny_folder, "-p", "The quick", "--system", "Be brief", "-n", 5, "--seed", 3, "--temperature", 0.9)
    code, out, _ = _run(capsys, *arguments, "-o", run, "--json")
    assert code == 0
    said = json.loads(out)
    trace = Trace.open(run)
    assert said["event"] == "record" and said["tokens"] == len(trace.tokens) == 5
    assert said["ids"] == [each.id for each in trace.tokens] and said["stopped_by"] == "length"
    assert said["stages"] == sum(len(trace.stages(token)) for token in range(5))
    prompt = trace.header.prompt
    assert (prompt.typed, prompt.chat, prompt.system) == ("The quick", True, "Be brief")
    assert (
        prompt.rendered == "<|system|>Be brief<|user|>The quick<|assistant|>"
        and "".join(prompt.tokens) == prompt.rendered
    )
    assert len(prompt.special) == len(prompt.ids) and trace.header.settings["seed"] == 3
    code, out, _ = _run(capsys, *arguments, "-o", tmp_path / "again")
    assert code == 0 and out.startswith(f"{tmp_path / 'again'}: 5 tokens, {said['stages']} outputs of stages, ")


def test_left_padding_is_in_the_mask(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run(capsys, tiny_folder, "-p", "The quick", "-n", 1, "--left-pad", 2, "-o", tmp_path / "run")
    header = Trace.open(tmp_path / "run").header
    assert header.prompt.left_pad == 2 and header.prompt.mask[:3] == (0, 0, 1)


def test_whole_tensors(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    which = ("--tensors", "0-1.mlp,logits", "--tensors", "norm")
    assert _run(capsys, tiny_folder, "-p", "The quick", "-n", 2, "-o", tmp_path / "run", *which)[0] == 0
    trace = Trace.open(tmp_path / "run")
    kept = {each.address for each in trace.stages(1) if each.tensors}
    assert kept == {"0.mlp", "1.mlp", "logits", "norm"}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ((), "-o/--output"),
        (("-o", "{full}"), "no empty folder"),
        (("-o", "{new}", "--tensors", "99"), "99"),
        (("-o", "{new}", "--tensors", "all,last"), "goes with no other"),
        (("-o", "{new}", "--bogus"), "--bogus"),
        (("-o", "{new}", "-n", "0"), "--max-new-tokens"),
    ],
)
def test_bad_usage(
    more: tuple[str, ...], says: str, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    more = tuple(each.format(full=tmp_path / "full", new=tmp_path / "new") for each in more)
    code, out, err = _run(capsys, tiny_folder, "-p", "Hi", *more)
    assert (code, out) == (2, "") and says in err.splitlines()[-1]
    assert not (tmp_path / "new").exists() and [each.name for each in (tmp_path / "full").iterdir()] == ["mine"]


def test_a_failing_run_says_where_its_recording_is(
    a_copy, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.llama.modeling_llama import LlamaMLP

    real, calls = LlamaMLP.forward, []

    def broken(self, x):
        calls.append(1)
        if len(calls) > 7:
            raise RuntimeError("broken on purpose")
        return real(self, x)

    monkeypatch.setattr(LlamaMLP, "forward", broken)
    code, _, err = _run(capsys, a_copy(), "-p", "Hi", "-n", 5, "-o", tmp_path / "run")
    assert code == 1 and "broken on purpose" in err and f"is in {tmp_path / 'run'}: 2 tokens" in err
    trace = Trace.open(tmp_path / "run")
    assert len(trace.tokens) == 2 and trace.stages(2)
