"""Stops before lines of a model's source: of its modules' forwards, and of what these call in the model's own file.

The lines are those that statements begin on: one that is written over several lines is one place to stop at. A trace
function (`sys.settrace`) sees them. It is the thread's, so it is set only inside the suspended function and only while
a line is armed; `Suspension` gives whoever resumes it theirs back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.engine.stage_event import CodePlace
from llmdbg.models.source_files import lines_of, source_file, statements
from llmdbg.models.stages import ANY_LINE, Stage, StageKind, line_address, line_parts, reaches

if TYPE_CHECKING:
    from llmdbg.engine.model_frames import ModelFrames, RunningModule

_TORCH = f"{Path(torch.__file__).parent}/"


class LineStops:
    """The armed lines of one model.

    `reached(stage, code)` is called before an armed line runs, inside the forward, wherever `is_ours()` is True. Where
    it suspends the forward, it calls `sync` afterwards.
    """

    def __init__(
        self, frames: ModelFrames, is_ours: Callable[[], bool], reached: Callable[[Stage, CodePlace], None]
    ) -> None:
        self._frames = frames
        self._is_ours = is_ours
        self._reached = reached
        self._armed: frozenset[str] = frozenset()
        self._numbers: dict[str, set[int] | None] = {}
        self._wanted: dict[CodeType, bool] = {}
        self._stages: dict[tuple[str, int], Stage] = {}
        self._on_frames = False
        self._before: Any = None
        # The same object each time, to be told apart from somebody else's.
        self._trace = self._called

    def arm(self, addresses: frozenset[str]) -> None:
        """Stop at exactly these lines from the next `sync` on. Ignores modules that the model does not have."""
        if addresses == self._armed:
            return
        self._armed, self._on_frames = addresses, False
        self._wanted.clear()
        self._numbers = self._numbers_by_file() if addresses else {}

    def sync(self) -> None:
        """Set the trace function, or the thread's own if no line is armed. Called inside the suspended function."""
        if self._armed:
            if sys.gettrace() is not self._trace:
                self._before = sys.gettrace()
                sys.settrace(self._trace)
            if not self._on_frames:
                self._set_on_frames()
                self._on_frames = True
        elif sys.gettrace() is self._trace:
            sys.settrace(self._before)
            self._set_on_frames()
            self._before = None

    def _numbers_by_file(self) -> dict[str, set[int] | None]:
        """The armed lines of each file; None for all of them. Of the files of torch only what a module is named for."""
        pairs = [parts for each in self._armed if (parts := line_parts(each))]
        found: dict[str, set[int] | None] = {}
        files = {}
        for address, module in self._frames.modules():
            file = source_file(module)
            files[address] = file
            if ANY_LINE.address in self._armed and file and not file.startswith(_TORCH):
                found[file] = None
        for named, line in pairs:
            if file := files.get(named, ""):
                lines = found.setdefault(file, set())
                if line == "*":
                    found[file] = None
                elif lines is not None:
                    lines.add(int(line))
        return found

    def _wants(self, code: CodeType) -> bool:
        wanted = self._wanted.get(code)
        if wanted is None:
            lines = self._numbers.get(code.co_filename, ())
            wanted = lines is None or not lines_of(code).isdisjoint(lines)
            # What a comprehension runs is part of its statement.
            wanted = self._wanted[code] = wanted and (code.co_name[:1] != "<" or code.co_name == "<lambda>")
        return wanted

    def _called(self, frame: FrameType, _event: str, _arg: Any) -> Any:
        """The trace function of the thread: which new frames have their lines traced."""
        return _LinesOfCall(self) if self._armed and self._wants(frame.f_code) else None

    def at(self, frame: FrameType, line: int) -> None:
        """A statement that begins on `line` is about to run in a traced call."""
        if not self._armed or not self._is_ours():
            return
        module = self._frames.innermost(frame)
        if module is None or frame.f_code.co_filename != source_file(module.module):
            return
        stage = self._stage(module, line)
        if reaches(self._armed, stage.address):
            place = CodePlace(frame.f_code.co_filename, line, frame.f_code.co_qualname, frame)
            # The interpreter traces nothing while a trace function runs: lift that for whoever runs meanwhile.
            sys.call_tracing(self._reached, (stage, place))

    def _stage(self, module: RunningModule, line: int) -> Stage:
        stage = self._stages.get((module.address, line))
        if stage is None:
            address = line_address(module.address, line)
            stage = Stage(StageKind.LINE, address, module.path, module.layer, module.depth)
            self._stages[module.address, line] = stage
        return stage

    def _set_on_frames(self) -> None:
        """Trace the lines of frames that run already, and no longer those of frames that need not be."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            ours = isinstance(frame.f_trace, _LinesOfCall)
            if self._armed and self._wants(frame.f_code):
                if not ours:
                    frame.f_trace = _LinesOfCall(self, frame)
            elif ours:
                frame.f_trace = None
            frame = frame.f_back


class _LinesOfCall:
    """The trace function of one call of a function. `running` is the call's frame if it has begun already."""

    def __init__(self, stops: LineStops, running: FrameType | None = None) -> None:
        self._stops = stops
        self._statement = 0 if running is None else _statement(running)

    def __call__(self, frame: FrameType, event: str, _arg: Any) -> Any:
        if event == "line":
            line = _statement(frame)
            # The lines of one statement run in any order, and its first one again for what is called last.
            if line != self._statement or (line == frame.f_lineno and not _has_several_lines(frame, line)):
                self._statement = line
                self._stops.at(frame, line)
        return self


def _statement(frame: FrameType) -> int:
    """The first line of the statement that a frame is in."""
    return statements(frame.f_code.co_filename).get(frame.f_lineno, frame.f_lineno)


def _has_several_lines(frame: FrameType, line: int) -> bool:
    return statements(frame.f_code.co_filename).get(line + 1) == line
