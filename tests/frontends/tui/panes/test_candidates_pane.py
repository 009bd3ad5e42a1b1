"""The candidates pane."""

import string

from llmdbg.debugger.inspection.lens import shown
from llmdbg.formatting import percent
from tests.frontends.tui.states import drawn_pane, state_after, state_at, text
from tests.sessions import answered, do, tiny_session


def test_candidates_before_and_after_each_processor():
    state = state_after("until sample.top_k", temperature=0.8, top_k=5, repetition_penalty=1.2)
    rows = text(drawn_pane("candidates", state, 60))
    assert "top_k cut 123" in rows
    assert "raw" in rows
    assert " penal… " in rows
    assert "more" not in rows
    narrow = text(drawn_pane("candidates", state, 34))
    assert "now +2 more" in narrow, "columns that are left out are counted"
    assert "temp" in rows
    assert rows.count("✂ top_k") >= 5
    narrow = text(drawn_pane("candidates", state, 34))
    [heading] = [each for each in narrow.splitlines() if "raw" in each]
    assert "temp" not in heading
    assert "f goes there" in text(drawn_pane("candidates", state_after(), 80))


def test_the_chosen_candidate_is_marked():
    marked = [line.text for line in drawn_pane("candidates", state_after("token"), 50) if line.text.startswith("▶")]
    assert len(marked) == 1


def test_a_leader_that_a_penalty_put_down_is_shown_with_its_rank():
    state = state_after("until sample", text=string.printable, repetition_penalty=1e6)
    [former, *_] = state.snapshot.stop.candidates.former
    rows = text(drawn_pane("candidates", state, 60))

    assert former.rank > 10
    assert "these led at logits:" in rows
    [line] = [each for each in rows.split("\n") if each.startswith(f" {former.rank} ")]
    assert "▼ penalty" in line


def test_before_the_logits_it_shows_what_the_newest_layer_would_predict():
    session = tiny_session()
    do(session, "until 1.self_attn")
    layers = answered("layers", session)
    wanted = lens_table_at(session, "0")
    rows = text(drawn_pane("candidates", state_at(session, layers=layers), 44)).splitlines()
    assert rows[0] == "if it stopped after 0 (lens)"
    assert len(rows) > 9, "eight of them"
    assert [each.split()[:2] for each in rows[1 : 1 + len(wanted)]] == [
        [str(rank), percent(each.prob)] for rank, each in enumerate(wanted, 1)
    ]
    assert "begin at `logits`" in " ".join(rows)


def lens_table_at(session, address):
    """The likeliest tokens after a layer, as `info lens` answers."""
    table = shown(session.inspector)
    return next(each.top for each in table.rows if each.address == address)
