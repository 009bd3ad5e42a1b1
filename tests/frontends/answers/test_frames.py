"""Names and texts of frames and locals are data: nothing in them reaches a terminal as it is."""

from __future__ import annotations

from llmdbg.debugger.inspection.frames import FrameList, FrameRow
from llmdbg.debugger.inspection.local_values import Locals, LocalValue
from llmdbg.debugger.inspection.operations import Operations, OpRow, OpTensor
from llmdbg.debugger.inspection.source import SourceCode
from llmdbg.frontends.answers import answer_lines
from tests.frontends.tui.states import drawn_pane, state_at, text
from tests.sessions import tiny_session

EVIL = "\x1b[2Jevil\u202e"
ROW = FrameRow(0, EVIL, EVIL, f"/tmp/{EVIL}.py", 7, EVIL, selected=True)
SOURCE = SourceCode(EVIL, f"/tmp/{EVIL}.py", 1, (EVIL,), 1, EVIL, 0, EVIL)
LOCALS = Locals(0, EVIL, (LocalValue("x", EVIL, None),), EVIL)
CALL = OpRow(1, EVIL, (OpTensor((1,), "float32"),), (), 0.1, 0, None, f"/tmp/{EVIL}.py", 1, EVIL)


def test_in_an_answer() -> None:
    operations = Operations("0", 0, (CALL,), (), 0.1, 0, 0, (EVIL,))
    for answer in (ROW, FrameList((ROW,), EVIL), SOURCE, LOCALS, operations):
        said = "\n".join(answer_lines(answer))
        assert "evil" in said
        assert "\x1b" not in said and "\u202e" not in said


def test_on_the_screen() -> None:
    state = state_at(tiny_session(), source=SOURCE, locals=LOCALS)
    for name in ("source", "locals"):
        shown = text(drawn_pane(name, state, 60))
        assert "evil" in shown
        assert "\x1b" not in shown and "\u202e" not in shown
