"""Branches are deleted without losing the one that the run is on."""

import pytest

from llmdbg.errors import CommandError
from tests.debugger.execution.test_branches import by_generate, started
from tests.sessions import do, here


def test_a_branch_is_deleted_but_neither_the_current_one_nor_one_that_others_came_from():
    session = started()
    do(session, "token", "force 5", "continue", "switch main", "token", "force 6", "goto sample@0", "force 7")
    names = lambda: [each.name for each in session.run.branches]  # noqa: E731
    parents = {each.name: each.parent and each.parent.name for each in session.run.branches}
    assert parents == {"main": None, "b2": "main", "b3": "main", "b4": "b3"}
    for line, error in (
        ("drop b4", "the run is on branch b4: `switch` to another one first"),
        ("drop b3", "b3 stays: branch b4, which the run is on, parted from b3"),
        ("drop main all", "branch b4, which the run is on, parted from main"),
        ("drop b9", "there is no branch 'b9'"),
        ("drop b2 now", "drop takes a branch, and `all`"),
    ):
        with pytest.raises(CommandError, match=error):
            do(session, line)
    do(session, "switch b2")
    with pytest.raises(CommandError, match="b4 parted from b3: `drop b3 all` deletes both"):
        do(session, "drop b3")
    assert names() == ["main", "b2", "b3", "b4"]
    place, ids = here(session), list(session.run.generated_ids())
    assert do(session, "drop b3 all").data == "deleted branches b3 and b4"
    assert names() == ["main", "b2"]
    assert (here(session), list(session.run.generated_ids())) == (place, ids)
    do(session, "switch main")
    assert do(session, "drop 2").data == "deleted branch b2"
    do(session, "continue")
    assert list(session.end.ids) == by_generate(session, {})


def test_a_branch_never_gets_the_number_or_the_name_of_one_that_is_gone():
    session = started()
    do(session, "token", "force 5", "branch b4", "switch main", "drop b2 all")
    do(session, "force 6")
    assert [(each.number, each.name) for each in session.run.branches] == [(1, "main"), (4, "b5")]
    do(session, "switch main")
    with pytest.raises(CommandError, match="there is no branch 'b2'"):
        do(session, "drop b2")
