"""Results that Polygraphy really saves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from llmdbg.errors import TraceError
from llmdbg.traces.foreign.registry import import_dump, open_trace
from tests.traces.foreign.dumps import IDS, against_live, model

comparator = pytest.importorskip("polygraphy.comparator", reason="polygraphy is not installed")


def _scaled(wrong: PreTrainedModel) -> None:
    wrong.lm_head.weight.data *= 1.5


def saved(file: Path, fault: Any = None, *, arrays: bool = True) -> Path:
    """What a runner of an exported graph returns: logits, and what was marked as an output."""
    found = model(fault)
    with torch.no_grad():
        output = found(input_ids=IDS, output_hidden_states=True)
    outputs = {"/model/layers.0": output.hidden_states[1], "logits": output.logits}
    results = comparator.RunResults()
    results.add([{name: each.numpy() if arrays else each for name, each in outputs.items()}], runner_name="ort")
    results.save(str(file))
    return file


@pytest.mark.parametrize("arrays", [True, False], ids=["numpy", "torch"])
def test_results_are_the_live_models(arrays: bool, tmp_path: Path) -> None:
    trace = open_trace(saved(tmp_path / "results.json", arrays=arrays))
    assert [each.address for each in trace.stages(0)][-1] == "logits"
    assert trace.header.config == {"runner": "ort"}
    found = against_live(trace)
    assert found.findings == ()
    assert {"logits", "0"} <= {each.address for each in found.stages}
    assert any("what was fed" in each for each in found.notes)


def test_a_difference_is_found(tmp_path: Path) -> None:
    found = against_live(saved(tmp_path / "results.json", _scaled))
    assert found.first is not None and found.first.address == "logits"


def test_damage_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path / "results.json")
    document = json.loads(file.read_text())
    array = document["lst"][0][1][0]["outputs"]["logits"]["values"]
    for at, bad in enumerate((3, "!!!", "AAAA")):
        array["array"] = bad
        file.write_text(json.dumps(document))
        with pytest.raises(TraceError, match="damaged in iteration 0"):
            import_dump(file, tmp_path / f"run{at}")
    document["lst"] = [3]
    file.write_text(json.dumps(document))
    with pytest.raises(TraceError, match="runner"):
        import_dump(file, tmp_path / "run")
