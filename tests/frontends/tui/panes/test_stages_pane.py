"""The pane of stages: order, folds, brackets, marks, and what is still to come."""

from dataclasses import replace

from llmdbg.frontends.tui.input.moving import about_parts
from llmdbg.frontends.tui.widgets.rows import EIGHTHS, HEIGHTS, column_of
from tests.frontends.tui.states import addresses, drawn_pane, shown_after, stages_text, state_after


def test_stages_fold_all_layers_but_the_one_the_run_is_inside_of():
    assert "mlp" not in stages_text(state_after())
    inside = stages_text(state_after("until 1.self_attn.q_proj"))
    assert "▶" in inside
    assert inside.count("q_proj") == 1
    assert inside.count("mlp") == 1
    assert "gate_proj" not in inside


def test_stages_remember_what_was_seen_of_this_token_only():
    rows = stages_text(state_after("next", "next")).splitlines()
    assert "ms" in rows[1]
    assert "‖" in rows[2]
    assert "ms" not in rows[3]
    assert "‖" not in stages_text(state_after("next", "next", "token", "next")).splitlines()[2]


def test_a_bar_says_how_large_and_how_slow():
    line = drawn_pane("stages", state_after("until 1"), 80)[3]
    shapes = {span.style: span.text.strip() for span in line.spans if span.style.endswith("bar")}
    assert set(shapes) == {"bar", "norm-bar", "time-bar"}, "probability, norm and time, told apart by colour"
    assert shapes["norm-bar"] in HEIGHTS
    assert shapes["time-bar"] in EIGHTHS, "and by shape"
    assert column_of(0.5) == "▄"
    assert column_of(0) == column_of(float("nan")) == " "


def test_modules_are_listed_in_the_order_they_ran():
    state = state_after("n", *["s"] * 20)
    state.fold("0", unfolded=True)
    state.fold("0.self_attn", unfolded=True)
    order = [address for address in addresses(state) if address.partition(".")[0] == "0"]

    assert order.index("0.input_layernorm") < order.index("0.self_attn.q_proj") < order.index("0.self_attn")
    assert order.index("0.self_attn") < order.index("0.post_attention_layernorm") < order.index("0.mlp")
    assert order[-1] == "0"


def test_an_order_seen_from_the_end_is_still_the_right_one():
    state = state_after("until 0.mlp", "token", "until 0.input_layernorm", "until 0.self_attn")
    order = [address for address in addresses(state) if address.partition(".")[0] == "0"]

    assert order.index("0.input_layernorm") < order.index("0.self_attn") < order.index("0.mlp")


def test_breakpoints_are_marked():
    rows = stages_text(state_after("break 1", "break 0", "disable 2")).splitlines()
    assert rows[3].split() == ["●▸", "1"]
    assert rows[2].split() == ["○▸", "0"]


def stage_row(state, address, width=60):
    return drawn_pane("stages", state, width)[addresses(state).index(address)]


def looks(state, address):
    """How a stage's name is drawn."""
    return stage_row(state, address).spans[3].style


def test_parts_stand_in_a_bracket_that_their_stage_closes():
    state = state_after("until 0.input_layernorm", *["s"] * 12, "until 1.self_attn.q_proj")
    state.view = replace(state.view, predictions=False)
    rows = [row.text[2:30].rstrip() for row in drawn_pane("stages", state, 60)][2:14]
    assert rows[0] == "▸ 0"
    assert rows[1:4] == ["╭   input_layernorm", "│ ╭   q_proj", "│ │   k_proj"]
    assert "│ ╰ self_attn" in rows
    assert "│ ▸ mlp" in rows
    assert rows[-1 if rows[-1].startswith("╰") else rows.index("╰ 1")] == "╰ 1"


def test_parts_that_were_not_seen_to_run_stand_beside_a_dotted_line():
    state = state_after()
    state.fold("0")
    assert [stage_row(state, each).text[2] for each in addresses(state)[2:7]] == ["╭", "┊", "┊", "┊", "╰"]
    assert "as the model lists them" in about_parts(state, "0")
    stepped = state_after("until 0.input_layernorm", *["s"] * 12)
    stepped.fold("1", unfolded=True)
    assert "┊" not in stages_text(stepped)
    assert about_parts(stepped, "1") == ""


def test_a_module_a_jump_led_to_does_not_claim_a_place():
    """`mlp` once stood in front of `input_layernorm`, as if it had been seen to run before it."""
    state = state_after("until 0.input_layernorm", "until 0.self_attn", "until 1.mlp")
    order = [address for address in addresses(state) if address.startswith("1.")]
    assert order.index("1.input_layernorm") < order.index("1.self_attn") < order.index("1.mlp")
    assert "┊" in stage_row(state, "1.mlp").text
    assert "│" in stage_row(state, "1.self_attn").text


def test_what_is_still_to_come_is_dim():
    state = state_after("until 0.self_attn")
    assert looks(state, "embed") == ""
    assert looks(state, "0") == looks(state, "1") == looks(state, "norm") == looks(state, "sample") == "dim"
    assert looks(state, "0.self_attn") == "here"
    later = state_after("until 0.self_attn", "next", "until 1")
    assert looks(later, "0") == ""
    ended = state_after("continue")
    assert looks(ended, "norm") == looks(ended, "1") == ""
    again = state_after("token", "next")
    assert looks(again, "0") == "dim"


def test_what_has_been_gone_back_over_is_still_to_come():
    state = state_after("until 1", "reverse-step")
    assert state.snapshot.stop.stage.layer in (0, 1)
    assert looks(state, "1") == "dim"
    state = state_after("until 1", "reverse-next", "break 1")
    line = state.snapshot.breakpoints[0].line
    assert "still to come" in state.when_hit(shown_after("until 1"), line)


def test_a_breakpoint_at_every_stage_marks_none_and_is_not_deleted_at_one():
    state = state_after("until 0", "break nonfinite")
    assert "●" not in stages_text(state)
    assert state.breakpoint_command("1") == "break 1"
    assert "●" in stages_text(state_after("until 0", "break nonfinite", "break 1"))


def test_a_line_or_an_op_stands_inside_its_module_after_the_parts_that_ran():
    state = state_after("until 1.input_layernorm", "set depth line", "next", "step", *["next"] * 6)
    code = state.snapshot.stop.code
    assert code is not None
    assert state.snapshot.stop.stage.address.startswith("1.self_attn:")
    assert "apply_rotary_pos_emb(" in code.text
    inside = [each for each in addresses(state) if each.startswith(("1.self_attn.", "1.self_attn:"))]
    here = inside.index(state.snapshot.stop.stage.address)
    assert {each.rpartition(".")[2] for each in inside[:here]} == {"q_proj", "k_proj", "v_proj"}
    assert inside[here + 1 :] == ["1.self_attn.o_proj"]
    line = stage_row(state, state.snapshot.stop.stage.address, 100).text
    assert line.startswith("▶")
    assert f":{code.line} {code.text[:20]}" in line

    state = state_after("until 0.mlp/mul.0")
    row = stage_row(state, "0.mlp/mul.0", 100).text
    assert "/mul.0 down_proj = " in row
    assert "‖" in row
    assert "▶" not in stages_text(state_after("until 0.mlp/mul.0", "finish")).split("mul")[0].splitlines()[0]
    assert "mul.0" not in stages_text(state_after("until 0.mlp/mul.0", "finish"))


def test_what_runs_outside_the_layers_has_a_row_too():
    state = state_after("set depth line", "step")
    assert addresses(state)[1] == state.snapshot.stop.stage.address
    assert state.snapshot.stop.stage.address.startswith("forward:")
