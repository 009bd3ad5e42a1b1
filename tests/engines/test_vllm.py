"""A real vLLM run, recorded in an environment of its own, is held against transformers. `.ci/vllm` runs this.

LLMDBG_VLLM_PYTHON is the Python of an environment with vLLM, which wants another transformers than this one.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from llmdbg.cli import main
from llmdbg.models.demo import demo_folder

_PYTHON = os.environ.get("LLMDBG_VLLM_PYTHON", "")
_PROGRAM = Path(__file__).with_name("record_vllm.py")
_HOUSE = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not _PYTHON, reason="LLMDBG_VLLM_PYTHON names no Python with vLLM")


@pytest.fixture(scope="module")
def folder() -> str:
    """The demo model's folder."""
    return str(demo_folder(lambda _: None))


def _diff(folder: str, run: Path, capsys: pytest.CaptureFixture[str], *faulty: str) -> tuple[int, dict[str, Any]]:
    """Record a vLLM run, and compare it with transformers on the same prompt."""
    subprocess.run(
        [_PYTHON, str(_PROGRAM), folder, str(run), *faulty],
        check=True,
        env={**os.environ, "PYTHONPATH": str(_HOUSE)},
        timeout=600,
    )
    capsys.readouterr()
    sides = [folder, str(run)]
    code = main(["diff", *sides, "-p", "Once upon a time", "-n", "4", "--greedy", "--dtype", "float32", "--json", "-q"])
    return code, json.loads(capsys.readouterr().out)


def test_vllm_is_the_same_within_the_arithmetic(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fused projections, a residual stream apart and no batch dimension are no differences."""
    code, found = _diff(folder, tmp_path / "run", capsys)
    assert (code, found["verdict"], found["findings"]) == (0, "same within the arithmetic", [])
    compared = {stage["address"] for stage in found["stages"] if stage["isolated"] is not None}
    assert {"embed", "0", "29", "norm", "12.mlp.down_proj", "12.self_attn.q_proj", "12.mlp.up_proj"} <= compared


@pytest.mark.parametrize(
    ("module", "address"),
    [
        ("model.layers.12.mlp.down_proj", "12.mlp.down_proj"),
        ("model.layers.20.self_attn.qkv_proj", "20.self_attn.qkv_proj"),
        ("model.layers.3.self_attn.o_proj", "3.self_attn.o_proj"),
    ],
)
def test_a_fault_in_vllm_is_named(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], module: str, address: str
) -> None:
    """At the stage that vLLM computes wrongly, under vLLM's own name of it."""
    code, found = _diff(folder, tmp_path / "run", capsys, module)
    assert code == 1
    assert found["findings"][0]["address"] == address
