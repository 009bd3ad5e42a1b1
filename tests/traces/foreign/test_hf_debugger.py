"""Trees that Hugging Face's model debugger really writes, read and compared with the live model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel
from transformers.model_debugging_utils import model_addition_debugger_context

from llmdbg.debugger.comparison.outcome import Verdict
from llmdbg.errors import TraceError
from llmdbg.traces.foreign.registry import import_dump, open_trace
from tests.debugger.comparison.sides import PROMPT
from tests.traces.foreign.dumps import IDS, against_live, model, wrong_weight


@pytest.fixture(autouse=True)
def _printing():
    """The debugger changes how torch prints, for good."""
    yield
    torch.set_printoptions(profile="default")


def dumped(folder: Path, *, use_repr: bool, fault: Callable[[PreTrainedModel], object] | None = None) -> Path:
    found = model(fault)
    with model_addition_debugger_context(found, str(folder), do_prune_layers=False, use_repr=use_repr):
        found.forward(input_ids=IDS)
    return folder


def test_whole_tensors_are_the_live_models(tmp_path: Path) -> None:
    trace = open_trace(dumped(tmp_path / "dump", use_repr=False))
    assert trace.header.prompt.ids == PROMPT
    assert trace.header.model_class == "LlamaForCausalLM"
    assert [each.id for each in trace.tokens] == [None]
    assert trace.tensor(0, "1.mlp.gate_proj", "input.0") is not None
    found = against_live(trace)
    # It computes the logits of all positions, generate() those of the last one: another product, with other rounding.
    assert {each.address for each in found.stages if not each.equal} <= {"lm_head", "logits"}
    assert found.findings == ()
    assert {"embed", "1.self_attn.q_proj", "norm", "logits"} <= {each.address for each in found.stages}


def test_a_fault_is_named_by_the_module_itself(tmp_path: Path) -> None:
    found = against_live(dumped(tmp_path / "dump", use_repr=False, fault=wrong_weight))
    assert found.first is not None and found.first.address == "1.self_attn.k_proj"


def test_statistics_alone_are_compared_too(tmp_path: Path) -> None:
    """They are printed in five digits: nothing of a sound model may be accused, and a gross fault shows."""
    trace = open_trace(dumped(tmp_path / "sound", use_repr=True))
    record = trace.stage(0, "1.mlp.up_proj")
    assert record is not None and record.statistics is not None and record.sketch is None and record.hash is None
    found = against_live(trace)
    assert found.findings == () and found.verdict is Verdict.WITHIN_ARITHMETIC
    assert len(found.stages) > 15
    assert any("only statistics" in each for each in found.notes)

    def fault(wrong: PreTrainedModel) -> None:
        wrong.model.layers[1].mlp.up_proj.weight.data *= 1.1

    found = against_live(dumped(tmp_path / "wrong", use_repr=True, fault=fault))
    assert found.first is not None and found.first.address == "1.mlp.up_proj"


def test_the_summary_is_read_where_it_is_alone(tmp_path: Path) -> None:
    folder = dumped(tmp_path / "dump", use_repr=True)
    (folder / "LlamaForCausalLM_debug_tree_FULL_TENSORS.json").unlink()
    trace = open_trace(folder)
    assert trace.header.prompt.ids == ()
    assert any("which ids" in each for each in trace.header.notes)
    record = trace.stage(0, "norm")
    assert record is not None and record.statistics is not None and record.statistics.norm > 1


def _tree(folder: Path) -> Path:
    return folder / "LlamaForCausalLM_debug_tree_FULL_TENSORS.json"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda node: node["outputs"].update(value="../../secret.safetensors"), "outside of its folder"),
        (lambda node: node["outputs"].update(value="/etc/passwd"), "outside of its folder"),
        (lambda node: node["outputs"].update(shape="torch.Size([1e9])"), "no shape"),
        (lambda node: node["outputs"].update(value="missing.safetensors"), "missing.safetensors"),
        (lambda node: node.update(module_path=["a"]), "module_path"),
        (lambda node: node.update(children=3), "calls"),
    ],
)
def test_a_hostile_tree_is_refused(change: Callable[[dict[str, Any]], object], words: str, tmp_path: Path) -> None:
    folder = dumped(tmp_path / "dump", use_repr=False)
    tree = json.loads(_tree(folder).read_text())
    change(tree["children"][0]["children"][0])
    _tree(folder).write_text(json.dumps(tree))
    with pytest.raises(TraceError) as caught:
        import_dump(folder, tmp_path / "run")
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not list((tmp_path / "run").glob("*"))


def test_a_link_beside_the_tree_is_not_followed(tmp_path: Path) -> None:
    folder = dumped(tmp_path / "dump", use_repr=False)
    file = folder / "LlamaForCausalLM.model.embed_tokens_outputs.safetensors"
    file.rename(tmp_path / "elsewhere.safetensors")
    file.symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(TraceError, match="cannot read"):
        import_dump(folder, tmp_path / "run")


def test_calls_nested_without_end_are_refused(tmp_path: Path) -> None:
    text = '{"module_path": "M", "children": [' * 400 + "]}" * 400
    file = tmp_path / "M_debug_tree_FULL_TENSORS.json"
    file.write_text(text)
    with pytest.raises(TraceError, match="nested"):
        import_dump(file, tmp_path / "run")
