"""Frames at a line and at an op: the module has not returned, and its own frame is the innermost one."""

from __future__ import annotations

import pytest

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.operations import Operations
from tests.sessions import do, tiny_session

# Lines are stopped at by a trace function of ours, and coverage has one of its own.
pytestmark = pytest.mark.untraced


def fine(depth: str) -> Debugger:
    session = tiny_session()
    do(session, "until 1.input_layernorm", f"set depth {depth}", "step")
    return session


def test_at_a_line_the_forwards_own_locals_are_there() -> None:
    session = fine("line")
    found = do(session, "info frames").data
    assert found.note == ""
    assert (found.rows[0].number, found.rows[0].address, found.rows[0].function) == (
        0,
        "1",
        "LlamaDecoderLayer.forward",
    )
    code = session.inspector.event.code
    assert code is not None
    assert found.rows[0].line == code.line == do(session, "info source").data.current
    assert "residual" in {each.name for each in do(session, "info locals").data.rows}
    do(session, "up", "step")
    assert do(session, "frame").data.number == 0, "the next line begins with its innermost frame"


def test_at_an_op_the_line_that_calls_it_is_marked() -> None:
    session = fine("op")
    code = session.inspector.event.code
    assert code is not None
    found = do(session, "info frames").data
    assert code.function in {each.function for each in found.rows}
    assert any(each.line == code.line and each.file == code.file for each in found.rows)
    assert found.note == ""
    do(session, "info locals", "info source")


def test_the_operations_around_a_line_or_an_op_are_its_modules() -> None:
    for depth in ("line", "op"):
        session = fine(depth)
        stop = session.stop
        found = do(session, "info ops").data
        assert isinstance(found, Operations)
        assert found.address in session.inspector.anatomy.modules
        assert session.stop.stage == stop.stage


def test_looking_at_frames_between_lines_changes_nothing() -> None:
    session = fine("line")
    for _ in range(12):
        do(session, "info frames", "info locals", "info source", "step")
    do(session, "set depth module", "continue")
    assert do(session, "verify").data.differs is None
