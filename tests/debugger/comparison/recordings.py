"""Recordings of tiny models, made as `llmdbg record` makes them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from llmdbg.debugger.comparison.side import LiveSide
from llmdbg.traces.reader import Trace
from llmdbg.traces.recording import RunRecording
from llmdbg.traces.tensor_files import KEEPS


def recorded(side: LiveSide, folder: Path, tensors: str = "none") -> Trace:
    """A recording of a side's run."""
    debuggee = side.debuggee()
    with closing(debuggee.events()) as events:
        first = next(events)
        recording = RunRecording(debuggee, folder, KEEPS[tensors])
        recording.passed(first)
        debuggee.stops.arm(recording.addresses, recording.handler)
        for _ in events:
            pass
        recording.close()
    return Trace.open(folder)
