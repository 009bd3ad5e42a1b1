"""The other end of a reference in another process: follows as it is told, and writes what is asked for into files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import IO, TYPE_CHECKING

import msgspec

from llmdbg.debugger.comparison.references.following import FollowingRun
from llmdbg.debugger.comparison.references.messages import Alive, Answer, Ask, Found, Ready
from llmdbg.errors import GenerationError
from llmdbg.traces.live_header import header_of, prompt_of
from llmdbg.traces.recording import RunRecording
from llmdbg.traces.tensor_files import KEEPS, TensorWriter, named_tensors
from llmdbg.traces.writer import TraceWriter

if TYPE_CHECKING:
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.stage_event import StageEvent

_SECONDS_BETWEEN_SIGNS = 1.0


class SignsOfLife:
    """Says now and then that the process is at work."""

    def __init__(self, say: Callable[[Answer], object]) -> None:
        self._say = say
        self._said = 0.0

    def __call__(self, *_: object) -> None:
        """Say so, unless it was said within the last second."""
        if (now := monotonic()) - self._said > _SECONDS_BETWEEN_SIGNS:
            self._said = now
            self._say(Alive())


def follow(debuggee: Debuggee, folder: Path, questions: IO[bytes], say: Callable[[Answer], object]) -> None:
    """Answer every question, to the end of them. Raises LlmdbgError."""
    ids: tuple[int, ...] = ()
    run = FollowingRun(debuggee, lambda: ids, debuggee.name, on_stage=SignsOfLife(say))
    run.begin()
    TraceWriter(folder, header_of(debuggee, prompt=prompt_of(debuggee), weights=False)).close()
    writer = TensorWriter(folder)
    say(Ready(run.last_bit))
    for line in questions:
        asked = msgspec.json.decode(line, type=Ask)
        ids = (*ids[: asked.same], *asked.ids)
        event = run.at(asked.token, asked.address, asked.call)
        if event is not None:
            _write(writer, asked, event)
        say(Found(asked.number, run.restarts, there=event is not None))


def record(debuggee: Debuggee, folder: Path, say: Callable[[Answer], object]) -> None:
    """Record a whole run with every tensor, and say when it is complete. Raises LlmdbgError."""
    alive = SignsOfLife(say)
    with closing(debuggee.events()) as events:
        first = next(events)
        recording = RunRecording(debuggee, folder, KEEPS["inputs"])

        def passed(event: StageEvent) -> bool:
            alive()
            return recording.handler(event)

        recording.passed(first)
        debuggee.stops.arm(recording.addresses, passed)
        for _ in events:
            pass
        recording.close()
    say(Ready())


def _write(writer: TensorWriter, asked: Ask, event: StageEvent) -> None:
    named = named_tensors("output", event.output)
    if asked.inputs:
        named |= named_tensors("input", event.args) | named_tensors("input", event.kwargs)
    try:
        writer.add(asked.number, asked.address, named)
        writer.flush()
    except OSError as error:
        raise GenerationError(f"it cannot write {asked.address}: {error.strerror or error}") from error
