"""What the stages pane remembers of a token's earlier stops."""

from dataclasses import replace

import pytest

from llmdbg.frontends.tui.worker.seen_stages import SeenStages
from tests.sessions import do, tiny_session


@pytest.mark.parametrize("other", [{"rank": 1}, {"lane": 1}])
def test_the_values_of_another_rank_or_lane_are_not_shown_as_those_of_the_chosen_one(other):
    memory, session = SeenStages(), tiny_session()
    for address in ("embed", "0"):
        do(session, f"until {address}")
        seen = memory.note(session.stop)
    assert seen["embed"].norm
    chosen = memory.note(replace(session.stop, **other))
    assert (chosen["embed"].norm, chosen["embed"].ms) == (None, seen["embed"].ms)
    assert chosen["0"].norm == seen["0"].norm
    assert memory.note(replace(session.stop, **other)) == chosen
