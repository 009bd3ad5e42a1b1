"""The tensor pane."""

from dataclasses import replace

from llmdbg.debugger.execution.stop import BesideReference
from tests.frontends.tui.states import drawn_pane, state_after, text


def test_the_tensor_pane_shows_whole_and_focus_spread_and_change():
    rows = text(drawn_pane("tensor", state_after("until 0"), 40))
    assert "1×11×32 float32 cpu" in rows
    assert "position 10" in rows
    assert "█" in rows
    assert "Δ residual" in rows
    assert "cosine" in rows
    assert "Δ in→out" in text(drawn_pane("tensor", state_after("until 0.mlp"), 40))
    assert "Δ" not in text(drawn_pane("tensor", state_after("until 0.mlp.up_proj"), 40)), "64 values out of 32"


def test_at_tokenize_the_tensor_pane_is_the_token_table():
    rows = text(drawn_pane("tensor", state_after(), 40))
    assert "11 tokens" in rows
    assert "     72  H" in rows


def test_tokens_that_were_cut_are_no_false_alarm():
    state = state_after("goto sample.top_k", temperature=1.0, top_k=3)
    rows = drawn_pane("tensor", state, 40)
    assert "in play" in text(rows) and "nan" not in text(rows) and "inf   " not in text(rows)
    assert [row.text.split()[:2] for row in rows if row.text.startswith(("infinite", "cut"))] == [
        ["infinite", "0"],
        ["cut", "125"],
    ]
    assert not any(span.style == "bad" for row in rows for span in row.spans)
    assert "cut" not in text(drawn_pane("tensor", state_after("goto logits", temperature=1.0, top_k=3), 40))


def test_a_line_and_an_op_show_their_source_and_an_op_what_it_took():
    lines = "\n".join(each.text for each in drawn_pane("tensor", state_after("until 0.mlp/mul.0"), 60))
    assert "modeling_llama.py:" in lines
    assert "LlamaMLP.forward" in lines
    assert "takes   self 1×11×64 float32" in lines
    lines = "\n".join(each.text for each in drawn_pane("tensor", state_after("until 0.mlp:forward"), 60))
    assert "this line runs next" in lines
    assert "down_proj = self.down_proj(" in lines


def test_how_far_the_reference_is_is_whole_in_a_narrow_pane():
    state = state_after("until 0.mlp")
    assert state.shown is not None
    for beside, words in (
        (BesideReference("other", 0.0052, 0.0019, equal=False), "0.0052 off the reference, 0.0019 by itself"),
        (BesideReference("other", None, None, equal=False, lost="it was killed " * 4), "is lost: it was killed"),
    ):
        state.shown = replace(state.shown, stop=replace(state.shown.stop, beside=beside))
        assert words in " ".join(each.text.strip() for each in drawn_pane("tensor", state, 30))
