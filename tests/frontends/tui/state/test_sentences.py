"""The status line's sentences."""

import pytest

from llmdbg.frontends.tui.state.sentences import sentence
from tests.frontends.tui.states import drawn_pane, shown_after, state_after, text


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "split into 11 tokens"),
        (["next"], "vector of 32 numbers"),
        (["until 1"], "layer 1 has added"),
        (["until 1.mlp.up_proj"], "up_proj has run, a part of mlp in layer 1"),
        (["until norm"], "scaled"),
        (["until logits"], "scores"),
        (["until sample.top_k"], "top_k has cut 123 tokens: 5 may still be chosen"),
        (["token"], "the next token is chosen"),
        (["continue"], "the requested length is reached: 4 tokens"),
    ],
)
def test_a_sentence_for_every_stage(lines, words):
    shown = shown_after(*lines, temperature=0.8, top_k=5)
    assert words in sentence(shown)


def test_a_breakpoint_that_waited_in_vain_is_told_at_the_end():
    state = state_after("until 1", "break 0@0", "continue")
    assert "breakpoint 1 (0@0) was never hit" in sentence(state.snapshot)
    assert "the run ended without that stage" in text(drawn_pane("explain", state, 200))
    assert "never hit" not in sentence(
        shown_after("until 1", "break 0@0", "break 1@0", "disable 1", "delete 2", "continue")
    )
    assert "2 breakpoints were never hit" in sentence(shown_after("until 1", "break 0@0", "break 1@0", "continue"))
    assert "never hit" not in sentence(shown_after("break 0", "continue", "continue 9"))
