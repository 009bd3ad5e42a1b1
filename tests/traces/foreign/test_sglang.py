"""Dumps in SGLang's two layouts, written here as its hooks write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from llmdbg.errors import TraceError
from llmdbg.traces.foreign.registry import import_dump, open_trace, recognise
from tests.debugger.comparison.sides import PROMPT
from tests.traces.foreign.dumps import against_live, model, wrong_weight


def _outputs(found: PreTrainedModel, ids: list[int], positions: list[int]) -> dict[str, torch.Tensor]:
    """What each module without children returns, as SGLang has it: without a batch dimension."""
    values: dict[str, torch.Tensor] = {}
    leaves = [(path, each) for path, each in found.named_modules() if not list(each.children())]
    handles = [
        each.register_forward_hook(lambda _m, _i, output, path=path: values.update({path: output[0].clone()}))
        for path, each in leaves
        if not path.endswith("rotary_emb")
    ]
    with torch.no_grad():
        found(input_ids=torch.tensor([ids]), position_ids=torch.tensor([positions]), use_cache=False)
    for each in handles:
        each.remove()
    return values


def passes(folder: Path, fault: Callable[[PreTrainedModel], object] | None = None) -> Path:
    """Two passes over the prompt and over it and one more token; what `model` and the head return is written late."""
    found = model(fault)
    place = folder / "TP0_PP0_Rank0_pid123"
    place.mkdir(parents=True)
    late: dict[str, torch.Tensor] = {}
    for number, ids in enumerate((list(PROMPT), [7])):
        values = _outputs(found, ids, list(range(len(ids))))
        head = values.pop("lm_head")
        batch = {"input_ids": torch.tensor(ids), "seq_lens": torch.tensor([len(ids)])}
        batch["positions"] = torch.arange(len(ids))
        entries = late | values | {f"model.forward_batch_info.{name}": each for name, each in batch.items()}
        torch.save(entries, place / f"Pass{number:05d}.pt")
        late = {"model": values["model.norm"], "logits_processor": head[-1:]}
    return folder


def test_passes_are_the_live_models(tmp_path: Path) -> None:
    trace = open_trace(passes(tmp_path / "dump"))
    assert trace.header.prompt.ids == PROMPT
    assert [each.id for each in trace.tokens] == [7, None]
    assert trace.tokens[0].positions == tuple(range(len(PROMPT)))
    assert trace.stage(0, "logits_processor") is not None and trace.stage(1, "logits_processor") is None
    prefill = {each.address for each in trace.stages(0)}
    assert {"embed", "0.self_attn.q_proj", "1.mlp.down_proj", "norm", "logits"} <= prefill


def test_a_model_under_another_name(tmp_path: Path) -> None:
    folder = passes(tmp_path / "dump")
    for file in (folder / "TP0_PP0_Rank0_pid123").iterdir():
        renamed = {
            f"language_{name}" if name.startswith("model") else name: each for name, each in torch.load(file).items()
        }
        torch.save(renamed, file)
    trace = open_trace(folder)
    assert [each.id for each in trace.tokens] == [7, None]
    assert trace.stage(0, "1.mlp.up_proj") is not None and trace.stage(1, "1.mlp.up_proj") is not None


def test_a_fault_in_a_pass_is_named(tmp_path: Path) -> None:
    folder = passes(tmp_path / "dump", wrong_weight)
    (folder / "TP0_PP0_Rank0_pid123" / "Pass00001.pt").unlink()
    found = against_live(folder)
    assert found.first is not None and found.first.address == "1.self_attn.k_proj"
    folder = passes(tmp_path / "sound")
    (folder / "TP0_PP0_Rank0_pid123" / "Pass00001.pt").unlink()
    assert against_live(folder).findings == ()


def values(folder: Path, extra: Any = None) -> Path:
    """The dumper's files, of its mode `all`."""
    found = model()
    place = folder / "dump_20261126_101010_000"
    place.mkdir(parents=True)
    count = 0

    def write(name: str, value: Any) -> None:
        nonlocal count
        count += 1
        tags = {"step": 0, "rank": 0, "dump_index": count, "name": name, "recompute_status": "disabled"}
        file = "___".join(f"{key}={each}" for key, each in tags.items()) + ".pt"
        torch.save({"value": value, "meta": {**tags, "world_size": 1}}, place / file)

    write("input_ids", torch.tensor(PROMPT))
    write("positions", torch.arange(len(PROMPT)))
    for path, each in _outputs(found, list(PROMPT), list(range(len(PROMPT)))).items():
        write(f"non_intrusive__{path}.inputs.0", torch.zeros(len(PROMPT), 2))
        write(f"non_intrusive__{path}.output", each)
    if extra is not None:
        write("odd", extra)
    return folder


def test_the_dumpers_values_are_the_live_models(tmp_path: Path) -> None:
    """Its inputs are no inputs here, but modules that are given wrong ones would be accused."""
    folder = values(tmp_path / "dump")
    for file in (folder / "dump_20261126_101010_000").glob("*inputs*"):
        file.unlink()
    assert against_live(folder).findings == ()


def test_the_dumpers_values_are_read(tmp_path: Path) -> None:
    trace = open_trace(values(tmp_path / "dump"))
    assert trace.header.prompt.ids == PROMPT
    record = trace.stage(0, "1.mlp.gate_proj")
    assert record is not None and set(record.tensors) == {"output", "input.0"}
    assert trace.stage(0, "input_ids") is not None


class _Own:
    pass


def test_what_is_more_than_tensors_is_left_out(tmp_path: Path) -> None:
    trace = open_trace(values(tmp_path / "dump", _Own()))
    assert any("more than tensors" in each for each in trace.header.notes)


def test_damage_is_refused(tmp_path: Path) -> None:
    folder = passes(tmp_path / "dump")
    file = folder / "TP0_PP0_Rank0_pid123" / "Pass00000.pt"
    data = file.read_bytes()
    for at, bad in enumerate(
        (b"", data[:1000], data[:-500] + bytes(500), data.replace(b"model.norm", b"model.nor\xff"))
    ):
        file.write_bytes(bad)
        with pytest.raises(TraceError) as caught:
            import_dump(folder, tmp_path / f"run{at}")
        assert "Pass00000.pt" in str(caught.value) and "\n" not in str(caught.value)


def test_a_link_is_no_pass(tmp_path: Path) -> None:
    folder = passes(tmp_path / "dump")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "Pass00000.pt").symlink_to(folder / "TP0_PP0_Rank0_pid123" / "Pass00000.pt")
    assert recognise(tmp_path / "other") is None
