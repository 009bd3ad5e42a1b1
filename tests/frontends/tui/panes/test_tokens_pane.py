"""The tokens pane."""

from llmdbg.frontends.tui.state.token_flow import surprise
from tests.frontends.tui.states import drawn_pane, state_after, text


def test_surprise_is_told_by_colour_and_by_a_sign():
    assert [surprise(prob) for prob in (None, 1.0, 0.2, 0.1, 0.04, 0.001)] == [0, 0, 0, 1, 2, 3]
    state = state_after("continue", max_new_tokens=8, temperature=5.0)
    levels = [surprise(prob) for prob in state.probabilities()]
    assert max(levels) > 0
    spans = [span for line in drawn_pane("tokens", state, 200) for span in line.spans][state.snapshot.prompt_length :]
    for span, level in zip(spans, levels, strict=True):
        assert span.text.endswith(("", "¹", "²", "³")[level])
        assert (span.style == f"surprise-{level}") == (level > 0) or span.style == "token-focus"


def test_ids_and_the_table_are_there_on_demand():
    state = state_after("token")
    assert "(72)" not in text(drawn_pane("tokens", state, 200))
    state.next_token_mode()
    assert "(72)" in text(drawn_pane("tokens", state, 200))
    state.next_token_mode()
    table = text(drawn_pane("tokens", state, 80))
    assert "pos" in table
    assert "%" in table.splitlines()[-1]
