"""The stack of a stop in the protocol's words: the stage on top, and below it the Python frames of the forward."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.inspection.frames import frames
from llmdbg.errors import LlmdbgError, UsageError
from llmdbg.frontends.sanitize import sanitize

if TYPE_CHECKING:
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.inspection.frames import FrameRow

_FRAMES_A_STOP = 1_000_000
STAGE = 0
"""The frame that stands for the stage itself."""


class Stack:
    """Frames of the current stop, whose numbers tell it from others."""

    def __init__(self, debugger: Debugger) -> None:
        self._debugger = debugger
        self._stop = 1
        self._own: int | None = None

    def moved(self) -> None:
        """The run has moved: the frames of before are gone."""
        self._stop += 1
        self._own = None

    def frames(self, first: int, most: int) -> tuple[list[dict[str, Any]], int]:
        """Frames from number `first` on, `most` at most (0: all), in the protocol's words; and how many there are."""
        rows = self._rows()
        found = [self._stage(rows), *(self._frame(row) for row in rows if row.number >= 0)]
        return found[first : first + most if most else None], len(found)

    def own(self) -> int | None:
        """The number of the frame that the stage itself is in, or that an exception left; None if there is none."""
        if self._own is None:
            rows = self._rows()
            self._own = next((row.number for row in rows if row.selected), None)
        return self._own

    def number(self, frame: int | None) -> int | None:
        """A frame's number as `info frames` counts; None for the stage. Raises UsageError for one of another stop."""
        self.own()
        if frame is None:
            return None
        stop, place = divmod(frame, _FRAMES_A_STOP)
        if stop != self._stop:
            raise UsageError("that frame belongs to an earlier stop")
        return None if place == STAGE else place - 1

    def _rows(self) -> tuple[FrameRow, ...]:
        try:
            return frames(self._debugger.inspector).rows
        except LlmdbgError:  # a debuggee without frames, or one that has ended
            return ()

    def _stage(self, rows: tuple[FrameRow, ...]) -> dict[str, Any]:
        stop = self._debugger.stop
        module = f"  {stop.stage.module}" if stop.stage.module else ""
        found = {
            "id": self._stop * _FRAMES_A_STOP + STAGE,
            "name": sanitize(f"{stop.stage.address}@{stop.token}{module}"),
            "line": 0,
            "column": 0,
        }
        if stop.code is not None and stop.code.file:
            return {**found, **_place(stop.code.file, stop.code.line)}
        if rows and rows[0].number < 0:
            return {**found, **_place(rows[0].file, rows[0].line)}
        return {**found, "presentationHint": "label"}

    def _frame(self, row: FrameRow) -> dict[str, Any]:
        where = f"  {row.address}" if row.address else ""
        return {
            "id": self._stop * _FRAMES_A_STOP + row.number + 1,
            "name": sanitize(f"{row.function}{where}"),
            "line": 0,
            "column": 0,
            **_place(row.file, row.line),
        }


def _place(file: str, line: int) -> dict[str, Any]:
    path = Path(file)
    if not path.exists():  # code that was made, and lies in no file
        return {}
    return {"source": {"name": path.name, "path": str(path.absolute())}, "line": line, "column": 1}
