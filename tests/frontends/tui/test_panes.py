"""What the panes show, from snapshots of real sessions, with no screen."""

import pytest
from rich.cells import cell_len

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.stop import TokenRow
from llmdbg.frontends.tui.actions import ACTIONS
from llmdbg.frontends.tui.panes.answer import answer_rows, text_rows
from llmdbg.frontends.tui.panes.bars import footer_row, header_row, help_rows, loading_rows
from llmdbg.frontends.tui.panes.candidates import bar_of, candidate_rows
from llmdbg.frontends.tui.panes.stages import stage_rows, visible_stages
from llmdbg.frontends.tui.panes.tensor import tensor_rows
from llmdbg.frontends.tui.panes.tokens import TokenFlow, described, drawn
from llmdbg.frontends.tui.rows import fitted, wrapped
from llmdbg.frontends.tui.sentences import sentence
from llmdbg.frontends.tui.snapshot import Memory, snapshot
from llmdbg.models.spec import LoadProgress
from tests.sessions import tiny_session


def shown_after(*lines, **settings):
    """The snapshot after some commands, every stop on the way remembered."""
    session, memory = tiny_session(**settings), Memory()
    shown = snapshot(session, memory)
    for line in lines:
        COMMANDS.run(session, line)
        shown = snapshot(session, memory)
    return shown


def text(rows):
    return "\n".join(row.text for row in rows)


def stages_text(shown, width=40):
    return text(stage_rows(shown, visible_stages(shown, set()), shown.stop.stage.address, width))


def test_stages_fold_all_layers_but_the_one_the_run_is_inside_of():
    assert "mlp" not in stages_text(shown_after())
    inside = stages_text(shown_after("until 1.self_attn.q_proj"))
    assert "▶" in inside
    assert inside.count("q_proj") == 1
    assert inside.count("mlp") == 1
    assert "gate_proj" not in inside


def test_unfolded_layers_show_all_their_modules():
    shown = shown_after()
    stages = visible_stages(shown, {0})
    assert "0.mlp.gate_proj" in [stage.address for stage in stages]
    assert "1.mlp" not in [stage.address for stage in stages]


def test_stages_remember_what_was_seen_of_this_token_only():
    rows = stages_text(shown_after("next", "next")).splitlines()
    assert "ms" in rows[1]
    assert "‖" in rows[2]
    assert "ms" not in rows[3]
    assert "‖" not in stages_text(shown_after("next", "next", "token", "next")).splitlines()[2]


def test_modules_are_listed_in_the_order_they_ran():
    shown = shown_after("n", *["s"] * 20)
    order = [stage.address for stage in visible_stages(shown, {0}) if stage.layer == 0]

    assert order.index("0.input_layernorm") < order.index("0.self_attn.q_proj") < order.index("0.self_attn")
    assert order.index("0.self_attn") < order.index("0.post_attention_layernorm") < order.index("0.mlp")
    assert order[-1] == "0"


def test_an_order_seen_from_the_end_is_still_the_right_one():
    shown = shown_after("until 0.mlp", "token", "until 0.input_layernorm", "until 0.self_attn")
    order = [stage.address for stage in visible_stages(shown, {0}) if stage.layer == 0]

    assert order.index("0.input_layernorm") < order.index("0.self_attn") < order.index("0.mlp")


def test_breakpoints_are_marked():
    rows = stages_text(shown_after("break 1", "break 0", "disable 2")).splitlines()
    assert rows[3].split() == ["●", "1"]
    assert rows[2].split() == ["○", "0"]


@pytest.mark.parametrize("place", ["next", "until 0.self_attn", "until logits", "token", "continue"])
@pytest.mark.parametrize("width", [12, 36, 60])
def test_no_row_is_wider_than_the_pane(place, width):
    shown = shown_after(place, temperature=0.8, top_k=5)
    stages = visible_stages(shown, {0})
    rows = [
        *stage_rows(shown, stages, "0", max(width, 26)),
        *answer_rows(shown, "", width),
        *TokenFlow().lay_out(shown.tokens, width, 3),
    ]
    if width >= 36:
        rows += [*tensor_rows(shown, width), *candidate_rows(shown, width), *help_rows(width)]
    for row in rows:
        assert cell_len(row.text) <= max(width, 26), row.text


def test_the_tensor_pane_shows_whole_and_focus():
    rows = text(tensor_rows(shown_after("until 0.mlp"), 40))
    assert "0.mlp" in rows
    assert "1×11×32 float32 cpu" in rows
    assert "position 10" in rows


def test_at_tokenize_the_tensor_pane_is_the_token_table():
    rows = text(tensor_rows(shown_after(), 40))
    assert "11 tokens" in rows
    assert "     72  H" in rows


def test_candidates_before_and_after_a_processor():
    rows = text(candidate_rows(shown_after("until sample.top_k", temperature=0.8, top_k=5), 50))
    assert "top_k cut 123" in rows
    assert "before" in rows
    assert rows.count(" cut") >= 5
    assert "f goes there" in text(candidate_rows(shown_after("next"), 80))


def test_the_chosen_candidate_is_marked():
    shown = shown_after("token")
    marked = [row.text for row in candidate_rows(shown, 50) if row.text.startswith("▶")]
    assert len(marked) == 1


def test_the_token_flow_continues_where_it_was():
    flow = TokenFlow()
    tokens = shown_after("continue", max_new_tokens=8).tokens
    for count in range(1, len(tokens) + 1):
        rows = flow.lay_out(tokens[:count], 7, None)
        assert rows == TokenFlow().lay_out(tokens[:count], 7, None)


def hostile(text, special=False):
    return TokenRow(0, 1, text, text, special, None)


@pytest.mark.parametrize("text", ["\x1b[2J", "\u202e", "[bold]", "\x00", "a\nb"])
def test_hostile_tokens_are_drawn_not_obeyed(text):
    for shown in (drawn(hostile(text)), drawn(hostile(text, special=True)), described(hostile(text))):
        assert not set(shown) & {"\x1b", "\u202e", "\x00", "\n"}


def test_header():
    shown = shown_after("break 1", "break 0", "continue")
    for width in (80, 120):
        line = header_row(shown, 0, False, width).text
        assert cell_len(line) == width
        assert "prefill · token 1/4 · layer 0 of 2 · ● 2" in line
    assert "running · token 7" in header_row(shown, 7, True, 80).text


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_the_footer_fits_and_comes_from_the_actions(width):
    footer = footer_row(width).text
    assert cell_len(footer) <= width
    if width >= 80:
        assert all(
            word in footer for word in ("s into", "n over", "f out", "c continue", "b break", "? help", "q quit")
        )


def test_help_names_every_action():
    rows = text(help_rows(200))
    for action in ACTIONS:
        assert action.help in rows
        assert action.shown_keys in rows


def test_loading():
    rows = text(loading_rows("smollm2", LoadProgress("reading", 250_000_000, 500_000_000), 80, 20))
    assert "reading …" in rows
    assert "250.0 MB of 500.0 MB" in rows
    assert "█" in rows


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "cut into 11 tokens"),
        (["next"], "vector of 32 numbers"),
        (["until 1"], "layer 1 has added"),
        (["until 1.mlp.up_proj"], "up_proj has run, a part of mlp in layer 1"),
        (["until norm"], "scaled"),
        (["until logits"], "scores"),
        (["until sample.top_k"], "top_k has cut 123 tokens: 5 may still be chosen"),
        (["token"], "the next token is chosen"),
        (["continue"], "the length asked for is reached: 4 tokens"),
    ],
)
def test_a_sentence_for_every_stage(lines, words):
    assert words in sentence(shown_after(*lines, temperature=0.8, top_k=5))


def test_bars_and_fitting():
    assert bar_of(1.0, 4) == "████"
    assert bar_of(0.5, 4) == "██  "
    assert bar_of(float("nan"), 4) == "    "
    assert fitted("abcdef", 4) == "abc…"
    assert fitted("日本語", 4) == "日 …" or cell_len(fitted("日本語", 4)) == 4
    assert wrapped("one two three", 7) == ["one two", "three"]
    assert wrapped("abcdefghij", 4) == ["abcd", "efgh", "ij"]
    assert wrapped("", 4) == [""]
    assert all(cell_len(line) <= 5 for line in wrapped("日本語日本語 a", 5))
    assert text(text_rows("a\n\nb", 10)) == "a\n\nb"
