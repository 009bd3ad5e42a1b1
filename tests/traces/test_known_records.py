"""What is known from elsewhere, as from another program's dump, is written and read like what was computed here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from llmdbg.models.stages import Phase, Stage, StageKind
from llmdbg.probes.value_statistics import ValueStatistics
from llmdbg.traces.reader import Trace
from llmdbg.traces.records import KnownPositions, Positions, RunHeader, StageRecord, TokenRecord
from llmdbg.traces.writer import TraceWriter

_STAGE = Stage(StageKind.MODULE, "1.mlp", "model.layers.1.mlp", 1, 2)
_FULL = StageRecord(
    token=0,
    address="1.mlp",
    phase=Phase.PREFILL,
    shape=(1, 3, 8),
    dtype="bfloat16",
    device="cuda:0",
    statistics=ValueStatistics(-1.0, 2.0, 0.5, 0.25, 4.0, 1, 2),
    hash=-5,
    positions=3,
    input_width=24,
    ms=0.5,
    source=KnownPositions(Positions(np.array([1, -2, 3]), np.arange(48, dtype=np.float32).reshape(3, 16))),
)


def test_records_and_tensors_come_back(tmp_path: Path) -> None:
    bare = replace(_FULL, statistics=None, hash=None, source=None, positions=0, ms=None, call=1, tensors=("output.1",))
    writer = TraceWriter(tmp_path / "run", RunHeader((), model="elsewhere"))
    writer.record(_FULL, _STAGE)
    writer.record(bare, _STAGE)
    writer.keep_tensors(0, "1.mlp", {"output": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)})
    writer.keep_tensors(0, "1.mlp", {"output.1": torch.empty(0, 4)})
    writer.token(TokenRecord(0, Phase.PREFILL, 17, "a\ud800b", prob=float("nan")))
    writer.close()
    trace = Trace.open(tmp_path / "run")
    full, second = trace.stages(0)
    positions = full.source.read()
    assert replace(full, source=None).__repr__() == replace(_FULL, source=None).__repr__()
    assert positions.hashes.tolist() == [1, -2, 3] and (positions.sketch == np.arange(48).reshape(3, 16)).all()
    assert second.__repr__() == bare.__repr__()
    assert [each.stage for each in trace.entries] == [_STAGE]
    tensor = trace.tensor(0, "1.mlp")
    assert tensor is not None and torch.equal(tensor, torch.arange(6, dtype=torch.bfloat16).reshape(2, 3))
    assert trace.tensor(0, "1.mlp", "output", 1).shape == (0, 4)
    assert trace.tokens[0].text == "a?b" and str(trace.tokens[0].prob) == "nan"
