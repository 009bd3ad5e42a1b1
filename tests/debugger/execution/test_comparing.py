"""Two branches compared: what their stops have recorded is not run again."""

from llmdbg.frontends.answers import answer_lines
from tests.sessions import do, here, tiny_session


def started():
    return tiny_session("llama", "The quick fox", max_new_tokens=6, temperature=0.9, top_k=20)


def runs_of(session, monkeypatch):
    """The tokens that are run again from now on, of any branch."""
    ran = []
    real = session.branching.look_into

    def noted(branch, token, look):
        ran.append(token)
        real(branch, token, look)

    monkeypatch.setattr(session.branching, "look_into", noted)
    return ran


def test_candidates_that_a_stop_has_shown_are_compared_without_a_run(monkeypatch):
    session = started()
    do(session, "token", "token", "ban 5", "force 6", "token")
    ran = runs_of(session, monkeypatch)
    found = do(session, "compare main").data
    assert ran == []
    assert found.reran == ()
    assert len(found.candidates_here) == len(found.candidates_there) == 5
    assert "ran again" not in "\n".join(answer_lines(found))
    recorded = (found.candidates_here, found.candidates_there)
    for each in session.run.branches:
        each.candidates.clear()
    place = here(session)
    again = do(session, "compare main").data
    assert ran == [1, 1]
    assert here(session) == place
    assert [[each.id for each in side] for side in (again.candidates_here, again.candidates_there)] == [
        [each.id for each in side] for side in recorded
    ]
    for one, other in zip(sum(recorded, ()), again.candidates_here + again.candidates_there, strict=True):
        assert abs(one.prob - other.prob) < 1e-6


def test_branches_that_differ_by_a_forced_token_alone_show_their_candidates_once():
    session = started()
    do(session, "token", "force 5", "token")
    found = do(session, "compare main").data
    assert (found.first, found.forced_here, found.forced_there) == (0, (0,), ())
    said = answer_lines(found)
    assert " 5, forced" in said[1], said
    assert "forced" not in "".join(said[2:])
    at = said.index("candidates of token 0, the same in both")
    assert [len(each.split()) for each in said[at + 1 :]] == [len(said[at + 1].split())] * 5, "one column"
    do(session, "switch main")
    other = do(session, "compare b2").data
    assert (other.forced_here, other.forced_there) == ((), (0,))
    assert "candidates of token 1" in answer_lines(do(session, "compare b2 1").data), "two, since they differ"


def test_what_no_stop_has_recorded_is_run_again_and_the_answer_says_so():
    session = started()
    do(session, "token", "force 5", "continue", "switch main", "continue")
    found = do(session, "compare b2 3").data
    assert found.reran == ("main", "b2")
    said = answer_lines(found)[-1]
    assert said == "token 3 ran again on main and b2 for its candidates: no stop had recorded them"


def test_an_edit_makes_the_recorded_candidates_of_later_tokens_worthless():
    session = started()
    do(session, "token", "token", "token", "goto 0@1")
    before = session.run.branches.current.candidates[2]
    do(session, "zero 0.mlp", "token", "token")
    named = {each.name: each for each in session.run.branches}
    assert named["main"].candidates[2] is before
    assert named["b2"].candidates[2] != before
    assert named["b2"].candidates[0] is named["main"].candidates[0]
    do(session, "undo", "goto 0@1", "zero 1.mlp")
    assert 2 not in session.run.branches.current.candidates
