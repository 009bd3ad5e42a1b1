"""The candidates pane."""

import string

from tests.frontends.tui.states import drawn_pane, state_after, text


def test_candidates_before_and_after_each_processor():
    state = state_after("until sample.top_k", temperature=0.8, top_k=5, repetition_penalty=1.2)
    rows = text(drawn_pane("candidates", state, 60))
    assert "top_k cut 123" in rows
    assert "raw" in rows
    assert "penalt" in rows
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
