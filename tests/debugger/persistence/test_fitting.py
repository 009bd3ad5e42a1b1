"""A session that its file cannot hold: what does not fit is left out and named, and all the rest is saved."""

from dataclasses import replace
from typing import Any

import pytest

from llmdbg.debugger.limits import MOST_LINE, MOST_LINES
from llmdbg.debugger.persistence.capture import capture
from llmdbg.debugger.persistence.fitting import fitting_json
from llmdbg.debugger.persistence.format import MOST_BYTES, from_json, to_json
from llmdbg.debugger.persistence.model import (
    SavedBranch,
    SavedBreakpoint,
    SavedEdit,
    SavedPosition,
    SavedSession,
    SavedSettings,
)
from llmdbg.debugger.persistence.restore import restore
from llmdbg.debugger.persistence.store import SessionStore
from llmdbg.errors import SessionFileError
from tests.debugger.saving import PROMPT, SAMPLED, run, started
from tests.sessions import here, tiny_session


def opened():
    how: dict[str, Any] = SAMPLED
    return tiny_session(**how)


def point(number, length=0, **changes):
    """A breakpoint whose commands are `length` characters, in lines as long as one may be."""
    lines = [*["x" * MOST_LINE] * (length // MOST_LINE), "x" * (length % MOST_LINE)]
    assert len(lines) <= MOST_LINES
    return SavedBreakpoint(number, "1.mlp", False, True, 0, commands=tuple(filter(None, lines)), **changes)


def branch(number, parent=None, tokens=2, edits=(), **changes):
    saved = started()
    return SavedBranch(
        number,
        f"b{number}",
        parent,
        min(1, tokens),
        "force",
        SavedPosition("sample", 0),
        (77777,) * tokens,
        (SavedSettings(0, saved.settings),),
        edits=tuple(edits),
        **changes,
    )


def read_again(saved: SavedSession) -> tuple[SavedSession, str]:
    text, left_out = fitting_json(saved)
    assert len(text) <= MOST_BYTES
    return from_json(text, PROMPT), left_out


def test_a_session_is_saved_whole_up_to_the_very_byte():
    saved = replace(started(), breakpoints=tuple(point(number, 350_000) for number in range(1, 12)))
    room = MOST_BYTES - len(to_json(replace(saved, breakpoints=(*saved.breakpoints, point(12, 1)))))
    lines = room // (MOST_LINE + len('"", '))
    fill = room + 1 - (lines * len('"", '))
    full = replace(saved, breakpoints=(*saved.breakpoints, point(12, fill)))
    assert len(to_json(full)) == MOST_BYTES
    assert read_again(full) == (full, "")

    over = replace(full, breakpoints=(*full.breakpoints[:-1], point(12, fill + 1)))
    assert len(to_json(over)) == MOST_BYTES + 1
    again, left_out = read_again(over)
    assert len(again.breakpoints) == 11
    assert left_out == "breakpoint 11 is left out, since a saved session holds 4 MiB at most"


def test_the_largest_parts_are_left_out_and_all_the_others_stay():
    small = tuple(point(number, 100) for number in range(1, 400))
    large = tuple(point(number, 300_000) for number in range(400, 420))
    saved = replace(started(), breakpoints=(*large, *small), layout={"zoom": "tokens"})
    again, left_out = read_again(saved)
    assert set(small) <= set(again.breakpoints)
    assert len(again.breakpoints) - len(small) == MOST_BYTES // 305_000
    assert again.layout == {"zoom": "tokens"}
    assert "and 3 more are left out" in left_out
    assert replace(saved, breakpoints=again.breakpoints) == again


def test_a_branch_is_left_out_with_its_edits_and_its_children_fork_from_its_parent():
    edit = SavedEdit(1, "zero 1.mlp", 0, True)
    branches = (branch(1), branch(2, 1, 800_000, [edit]), branch(3, 2, edits=[edit]), branch(4, 3))
    again, left_out = read_again(replace(started(), generated=(77777,), branches=branches, branch=4))
    assert [(each.number, each.parent, len(each.edits)) for each in again.branches] == [
        (1, None, 0),
        (3, 1, 1),
        (4, 3, 0),
    ]
    assert left_out == "branch b2 is left out, since a saved session holds 4 MiB at most"


def test_the_current_branch_stays_while_its_largest_edits_do_not():
    wide = [SavedEdit(number, "edit out * 2", 0, True, ("1.self_attn.q_proj",) * 2000) for number in range(1, 150)]
    small = SavedEdit(150, "zero 1.mlp", 0, True)
    branches = (branch(1), branch(2, 1, edits=[*wide, small]))
    again, left_out = read_again(replace(started(), branches=branches, branch=2))
    assert len(again.branches) == 2 and again.branches[1].edits[-1] == small
    assert left_out.startswith("edit ") and "of b2" in left_out
    assert len(to_json(again)) > MOST_BYTES - 100_000


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"breakpoints": (point(1), point(2, condition="top1 == '\ud800'"))}, "breakpoint 2"),
        ({"breakpoints": (point(1), point(2, ignore=10**30))}, "breakpoint 2"),
        ({"breakpoints": (point(1), point(2, condition="x" * 5000))}, "breakpoint 2"),
        ({"breakpoints": (point(1),), "layout": {"a": float("nan")}}, "the layout"),
        (
            {"breakpoints": (point(1),), "branches": (branch(1, edits=[SavedEdit(7, "edit '\udcff'", 0, True)]),)},
            "edit 7 of b1",
        ),
    ],
)
def test_what_no_file_can_hold_does_not_keep_the_rest_from_being_saved(changes, named):
    saved = replace(started(), **changes)
    with pytest.raises(SessionFileError):
        to_json(saved)
    again, left_out = read_again(saved)
    assert again.breakpoints == (point(1),)
    assert left_out == f"{named} is left out, which a saved session cannot hold"


def test_what_cannot_be_left_out_is_refused_as_a_whole():
    with pytest.raises(SessionFileError, match=r"a session of more than 4 MiB"):
        fitting_json(replace(started(), generated=(77777,) * 800_000))
    with pytest.raises(SessionFileError):
        fitting_json(replace(started(), system="\ud800"))


def test_a_session_that_is_too_large_comes_back_without_what_was_named(tmp_path):
    session = opened()
    run(session, "token 2", "force 7", "token", "zero 1.mlp at last", "break 0.mlp if norm > 3", "goto 1@2")
    line = "print '" + "x" * 1_900 + "'"
    for number in range(2, 30):
        run(session, "break 1.self_attn", f"commands {number} " + "; ".join([line] * 100))
    store, saved = SessionStore(tmp_path), started(**SAMPLED)
    left_out = store.save(capture(session, saved))
    named = "breakpoint 23, breakpoint 24, breakpoint 25, breakpoint 26 and 3 more"
    assert left_out == f"{named} are left out, since a saved session holds 4 MiB at most"
    again = opened()
    restore(again, store.load(saved.id))
    kept = {each.number for each in again.breakpoints.list()}
    assert kept == set(range(1, 23))
    assert [edit.text for edit in again.run.edits.list()] == ["zero 1.mlp at last"]
    assert again.run.generated_ids() == session.run.generated_ids()
    assert here(again) == here(session) == "1@2"
    assert [each.name for each in again.run.branches] == [each.name for each in session.run.branches]
    # Once there is room again, all of it is saved.
    for number in sorted(kept)[1:]:
        run(session, f"delete {number}")
    assert store.save(capture(session, saved)) == ""
    assert len(store.load(saved.id).breakpoints) == 29 - len(kept) + 1


def test_an_undone_edit_as_long_as_one_may_be_is_saved(tmp_path):
    session = opened()
    run(session, "goto 1@1")
    line = "edit out * (1" + " " * (MOST_LINE - 14) + ")"
    assert len(line) == MOST_LINE
    run(session, line, "token 3", "goto 1@1", "undo")
    assert len(session.run.branches.current.why) > MOST_LINE
    assert SessionStore(tmp_path).save(capture(session, started(**SAMPLED))) == ""
