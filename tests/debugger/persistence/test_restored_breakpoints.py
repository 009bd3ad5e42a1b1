"""Breakpoints, their conditions and what they remember come back through a file."""

from llmdbg.debugger.breakpoints import metrics
from llmdbg.errors import LensError
from tests.debugger.restoring import fresh, known, through_a_file
from tests.debugger.saving import run


def test_what_no_stage_of_this_model_can_answer_is_left_out(monkeypatch):
    before = run(fresh(), "break flip", "trace 0 top1", "break 1 if norm > 1", "watch top1 at 0-1")

    def build(*_):
        raise LensError("it has no head")

    monkeypatch.setattr(metrics, "build_lens", build)
    after, notes = through_a_file(before)
    assert [each.number for each in after.breakpoints.list()] == [3]
    assert len(notes) == 3 and all("it has no head" in note for note in notes)


def test_a_condition_on_a_processor_that_is_not_here_yet_comes_back():
    lines = ["token 3", "set repetition_penalty 1.3", "break sample.repetition_penalty if entropy < 9"]
    before = run(fresh(), *lines, "switch main")
    after, notes = through_a_file(before)
    assert notes == ()
    assert known(after) == known(before)


def test_a_breakpoint_on_a_processor_that_was_set_later_comes_back():
    lines = ["token 3", "force 65", "token 2", "set repetition_penalty 1.3", "break sample.repetition_penalty"]
    before = run(fresh(), *lines, "goto sample.repetition_penalty@4")
    after, notes = through_a_file(before)
    assert notes == ()
    assert known(after) == known(before)


def test_what_a_breakpoint_remembers_comes_back():
    before = run(fresh(), "break 1 if changed(norm)", "c", "c", "goto embed@3")
    after, _ = through_a_file(before)
    stops = []
    for session in (before, after):
        seen = []
        while session.end is None:
            run(session, "continue")
            seen.append(session.run.place)
        stops.append(seen)
    assert stops[0] == stops[1]
    assert (stops[0][0].address, stops[0][0].token) == ("1", 3)
