"""Dumps of msprobe: real ones where it is installed, and small ones in its format, made here."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from llmdbg.errors import TraceError
from llmdbg.traces.foreign.registry import import_dump, open_trace
from tests.debugger.comparison.sides import PROMPT
from tests.traces.foreign.dumps import IDS, against_live, model, wrong_weight


def dumped(folder: Path, fault: Callable[[PreTrainedModel], object] | None = None, *, tensors: bool = True) -> Path:
    """A dump in msprobe's layout: level L0, one step, of rank 0."""
    found, data = model(fault), dict[str, Any]()
    place = folder / "step0" / "rank0"
    (place / "dump_tensor_data").mkdir(parents=True)

    def described(tensor: torch.Tensor, name: str) -> dict[str, Any]:
        floating = tensor.is_floating_point()
        stated: dict[str, Any] = {"type": "torch.Tensor", "dtype": str(tensor.dtype), "shape": list(tensor.shape)}
        stated |= {"Max": tensor.max().item(), "Min": tensor.min().item()}
        stated |= {
            "Mean": tensor.mean().item() if floating else None,
            "Norm": tensor.norm().item() if floating else None,
        }
        if tensors:
            stated["data_name"] = f"{name}.pt"
            torch.save(tensor.clone(), place / "dump_tensor_data" / f"{name}.pt")
        return stated

    def values(value: Any, name: str) -> Any:
        if isinstance(value, torch.Tensor):
            return described(value, name)
        if isinstance(value, (list, tuple)):
            return [values(each, f"{name}.{at}") for at, each in enumerate(value)]
        return None

    def hook(path: str) -> Callable[..., None]:
        def ended(module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            name = f"Module.{path}.{type(module).__name__}.forward.0"
            returned = output if isinstance(output, tuple) else (output,)
            data[name] = {
                "input_args": values(args, f"{name}.input"),
                "input_kwargs": {key: values(each, f"{name}.kwargs.{key}") for key, each in kwargs.items()},
                "output": values(returned, f"{name}.output"),
            }

        return ended

    for path, module in found.named_modules():
        if path and not path.endswith("rotary_emb") and path != "model":
            module.register_forward_hook(hook(path), with_kwargs=True)
    with torch.no_grad():
        found(input_ids=IDS)
    document = {"task": "tensor", "level": "L0", "framework": "pytorch", "dump_data_dir": "/nowhere", "data": data}
    (place / "dump.json").write_text(json.dumps(document))
    return folder


def test_whole_tensors_are_the_live_models(tmp_path: Path) -> None:
    trace = open_trace(dumped(tmp_path / "dump"))
    assert trace.header.prompt.ids == PROMPT
    found = against_live(trace)
    assert found.findings == ()
    assert {"0", "1.self_attn", "1.mlp", "norm", "logits"} <= {each.address for each in found.stages}
    assert {each.address for each in found.stages if not each.equal} <= {"lm_head", "logits"}


def test_a_fault_is_named(tmp_path: Path) -> None:
    found = against_live(dumped(tmp_path / "dump", wrong_weight))
    assert found.first is not None and found.first.address == "1.self_attn.k_proj"


def test_statistics_alone(tmp_path: Path) -> None:
    trace = open_trace(dumped(tmp_path / "dump", tensors=False))
    record = trace.stage(0, "1.mlp")
    assert record is not None and record.statistics is not None
    assert record.statistics.std == pytest.approx(record.statistics.norm / 12**0.5 / 32**0.5, rel=0.1)
    found = against_live(trace)
    assert found.findings == () and len(found.stages) > 20


def test_a_real_dump(tmp_path: Path) -> None:
    """Of `pip install mindstudio-probe`, which brings tensorboard, pandas and more: too much for a test's extra."""
    msprobe = pytest.importorskip("msprobe.pytorch", reason="mindstudio-probe is not installed")
    found = model()
    debugger = msprobe.PrecisionDebugger(task="tensor", dump_path=str(tmp_path / "dump"), level="L0")
    with torch.no_grad():
        debugger.start(model=found)
        found(input_ids=IDS)
        debugger.stop()
        debugger.step()
    assert against_live(tmp_path / "dump").findings == ()


def _json(folder: Path) -> Path:
    return folder / "step0" / "rank0" / "dump.json"


def _first(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(iter(document["data"].values()))["output"][0]
    return found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda each: _first(each).update(data_name="../../../secret.pt"), "outside of its folder"),
        (lambda each: _first(each).update(data_name="missing.pt"), "missing.pt"),
        (lambda each: _first(each).update(shape=[-1]), "no shape"),
        (lambda each: _first(each).update(shape=[2**40, 2**40]), "no shape"),
        (lambda each: each.update(data=[1]), "no data"),
    ],
)
def test_a_hostile_dump_is_refused(change: Callable[[dict[str, Any]], Any], words: str, tmp_path: Path) -> None:
    folder = dumped(tmp_path / "dump")
    document = json.loads(_json(folder).read_text())
    change(document)
    _json(folder).write_text(json.dumps(document))
    with pytest.raises(TraceError) as caught:
        import_dump(folder, tmp_path / "run")
    assert words in str(caught.value) and "\n" not in str(caught.value)


class _Runs:
    def __reduce__(self) -> Any:
        return os.mkdir, ("it_ran",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_is_not_run(legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = dumped(tmp_path / "dump")
    monkeypatch.chdir(tmp_path)
    file = next((folder / "step0" / "rank0" / "dump_tensor_data").glob("*embed_tokens*output*.pt"))
    if legacy:
        file.write_bytes(pickle.dumps(_Runs()))
    else:
        torch.save(_Runs(), file)
    with pytest.raises(TraceError, match=r"holds more than tensors|no file of torch\.save"):
        import_dump(folder, tmp_path / "run")
    assert not (tmp_path / "it_ran").exists()


def test_a_tensor_larger_than_its_memory_is_refused(tmp_path: Path) -> None:
    folder = dumped(tmp_path / "dump")
    file = next((folder / "step0" / "rank0" / "dump_tensor_data").glob("*embed_tokens*output*.pt"))
    torch.save(torch.zeros(1).expand(2**40), file)
    with pytest.raises(TraceError, match="in fewer bytes"):
        import_dump(folder, tmp_path / "run")


def test_an_array_is_read_and_a_false_one_refused(tmp_path: Path) -> None:
    folder = dumped(tmp_path / "dump")
    document = json.loads(_json(folder).read_text())
    stated = _first(document)
    values = folder / "step0" / "rank0" / "dump_tensor_data"
    array = torch.load(values / stated["data_name"]).numpy()
    stated["data_name"] = "array.npy"
    _json(folder).write_text(json.dumps(document))
    np.save(values / "array.npy", array)
    found = import_dump(folder, tmp_path / "run").tensor(0, "embed")
    assert found is not None and np.array_equal(found.numpy(), array)
    data = (values / "array.npy").read_bytes()
    for at, bad in enumerate(
        (data.replace(b"(1, 12, 32)", b"(1, 12, 9999999)"), data[:40], data.replace(b"<f4", b"|O8"))
    ):
        (values / "array.npy").write_bytes(bad)
        with pytest.raises(TraceError, match=r"array\.npy is damaged"):
            import_dump(folder, tmp_path / f"bad{at}")
