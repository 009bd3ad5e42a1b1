"""Files as vLLM's connector for hidden states writes them, made here: it needs a GPU's pinned memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from llmdbg.cli import main
from llmdbg.debugger.comparison.outcome import Verdict
from llmdbg.errors import TraceError, UsageError
from llmdbg.traces.foreign.registry import import_dump, open_trace, recognise
from tests.debugger.comparison.sides import PROMPT
from tests.traces.foreign.dumps import IDS, against_live, model, wrong_weight


def saved(file: Path, fault: Callable[[PreTrainedModel], object] | None = None) -> Path:
    """The inputs of layers 0 and 1, and what the last layer returns."""
    found, states = model(fault), list[torch.Tensor]()
    for layer in found.model.layers:
        layer.register_forward_pre_hook(lambda _, args: states.append(args[0][0].clone()))
    found.model.layers[-1].register_forward_hook(lambda _m, _i, output: states.append(output[0].clone()))
    with torch.no_grad():
        found(input_ids=IDS)
    save_file({"hidden_states": torch.stack(states, 1), "token_ids": IDS[0].clone()}, file)
    return file


def test_layers_are_the_live_models(tmp_path: Path) -> None:
    trace = import_dump(saved(tmp_path / "request.safetensors"), tmp_path / "run", (0, 1, 2))
    assert trace.header.prompt.ids == PROMPT
    assert [each.address for each in trace.stages(0)] == ["embed", "0", "1"]
    assert against_live(trace).verdict is Verdict.SAME


def test_a_fault_is_found_in_its_layer(tmp_path: Path) -> None:
    trace = import_dump(saved(tmp_path / "request.safetensors", wrong_weight), tmp_path / "run", (0, 1, 2))
    found = against_live(trace)
    assert found.first is not None and found.first.address == "1"


def test_layers_that_are_not_named(tmp_path: Path) -> None:
    trace = open_trace(saved(tmp_path / "request.safetensors"))
    assert [each.address for each in trace.stages(0)] == [f"hidden_states.{at}" for at in range(3)]
    found = against_live(trace)
    assert not found.stages and any("no stage could be compared" in each for each in found.notes)


def test_the_command_takes_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = saved(tmp_path / "request.safetensors")
    assert main(["import", str(file), "-o", str(tmp_path / "run"), "--layers", "0,1,2"]) == 0
    assert "1 forward, 3 outputs of stages" in capsys.readouterr().out
    assert main(["import", str(file), "-o", str(tmp_path / "two"), "--layers", "a"]) == 2
    with pytest.raises(UsageError, match="3 layers"):
        import_dump(file, tmp_path / "three", (1,))


def test_another_safetensors_file_is_no_dump(tmp_path: Path) -> None:
    save_file({"hidden_states": torch.zeros(2)}, tmp_path / "weights.safetensors")
    assert recognise(tmp_path / "weights.safetensors") is None
    save_file({"hidden_states": torch.zeros(2, 3), "token_ids": torch.zeros(2)}, tmp_path / "odd.safetensors")
    with pytest.raises(TraceError, match="damaged"):
        import_dump(tmp_path / "odd.safetensors", tmp_path / "run")
