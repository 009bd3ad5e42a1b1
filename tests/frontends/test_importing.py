"""A dump of another tool on the command line: imported, compared with a model's folder, replayed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.model_debugging_utils import model_addition_debugger_context

from llmdbg.cli import main


@pytest.fixture(scope="module")
def dump(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dumps") / "dump"
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    with model_addition_debugger_context(model, str(folder), do_prune_layers=False, use_repr=False):
        model.forward(input_ids=torch.tensor([[5, 9, 2, 77]]))
    torch.set_printoptions(profile="default")
    return folder


def test_a_dump_is_imported(dump: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(dump), "-o", str(tmp_path / "run"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["event"] == "import"
    assert found["tool"] == "Hugging Face's model debugger" and found["forwards"] == 1
    assert found["bytes"] == sum(each.stat().st_size for each in (tmp_path / "run").iterdir())
    assert main(["import", str(dump), "-o", str(tmp_path / "run")]) == 2
    assert "no empty folder" in capsys.readouterr().err


def test_what_is_no_dump_is_one_line(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tiny_folder, tmp_path / "nothing"):
        assert main(["import", str(path), "-o", str(tmp_path / "run")]) in (1, 2)
        said = capsys.readouterr().err
        assert "is no dump" in said and said.count("\n") == 1


def test_a_model_is_compared_with_a_dump(dump: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an import, and without a trace of one."""
    assert main(["diff", str(dump), f"{tiny_folder} --dtype float32 --device cpu", "--json", "-q"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["findings"] == [] and len(found["stages"]) > 10


def test_a_dump_is_replayed(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(dump), "--batch"]) == 0
    said = capsys.readouterr().out
    assert "embed" in said and "logits" in said
