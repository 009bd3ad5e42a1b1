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
