"""What is kept of a token's forward for whoever asks: bitwise what the stages gave, and no longer than anyone asks."""

from __future__ import annotations

import torch

from llmdbg.debugger.execution.recorder import RecordRequest
from llmdbg.debugger.execution.session import Session
from tests.sessions import tiny_session


def _wish(session: Session, name: str = "residuals") -> RecordRequest:
    layers = frozenset(stage.address for stage in session.anatomy.layers())
    return RecordRequest(name, layers, session.vector, about=session.focus)


def _stepped(session: Session, token: int) -> dict[str, torch.Tensor]:
    """What the layers gave at the focus while `token` was produced, seen by stopping at each."""
    found = {}
    for stage in session.anatomy.layers():
        session.do(f"goto {stage.address}@{token}")
        vector = session.vector(session.event)
        assert vector is not None
        found[stage.address] = vector
    return found


def _counted(session: Session) -> list[int]:
    """A list that grows whenever a token is run again."""
    runs: list[int] = []
    original = session.run_again
    session.run_again = lambda token, *rest: (runs.append(token), original(token, *rest))[1]  # type: ignore[method-assign]
    return runs


def test_what_was_never_watched_is_seen_by_running_the_token_again() -> None:
    session, other = tiny_session(), tiny_session()
    session.do("goto sample@2")
    place, stop = session.place, session.stop
    found = session.recorder.get(session, _wish(session))
    expected = _stepped(other, 2)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[address], expected[address]) for address in expected)
    assert (session.place, session.stop) == (place, stop)
    assert session.do("continue").stop.ended_by == "length"
    assert session.end is not None


def test_only_what_has_run_is_there() -> None:
    session = tiny_session()
    assert session.recorder.get(session, _wish(session)) == {}
    session.do("goto 0.mlp")
    assert session.recorder.get(session, _wish(session)) == {}
    session.do("goto 0@1")
    assert list(session.recorder.get(session, _wish(session))) == ["0"]


def test_whoever_goes_on_asking_costs_no_run() -> None:
    session, other = tiny_session(), tiny_session()
    session.do("goto 0@1")
    runs = _counted(session)
    session.recorder.get(session, _wish(session))
    assert runs == [1]
    for _ in range(20):
        if session.end is not None:
            break
        session.do("next")
        found = session.recorder.get(session, _wish(session))
        expected = _stepped(other, session.stop.token)
        assert all(torch.equal(found[address], expected[address]) for address in found)
    assert runs == [1]


def test_a_token_that_nobody_asks_about_ends_the_watching() -> None:
    session = tiny_session(max_new_tokens=6)
    session.do("goto 0@1")
    session.recorder.get(session, _wish(session))
    session.do("continue")
    assert session.end is not None
    assert session.recorder.addresses(5) == frozenset()
    runs = _counted(session)
    end = session.end
    session.recorder.get(session, _wish(session))
    assert runs == [5]
    assert session.end == end


def test_another_focus_is_another_wish() -> None:
    session = tiny_session()
    session.do("goto 1")
    first = session.recorder.get(session, _wish(session))
    session.do("focus 2")
    second = session.recorder.get(session, _wish(session))
    assert not torch.equal(first["0"], second["0"])
    session.do("focus last")
    assert torch.equal(session.recorder.get(session, _wish(session))["0"], first["0"])


def test_what_an_edit_changed_is_not_answered_with_what_was_before() -> None:
    session = tiny_session()
    session.do("goto 1@1")
    before = session.recorder.get(session, _wish(session))["1"]
    session.do("zero 0.mlp")
    after = session.recorder.get(session, _wish(session))["1"]
    assert not torch.equal(before, after)
    session.do("undo")
    assert torch.equal(session.recorder.get(session, _wish(session))["1"], before)


def test_two_wishes_are_kept_side_by_side() -> None:
    session = tiny_session()
    session.do("goto logits@1")
    one = session.recorder.get(session, _wish(session))
    embed = RecordRequest("embed", frozenset(("embed",)), session.vector)
    two = session.recorder.get(session, embed)
    runs = _counted(session)
    assert list(two) == ["embed"]
    assert session.recorder.get(session, _wish(session)).keys() == one.keys()
    assert runs == []
