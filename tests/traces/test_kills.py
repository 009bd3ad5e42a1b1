"""Whatever ends the process, and whenever: everything before that can be read."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from llmdbg.errors import TraceError
from llmdbg.traces.reader import Trace
from llmdbg.traces.records import RunHeader
from llmdbg.traces.tensor_files import KEEPS
from tests.recordings import record, tiny_generation


@pytest.fixture
def short_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of few rows, so that a short run has several."""
    monkeypatch.setattr(
        "llmdbg.traces.live_header.RunHeader", lambda **fields: RunHeader(**fields | {"rows_per_shard": 50})
    )


def _values(trace: Trace, token: int) -> list[Any]:
    return [(each.address, each.hash, each.statistics, each.positions) for each in trace.stages(token)]


@pytest.mark.usefixtures("short_files")
def test_it_can_be_read_as_it_was_before_every_single_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy made before each write is what a kill at that moment would leave: nothing waits in a buffer."""
    run, moments = tmp_path / "run", tmp_path / "moments"
    moments.mkdir()
    count = 0

    def spied(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: Any) -> Any:
            nonlocal count
            if run.exists():
                shutil.copytree(run, moments / f"{count:05d}")
                count += 1
            return real(*arguments)

        monkeypatch.setattr(os, name, call)

    for name in ("write", "pwrite", "ftruncate"):
        spied(name)
    whole = record(tiny_generation(greedy=True, max_new_tokens=3), run, KEEPS["last"])
    monkeypatch.undo()
    shutil.copytree(run, moments / "at the end")
    expected = [_values(whole, token) for token in range(3)]
    tokens, partial = set(), 0
    for moment in sorted(moments.iterdir()):
        if not (moment / "trace.json").exists():
            continue
        trace = Trace.open(moment)
        tokens.add(len(trace.tokens))
        for token in range(len(trace.tokens)):
            assert _values(trace, token) == expected[token]
            assert trace.tokens[token].id == whole.tokens[token].id
            for each in trace.stages(token):
                assert each.sketch is not None and len(each.sketch) == each.positions
                assert each.tensors == ("last",) and trace.tensor(token, each.address, "last") is not None
        rest = _values(trace, len(trace.tokens))
        assert rest == (expected[len(trace.tokens)][: len(rest)] if rest else [])
        partial += bool(rest)
    assert count > 60 and tokens == {0, 1, 2, 3} and partial


def test_a_failing_forward_leaves_the_stages_before_it(tmp_path: Path) -> None:
    generation = tiny_generation(greedy=True)
    calls = 0

    def fail(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("broken")

    generation.loaded.model.model.layers[1].mlp.register_forward_pre_hook(fail)
    from llmdbg.errors import GenerationError
    from llmdbg.traces.recording import RunRecording

    events = generation.events()
    recording = RunRecording(generation, tmp_path / "run")
    first = next(events)
    generation.stops.arm(recording.addresses, recording.handler)
    recording.passed(first)
    with pytest.raises(GenerationError, match="broken"):
        for _ in events:
            pass
    recording.close()
    trace = Trace.open(tmp_path / "run")
    assert len(trace.tokens) == 2
    assert trace.stages(2)[-1].address == "1.post_attention_layernorm"


_PROGRAM = """
import sys, time
from pathlib import Path
from tests.recordings import record, tiny_generation
from llmdbg.traces.tensor_files import KEEPS
generation = tiny_generation(greedy=True, max_new_tokens=200)
generation.loaded.model.model.layers[1].register_forward_hook(lambda *_: time.sleep(0.005))
print("go", flush=True)
record(generation, Path(sys.argv[1]), KEEPS["last"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.15, 0.7])
def test_kill_9(seconds: float, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", _PROGRAM, str(run)], stdout=subprocess.PIPE) as program:
        try:
            assert program.stdout is not None and program.stdout.readline() == b"go\n"
            deadline = time.monotonic() + 60
            while not (run / "tokens.jsonl").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(seconds)
        finally:
            program.send_signal(signal.SIGKILL)
    trace = Trace.open(run)
    assert 0 < len(trace.tokens) < 200
    whole = record(tiny_generation(greedy=True, max_new_tokens=len(trace.tokens)), tmp_path / "whole")
    for token in range(len(trace.tokens)):
        assert _values(trace, token) == _values(whole, token)
        assert trace.tensor(token, "1.mlp", "last") is not None


def test_no_file_at_all_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no such folder"):
        Trace.open(tmp_path / "nowhere")
    with pytest.raises(TraceError, match=r"it has no trace\.json"):
        Trace.open(tmp_path)
