"""Folding and selecting."""

from tests.frontends.tui.states import addresses, state_after


def test_any_stage_can_be_unfolded():
    state = state_after()
    state.fold("0")
    assert "0.mlp" in addresses(state)
    assert "0.mlp.gate_proj" not in addresses(state)
    state.fold("0.mlp", unfolded=True)
    assert "0.mlp.gate_proj" in addresses(state)
    assert "1.mlp" not in addresses(state)
    state.selected = "0.mlp.gate_proj"
    state.fold(state.selected, unfolded=False)
    assert "0.mlp.gate_proj" not in addresses(state)
    assert state.selected == "0.mlp"
    state.select("1.mlp.up_proj")
    assert "1.mlp.up_proj" in addresses(state), "what is selected is on screen"


def test_only_the_answer_that_sets_a_breakpoint_says_when_it_is_hit():
    before, after = state_after("until 0").snapshot, state_after("until 0", "break 1")
    point = after.snapshot.breakpoints[0]
    after.report(before, "break 1", (point.line,), "", 200)
    assert after.status[0] == "breakpoint 1 at 1: still to come for this token"
    after.report(before, "resumed", ("resumed where it was interrupted",), "", 200)
    assert after.status[0] == "resumed where it was interrupted"
