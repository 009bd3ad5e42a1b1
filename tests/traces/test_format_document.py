"""What docs/trace-format.md says is so: its programs are run."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from llmdbg.traces.sketch import projection
from llmdbg.traces.tensor_files import KEEPS
from tests.recordings import record, tiny_generation

_DOCUMENT = Path(__file__).parents[2] / "docs" / "trace-format.md"
_READS, _MATRIX = re.findall(r"```python\n(.*?)```", _DOCUMENT.read_text(), re.DOTALL)


def test_ten_lines_read_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = record(tiny_generation(temperature=0.7), tmp_path / "run")
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        exec(_READS, {})
    finally:
        os.chdir(here)
    lines = capsys.readouterr().out.splitlines()
    everything = [each for token in range(4) for each in trace.stages(token)]
    assert len(lines) == len(everything)
    for line, each in zip(lines, everything, strict=True):
        assert line.startswith(f"{each.token} {each.address} ")
        assert each.statistics is not None and f"'max': {each.statistics.max!r}" in line


def test_the_matrix_is_that_of_the_document() -> None:
    scope: dict[str, object] = {}
    exec(_MATRIX, scope)
    made = scope["matrix"]
    assert callable(made) and np.array_equal(made(192), projection(192))


def test_a_sketch_and_a_hash_can_be_made_again_from_a_whole_tensor(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    trace = record(tiny_generation(greedy=True), tmp_path / "run", KEEPS["all"])
    tensor = load_file(tmp_path / "run" / "tensors-00000.safetensors")["1.mlp/output"]
    sketch = trace.stage(0, "1.mlp").sketch
    assert sketch is not None and np.allclose(tensor[0] @ projection(32), sketch, atol=1e-5)
