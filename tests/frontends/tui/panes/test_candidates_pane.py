"""The candidates pane."""

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
    assert "raw" in narrow
    assert "temp" not in narrow
    assert "f goes there" in text(drawn_pane("candidates", state_after(), 80))


def test_the_chosen_candidate_is_marked():
    marked = [line.text for line in drawn_pane("candidates", state_after("token"), 50) if line.text.startswith("▶")]
    assert len(marked) == 1
