"""What the panes show, from snapshots of real sessions, with no screen."""

import pytest
from rich.cells import cell_len

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.execution.stop import TokenRow
from llmdbg.frontends.tui.input.actions import ACTIONS
from llmdbg.frontends.tui.layout import View, in_view
from llmdbg.frontends.tui.panes import all_panes, pane_named
from llmdbg.frontends.tui.panes.pane import PaneSlot
from llmdbg.frontends.tui.panes.tokens import TokenFlow, TokenMode, described, drawn, surprise
from llmdbg.frontends.tui.screen_state import RunProgress, ScreenState
from llmdbg.frontends.tui.sentences import sentence
from llmdbg.frontends.tui.widgets.answer import answer_rows, text_rows
from llmdbg.frontends.tui.widgets.bars import footer_row, header_row, help_rows, loading_rows, status_row, tab_row
from llmdbg.frontends.tui.widgets.rows import Row, bar_of, changed_cells, column_of, fitted, row, wrapped
from llmdbg.frontends.tui.worker.snapshot import SeenStages, snapshot
from llmdbg.models.spec import LoadProgress
from tests.sessions import answered, tiny_session


def state_after(*lines, **settings):
    """The screen's state after some commands, every stop on the way remembered and every pane asked for."""
    session, memory = tiny_session(**settings), SeenStages()
    session.run.on_token = lambda *_: None
    state = ScreenState("tiny")
    for line in (None, *lines):
        if line is not None:
            COMMANDS.run(session, line)
        asked = {pane.name: answered(pane.question, session) for pane in all_panes() if pane.question}
        state.arrive(snapshot(session, memory, asked))
    return state


def shown_after(*lines, **settings):
    return state_after(*lines, **settings).snapshot


def test_tabs_are_named_as_far_as_there_is_room():
    tabs = [pane for pane in all_panes() if pane.place is PaneSlot.TAB]
    assert [pane.key for pane in tabs[:6]] == ["5", "6", "7", "8", "9", "0"]
    wide = tab_row(tabs, "attention", 200)
    assert all(f"{pane.name}" in wide.text for pane in tabs)
    assert all(pane.name in tab_row(tabs, "lens", 71).text for pane in tabs)
    for width in (80, 48, 36):
        narrow = tab_row(tabs, "attention", width)
        assert cell_len(narrow.text) <= width
        assert "6 attention " in narrow.text
        assert {span.do for span in narrow.spans if span.do} == {f"show {pane.name}" for pane in tabs}
    assert "exclamation_mark" not in wide.text


def text(rows):
    return "\n".join(row.text for row in rows)


def drawn_pane(name, state, width, height=40):
    return list(pane_named(name).draw(state, width, height))


def stages_text(state, width=40):
    return text(drawn_pane("stages", state, width))


def addresses(state):
    return [stage.address for stage in state.stages()]


def test_stages_fold_all_layers_but_the_one_the_run_is_inside_of():
    assert "mlp" not in stages_text(state_after())
    inside = stages_text(state_after("until 1.self_attn.q_proj"))
    assert "▶" in inside
    assert inside.count("q_proj") == 1
    assert inside.count("mlp") == 1
    assert "gate_proj" not in inside


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


def test_stages_remember_what_was_seen_of_this_token_only():
    rows = stages_text(state_after("next", "next")).splitlines()
    assert "ms" in rows[1]
    assert "‖" in rows[2]
    assert "ms" not in rows[3]
    assert "‖" not in stages_text(state_after("next", "next", "token", "next")).splitlines()[2]


def test_a_bar_says_how_large_and_how_slow():
    line = stages_text(state_after("until 1"), 60).splitlines()[3]
    assert sum(character in "▁▂▃▄▅▆▇█" for character in line) == 2
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


@pytest.mark.parametrize("place", ["next", "until 0.self_attn", "until logits", "token", "continue"])
@pytest.mark.parametrize("width", [12, 34, 60, 118])
def test_no_row_is_wider_than_the_pane(place, width):
    state = state_after(place, temperature=0.8, top_k=5)
    state.fold("0")
    rows = [*answer_rows(state.snapshot, "", width), *drawn_pane("tokens", state, width)]
    if width >= 34:
        names = {pane.name for pane in all_panes()} - {"source", "log"}
        rows += [line for name in names for line in drawn_pane(name, state, width) if name != "values" or width > 100]
        rows += [status_row(state, width)]
        for mode in TokenMode:
            state.token_mode = mode
            rows += drawn_pane("tokens", state, width)
    for line in rows:
        assert cell_len(line.text) <= width, line.text


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


def test_values_source_and_explain():
    state = state_after("until 0.mlp")
    values = text(drawn_pane("values", state, 100))
    assert values.startswith("0.mlp[0, 10] float32[1, 11, 32]\n32 values, min ")
    assert len(values.splitlines()) == 2 + 6
    source = text(drawn_pane("source", state, 100))
    assert source.startswith("LlamaMLP  modeling_llama.py:")
    assert "def forward(self, x)" in source
    assert "part of layer 0" in text(drawn_pane("explain", state, 100))
    assert "no numbers" not in text(drawn_pane("values", state_after(), 100)), "ids are numbers too"
    assert "no module" in text(drawn_pane("source", state_after(), 100))


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


def test_a_click_knows_what_it_hit():
    state = state_after()
    line = drawn_pane("tokens", state, 200)[0]
    assert line.clicked(0) == "focus 0"
    assert line.clicked(3) == "focus 3"
    rows = drawn_pane("stages", state, 40)
    assert rows[2].clicked(0) == "breakpoint 0"
    assert rows[2].clicked(2) == "fold 0"
    assert rows[2].clicked(30) == "select 0"


@pytest.mark.parametrize(
    ("before", "after", "cells"),
    [
        (row("a", "b"), row("a", "b"), None),
        (row("aa", "b", "c"), row("aa", "x", "c"), (2, 3)),
        (row("aa", ("b", "dim")), row("aa", ("b", "bad")), (2, 3)),
        (row("aa", "b"), row("aa", "bcd"), (2, 5)),
        (row("日本", "b"), row("日本", "c"), (4, 5)),
        (Row(), row("abc"), (0, 3)),
    ],
)
def test_only_the_cells_that_changed_are_painted(before, after, cells):
    assert changed_cells(before, after) == cells


@pytest.mark.parametrize("zoomed", [False, True])
@pytest.mark.parametrize("size", [(60, 20), (80, 24), (100, 24), (120, 40), (250, 70)])
def test_the_pane_that_has_the_keys_is_in_view_at_every_size(size, zoomed):
    panes = all_panes()
    tabs = {pane.name for pane in panes if pane.place is PaneSlot.TAB}
    for pane in panes:
        tab = pane.name if pane.name in tabs else "explain"
        side = "tensor" if pane.name in ("tokens", "stages") else pane.name
        seen = in_view(panes, View(pane.name, side, tab, zoomed), *size)
        assert pane.name in seen
        assert len(seen & tabs) <= 1
        assert not zoomed or len(seen) == 1


def hostile(text, special=False):
    return TokenRow(0, 1, text, text, special, None)


@pytest.mark.parametrize("text", ["\x1b[2J", "\u202e", "[bold]", "\x00", "a\nb"])
def test_hostile_tokens_are_drawn_not_obeyed(text):
    for shown in (drawn(hostile(text)), drawn(hostile(text, special=True)), described(hostile(text))):
        assert not set(shown) & {"\x1b", "\u202e", "\x00", "\n"}


def test_header():
    state = state_after("break 1", "break 0", "continue")
    for width in (80, 120):
        line = header_row(state, width).text
        assert cell_len(line) == width
        assert "prefill · token 1/4 @0 · layer 0 of 2 · ● 2" in line
    state.running = True
    assert "running · token 1/4" in header_row(state, 80).text


def test_a_run_shows_how_far_it_is():
    state = state_after()
    state.running, state.run = True, RunProgress(layer=1, layers=2)
    line = status_row(state, 80).text
    assert "prefill" in line
    assert "layer 1 of 2" in line
    assert "█" * 12 in line
    state.run = RunProgress((TokenRow(11, 5, "x", "x", False, 0),), (0.5,))
    assert "token 1 of at most 4" in status_row(state, 80).text


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_the_footer_fits_and_comes_from_the_actions(width):
    footer = footer_row(ACTIONS, width).text
    assert cell_len(footer) <= width
    if width >= 80:
        assert all(
            word in footer for word in ("s into", "n over", "f out", "c continue", "b break", "? help", "q quit")
        )


def test_help_names_every_action():
    rows = text(help_rows(ACTIONS, 200))
    for action in ACTIONS:
        assert action.help in rows or not action.keys
        assert action.shown_keys in rows


def test_loading():
    rows = text(loading_rows("smollm2", LoadProgress("reading", 250 * 2**20, 500 * 2**20), 80, 20))
    assert "reading …" in rows
    assert "250 MiB of 500 MiB" in rows
    assert "█" in rows


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


def test_bars_and_fitting():
    assert bar_of(1.0, 4) == "████"
    assert bar_of(0.5, 4) == "██  "
    assert bar_of(float("nan"), 4) == "    "
    assert fitted("abcdef", 4) == "abc…"
    assert fitted("日本語", 4) == "日 …" or cell_len(fitted("日本語", 4)) == 4
    assert wrapped("one two three", 7) == ["one two", "three"]
    assert wrapped("abcdefghij", 4) == ["abcd", "efgh", "ij"]
    assert wrapped("", 4) == [""]
    assert wrapped("    if key in d:", 12) == ["    if key", "in d:"]
    assert wrapped("  ", 4) == ["  "]
    assert all(cell_len(line) <= 5 for line in wrapped("日本語日本語 a", 5))
    assert text(text_rows("a\n\nb", 10)) == "a\n\nb"


def stage_row(state, address, width=60):
    return drawn_pane("stages", state, width)[addresses(state).index(address)]


def looks(state, address):
    """How a stage's name is drawn."""
    return stage_row(state, address).spans[3].style


def test_parts_stand_in_a_bracket_that_their_stage_closes():
    state = state_after("until 0.input_layernorm", *["s"] * 12, "until 1.self_attn.q_proj")
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
    assert "as the model lists them" in state.unfolded_parts("0")
    stepped = state_after("until 0.input_layernorm", *["s"] * 12)
    stepped.fold("1", unfolded=True)
    assert "┊" not in stages_text(stepped)
    assert stepped.unfolded_parts("1") == ""


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


@pytest.mark.parametrize(
    ("lines", "address", "words"),
    [
        ([], "tokenize", "every run begins there"),
        ([], "0", "still to come for this token"),
        (["until 1"], "1", "hit next at token 2"),
        (["until 1"], "0", "it has passed for this token, hit next at token 2"),
        (["until 1"], "0.mlp", "hit next at token 2"),
        (["until 1"], "*", "still to come"),
        (["until 1"], "norm", "still to come"),
        (["until 1"], "0@0", "does not come again in this run"),
        (["until 1"], "0@2", "hit next at token 3"),
        (["until 1.self_attn"], "1.mlp", "hit when it runs next"),
        (["until 1.self_attn"], "1.self_attn.q_proj", "hit next at token 2"),
        (["until 0.input_layernorm", *["s"] * 12, "until 1.self_attn"], "1.mlp.up_proj", "still to come"),
        (["until 0.input_layernorm", *["s"] * 12, "until 1.self_attn"], "1.input_layernorm", "hit next at token 2"),
        (["token 3", "until 1"], "0", "does not come again in this run"),
        (["continue"], "0", "this run is over"),
    ],
)
def test_a_breakpoint_says_when_it_will_be_hit(lines, address, words):
    before = shown_after(*lines)
    state = state_after(*lines, f"break {address}")
    assert words in state.when_hit(before)
    assert state.when_hit(state.snapshot) == "", "nothing is said of those that were there"


def test_a_breakpoint_that_waited_in_vain_is_told_at_the_end():
    state = state_after("until 1", "break 0@0", "continue")
    assert "breakpoint 1 (0@0) was never hit" in sentence(state.snapshot)
    assert "the run ended without that stage" in text(drawn_pane("explain", state, 200))
    assert "never hit" not in sentence(
        shown_after("until 1", "break 0@0", "break 1@0", "disable 1", "delete 2", "continue")
    )
    assert "2 breakpoints were never hit" in sentence(shown_after("until 1", "break 0@0", "break 1@0", "continue"))
    assert "never hit" not in sentence(shown_after("break 0", "continue", "continue 9"))


def test_conditions_and_watches_are_told_as_what_they_are():
    before = shown_after("until 1")
    assert state_after("until 1", "break 0 if norm > 0").when_hit(before).endswith("token 2, if its condition holds")
    assert state_after("until 1", "trace 0 norm").when_hit(before) == ""
    ended = shown_after("break 0 if norm < 0", "continue")
    assert "breakpoint 1 (0) was never hit" in sentence(ended)
    assert "its condition never held" in text(
        drawn_pane("explain", state_after("break 0 if norm < 0", "continue"), 200)
    )


def test_what_has_been_gone_back_over_is_still_to_come():
    state = state_after("until 1", "reverse-step")
    assert state.snapshot.stop.stage.layer in (0, 1)
    assert looks(state, "1") == "dim"
    assert "still to come" in state_after("until 1", "reverse-next", "break 1").when_hit(shown_after("until 1"))


@pytest.mark.parametrize(
    ("line", "there_are"),
    [
        ("", False),
        ("next", True),
        ("until 0.mlp", True),
        ("until norm", True),
        ("until logits", True),
        ("token", False),
    ],
)
def test_explain_speaks_of_statistics_only_where_there_are_some(line, there_are):
    rows = text(drawn_pane("explain", state_after(*([line] if line else ()), temperature=0.8, top_k=5), 200))
    assert ("The statistics describe" in rows) == there_are
    assert ("Next comes the prefill" in rows) == (not line)


def test_explain_names_the_position_the_statistics_are_of():
    rows = text(drawn_pane("explain", state_after("token", "focus 3", "next"), 200))
    assert "The statistics describe position 11:" in rows
    assert "Position 3 does not go through the model now." in rows
