"""Tokens as text, and in lines."""

import pytest

from llmdbg.debugger.execution.stop import TokenRow
from llmdbg.frontends.tui.state.token_flow import TokenFlow, described, drawn
from tests.frontends.tui.states import state_after


def test_the_token_flow_continues_where_it_was():
    flow = TokenFlow()
    state = state_after("continue", max_new_tokens=8)
    tokens, chances = state.tokens(), state.probabilities()
    prompt = state.snapshot.prompt_length
    for count in range(1, len(tokens) + 1):
        so_far = tokens[:count], chances[: max(0, count - prompt)], 7
        flow.lay_out(*so_far, ids=False)
        fresh = TokenFlow()
        fresh.lay_out(*so_far, ids=False)
        assert list(flow.rows(None, ())) == list(fresh.rows(None, ()))
        assert flow.line_of(count - 1) == len([line for line in flow.rows(None, ()) if line.text]) - 1


def hostile(text, special=False):
    return TokenRow(0, 1, text, text, special, None)


@pytest.mark.parametrize("text", ["\x1b[2J", "\u202e", "[bold]", "\x00", "a\nb"])
def test_hostile_tokens_are_drawn_not_obeyed(text):
    for shown in (drawn(hostile(text)), drawn(hostile(text, special=True)), described(hostile(text))):
        assert not set(shown) & {"\x1b", "\u202e", "\x00", "\n"}
