"""What has run and what is still to come, and when a breakpoint will be hit."""

import pytest

from llmdbg.frontends.tui.state.sentences import sentence
from tests.frontends.tui.states import drawn_pane, shown_after, state_after, text


def when_set(state, before):
    return state.when_hit(before, state.snapshot.breakpoints[-1].line)


@pytest.mark.parametrize(
    ("lines", "address", "words"),
    [
        ([], "tokenize", "every run starts there"),
        ([], "0", "still to come for this token"),
        (["until 1"], "1", "hit next at token 2"),
        (["until 1"], "0", "it has passed for this token, hit next at token 2"),
        (["until 1"], "0.mlp", "hit next at token 2"),
        (["until 1"], "*", "still to come"),
        (["until 1"], "norm", "still to come"),
        (["until 1"], "0@0", "will not run again in this run"),
        (["until 1"], "0@2", "hit next at token 3"),
        (["until 1.self_attn"], "1.mlp", "hit when it runs next"),
        (["until 1.self_attn"], "1.self_attn.q_proj", "hit next at token 2"),
        (["until 0.input_layernorm", *["s"] * 12, "until 1.self_attn"], "1.mlp.up_proj", "still to come"),
        (["until 0.input_layernorm", *["s"] * 12, "until 1.self_attn"], "1.input_layernorm", "hit next at token 2"),
        (["token 3", "until 1"], "0", "will not run again in this run"),
        (["continue"], "0", "this run is over"),
    ],
)
def test_a_breakpoint_says_when_it_will_be_hit(lines, address, words):
    before = shown_after(*lines)
    state = state_after(*lines, f"break {address}")
    assert words in when_set(state, before)
    assert when_set(state, state.snapshot) == "", "nothing is said of those that were there"


def test_conditions_and_watches_are_told_as_what_they_are():
    before = shown_after("until 1")
    state = state_after("until 1", "break 0 if norm > 0")
    assert when_set(state, before).endswith("token 2, if its condition holds")
    assert when_set(state_after("until 1", "trace 0 norm"), before) == ""
    ended = shown_after("break 0 if norm < 0", "continue")
    assert "breakpoint 1 (0) was never hit" in sentence(ended)
    assert "its condition never held" in text(
        drawn_pane("explain", state_after("break 0 if norm < 0", "continue"), 200)
    )
