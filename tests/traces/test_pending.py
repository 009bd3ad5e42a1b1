"""Outputs that are kept without a copy are still those that the stage returned, or are said to be lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from llmdbg.engine.fingerprints import fingerprint_of
from llmdbg.models.stages import Phase, Stage, StageKind
from llmdbg.traces.reader import Trace
from llmdbg.traces.records import RunHeader, StageEntry, TokenRecord
from llmdbg.traces.writer import TraceWriter
from tests.recordings import record, tiny_generation

_A, _B = (Stage(StageKind.MODULE, address, address) for address in ("a", "b"))


def _writer(folder: Path) -> TraceWriter:
    return TraceWriter(folder, RunHeader(tuple(StageEntry(each.kind, each.address, each.module) for each in (_A, _B))))


def _vector(seed: int) -> torch.Tensor:
    return torch.randn(1, 1, 8, generator=torch.Generator().manual_seed(seed))


def _put(writer: TraceWriter, stage: Stage, tensor: torch.Tensor, token: int) -> int:
    writer.stage(stage, tensor, token=token, phase=Phase.DECODE, length=1)
    return int(fingerprint_of(tensor.reshape(-1)))


def _hashes(folder: Path, tokens: int) -> list[dict[str, Any]]:
    trace = Trace.open(folder)
    return [{each.address: each.hash for each in trace.stages(token)} for token in range(tokens)]


def test_writing_down_in_the_middle_of_a_token_loses_nothing(tmp_path: Path) -> None:
    writer, expected = _writer(tmp_path / "run"), []
    for token in range(4):
        one = _put(writer, _A, _vector(token), token)
        writer.flush()
        expected.append({"a": one, "b": _put(writer, _B, _vector(token + 10), token)})
        writer.token(TokenRecord(token))
        writer.flush()
    writer.close()
    assert _hashes(tmp_path / "run", 4) == expected


def test_an_output_that_is_always_written_into_is_copied(tmp_path: Path) -> None:
    writer, expected = _writer(tmp_path / "run"), []
    for token in range(4):
        tensor = _vector(token)
        expected.append({"a": _put(writer, _A, tensor, token)})
        tensor.mul_(2)
        writer.token(TokenRecord(token))
    writer.close()
    assert _hashes(tmp_path / "run", 4) == expected


def test_one_that_is_written_into_unexpectedly_is_said_to_be_lost_and_copied_from_then_on(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "run")
    expected: list[dict[str, Any]] = []
    for token in range(5):
        tensor = _vector(token)
        expected.append({"a": _put(writer, _A, tensor, token), "b": _put(writer, _B, _vector(token + 10), token)})
        if token >= 2:
            tensor.mul_(2)
        writer.token(TokenRecord(token))
    writer.close()
    expected[2]["a"] = None
    assert _hashes(tmp_path / "run", 5) == expected
    lost = Trace.open(tmp_path / "run").stage(2, "a")
    assert lost is not None and (lost.statistics, lost.sketch, lost.shape) == (None, None, (1, 1, 8))


def test_tensors_of_inference_mode_have_no_version_and_are_copied(tmp_path: Path) -> None:
    writer, expected = _writer(tmp_path / "run"), []
    with torch.inference_mode():
        for token in range(4):
            tensor = _vector(token)
            expected.append({"a": _put(writer, _A, tensor, token)})
            if token >= 2:
                tensor.mul_(2)
            writer.token(TokenRecord(token))
        writer.close()
    assert _hashes(tmp_path / "run", 4) == expected


def test_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import llmdbg.traces.writer as module

    whole = record(tiny_generation(greedy=True), tmp_path / "whole")
    monkeypatch.setattr(module, "MOST_PENDING", 2000)
    most = 0
    real = module.TraceWriter.stage

    def stage(self: TraceWriter, *arguments: Any, **more: Any) -> None:
        nonlocal most
        real(self, *arguments, **more)
        most = max(most, self._pending.bytes)

    monkeypatch.setattr(module.TraceWriter, "stage", stage)
    trace = record(tiny_generation(greedy=True), tmp_path / "run")
    assert 0 < most <= 2000
    for token in range(4):
        assert [each.hash for each in trace.stages(token)] == [each.hash for each in whole.stages(token)]
