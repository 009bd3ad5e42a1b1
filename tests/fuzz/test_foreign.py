"""What may lie in a dump of another tool: trees, tables and tensors that are nearly right."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given

from llmdbg.errors import TraceError
from llmdbg.traces.foreign.registry import import_dump, recognise
from tests.fuzz.inputs import nearly_bytes, nearly_json
from tests.fuzz.watch import refused_or
from tests.traces.foreign import test_hf_debugger, test_llama_cpp, test_msprobe, test_sglang, test_vllm_hidden_states


def _imported(dump: Path, run: Path) -> None:
    shutil.rmtree(run, ignore_errors=True)
    recognise(dump)
    trace = import_dump(dump, run)
    for token in range(len(trace.tokens)):
        for each in trace.stages(token):
            assert each.address


@pytest.mark.parametrize("statistics", [True, False])
def test_a_tree_of_calls(statistics: bool, tmp_path: Path) -> None:
    folder = test_hf_debugger.dumped(tmp_path / "dump", use_repr=statistics)
    torch.set_printoptions(profile="default")
    file = folder / "LlamaForCausalLM_debug_tree_FULL_TENSORS.json"
    tree = json.loads(file.read_text())
    tree["children"][0]["children"] = tree["children"][0]["children"][:2]

    @given(nearly_json(tree))
    def try_one(text: str) -> None:
        file.write_text(text, errors="surrogatepass")
        refused_or(lambda: _imported(folder, tmp_path / "run"))

    try_one()


def test_a_dump_json(tmp_path: Path) -> None:
    folder = test_msprobe.dumped(tmp_path / "dump")
    file = folder / "step0" / "rank0" / "dump.json"
    document = json.loads(file.read_text())
    document["data"] = dict(list(document["data"].items())[:3])

    @given(nearly_json(document))
    def try_one(text: str) -> None:
        file.write_text(text, errors="surrogatepass")
        refused_or(lambda: _imported(folder, tmp_path / "run"))

    try_one()


def _results() -> dict[str, Any]:
    file = io.BytesIO()
    np.save(file, np.arange(24, dtype=np.float32).reshape(1, 4, 6))
    array = {"array": base64.b64encode(file.getvalue()).decode(), "polygraphy_class": "ndarray"}
    values = {"values": array, "polygraphy_class": "LazyArray"}
    iteration = {"outputs": {"logits": values}, "runtime": 0.1, "runner_name": "ort"}
    return {"lst": [["ort", [iteration]]], "polygraphy_class": "RunResults"}


def test_results_of_polygraphy(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(_results()))
    _imported(file, tmp_path / "run")

    @given(nearly_json(_results()))
    def try_one(text: str) -> None:
        file.write_text(text, errors="surrogatepass")
        refused_or(lambda: _imported(file, tmp_path / "run"))

    try_one()


def _pass(tmp_path: Path) -> tuple[Path, Path]:
    folder = test_sglang.passes(tmp_path / "dump")
    return folder, folder / "TP0_PP0_Rank0_pid123" / "Pass00000.pt"


def _request(tmp_path: Path) -> tuple[Path, Path]:
    file = test_vllm_hidden_states.saved(tmp_path / "request.safetensors")
    return file, file


def _array(tmp_path: Path) -> tuple[Path, Path]:
    folder = test_msprobe.dumped(tmp_path / "dump")
    place = folder / "step0" / "rank0"
    document = json.loads((place / "dump.json").read_text())
    name, call = next(iter(document["data"].items()))
    np.save(place / "dump_tensor_data" / "array.npy", np.zeros((1, 12, 32), np.float32))
    call["output"][0]["data_name"] = "array.npy"
    (place / "dump.json").write_text(json.dumps(document | {"data": {name: call}}))
    return folder, place / "dump_tensor_data" / "array.npy"


def _text(tmp_path: Path) -> tuple[Path, Path]:
    file = test_llama_cpp.printed(tmp_path / "log.txt")
    return file, file


@pytest.mark.parametrize("make", [_pass, _request, _array, _text])
def test_bytes_that_are_damaged(make: Callable[[Path], tuple[Path, Path]], tmp_path: Path) -> None:
    dump, file = make(tmp_path)
    valid = file.read_bytes()
    _imported(dump, tmp_path / "run")

    @given(nearly_bytes(valid, min(len(valid), 4096)))
    def try_one(data: bytes) -> None:
        file.write_bytes(data)
        refused_or(lambda: _imported(dump, tmp_path / "run"))

    try_one()


def test_what_is_no_dump_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(TraceError, match="no dump"):
        import_dump(tmp_path / "a.json", tmp_path / "run")
