"""What is kept of a token's forward for whoever asks: bitwise what the stages gave, and no longer than anyone asks."""

from __future__ import annotations

import torch

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.execution.recorder import RecordRequest
from tests.sessions import do, tiny_session, tokens_run_again


def _wish(session: Debugger, name: str = "residuals") -> RecordRequest:
    layers = frozenset(stage.address for stage in session.debuggee.anatomy.layers())
    return RecordRequest(name, layers, session.focus.vector, about=session.focus.position)


def _stepped(session: Debugger, token: int) -> dict[str, torch.Tensor]:
    """What the layers gave at the focus while `token` was produced, seen by stopping at each."""
    found = {}
    for stage in session.debuggee.anatomy.layers():
        do(session, f"goto {stage.address}@{token}")
        vector = session.focus.vector(session.run.event)
        assert vector is not None
        found[stage.address] = vector
    return found


def test_what_was_never_watched_is_seen_by_running_the_token_again() -> None:
    session, other = tiny_session(), tiny_session()
    do(session, "goto sample@2")
    place, stop = session.run.place, session.stop
    found = session.replay.recorded(_wish(session))
    expected = _stepped(other, 2)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[address], expected[address]) for address in expected)
    assert (session.run.place, session.stop) == (place, stop)
    assert do(session, "continue").stop.ended_by == "length"
    assert session.end is not None


def test_only_what_has_run_is_there() -> None:
    session = tiny_session()
    assert session.replay.recorded(_wish(session)) == {}
    do(session, "goto 0.mlp")
    assert session.replay.recorded(_wish(session)) == {}
    do(session, "goto 0@1")
    assert list(session.replay.recorded(_wish(session))) == ["0"]


def test_whoever_goes_on_asking_costs_no_run() -> None:
    session, other = tiny_session(), tiny_session()
    do(session, "goto 0@1")
    runs = tokens_run_again(session)
    session.replay.recorded(_wish(session))
    assert runs == [1]
    for _ in range(20):
        if session.end is not None:
            break
        do(session, "next")
        found = session.replay.recorded(_wish(session))
        expected = _stepped(other, session.stop.token)
        assert all(torch.equal(found[address], expected[address]) for address in found)
    assert runs == [1]


def test_a_token_that_nobody_asks_about_ends_the_watching() -> None:
    session = tiny_session(max_new_tokens=6)
    do(session, "goto 0@1")
    session.replay.recorded(_wish(session))
    do(session, "continue")
    assert session.end is not None
    assert session.run.recorder.addresses(5) == frozenset()
    runs = tokens_run_again(session)
    end = session.end
    session.replay.recorded(_wish(session))
    assert runs == [5]
    assert session.end == end


def test_another_focus_is_another_wish() -> None:
    session = tiny_session()
    do(session, "goto 1")
    first = session.replay.recorded(_wish(session))
    do(session, "focus 2")
    second = session.replay.recorded(_wish(session))
    assert not torch.equal(first["0"], second["0"])
    do(session, "focus last")
    assert torch.equal(session.replay.recorded(_wish(session))["0"], first["0"])


def test_what_an_edit_changed_is_not_answered_with_what_was_before() -> None:
    session = tiny_session()
    do(session, "goto 1@1")
    before = session.replay.recorded(_wish(session))["1"]
    do(session, "zero 0.mlp")
    after = session.replay.recorded(_wish(session))["1"]
    assert not torch.equal(before, after)
    do(session, "undo")
    assert torch.equal(session.replay.recorded(_wish(session))["1"], before)


def test_two_wishes_are_kept_side_by_side() -> None:
    session = tiny_session()
    do(session, "goto logits@1")
    one = session.replay.recorded(_wish(session))
    embed = RecordRequest("embed", frozenset(("embed",)), session.focus.vector)
    two = session.replay.recorded(embed)
    runs = tokens_run_again(session)
    assert list(two) == ["embed"]
    assert session.replay.recorded(_wish(session)).keys() == one.keys()
    assert runs == []
