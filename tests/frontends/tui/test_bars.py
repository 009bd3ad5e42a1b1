"""The lines around the panes."""

from dataclasses import replace

import pytest
from rich.cells import cell_len

from llmdbg.debugger.execution.stop import TokenRow
from llmdbg.frontends.tui.bars import footer_row, header_row, status_row, tab_row
from llmdbg.frontends.tui.input.actions import ACTIONS
from llmdbg.frontends.tui.panes import all_panes
from llmdbg.frontends.tui.panes.pane import PaneSlot
from llmdbg.frontends.tui.worker.snapshot import RunProgress
from tests.frontends.tui.states import state_after


def test_tabs_are_named_as_far_as_there_is_room():
    tabs = [pane for pane in all_panes() if pane.place is PaneSlot.TAB]
    assert [pane.key for pane in tabs[:6]] == ["5", "6", "7", "8", "9", "0"]
    wide = tab_row(tabs, ["attention"], 200)
    assert all(f"{pane.name}" in wide.text for pane in tabs)
    assert all(pane.name in tab_row(tabs, ["lens"], 80).text for pane in tabs)
    tight = tab_row(tabs, ["lens"], 71)
    assert tight.text.startswith("5 lens 6 attention 7 values 8 source 9 explain 0 log $ cost ! nan k")
    assert tight.text.endswith(" %"), "names are left out from the end"
    for width in (80, 48, 36):
        narrow = tab_row(tabs, ["attention"], width)
        assert cell_len(narrow.text) <= width
        assert "6 attention " in narrow.text
        assert {span.do for span in narrow.spans if span.do} == {f"show {pane.name}" for pane in tabs}
    assert "exclamation_mark" not in wide.text


def test_header():
    state = state_after("break 1", "break 0", "continue")
    for width in (80, 120):
        line = header_row(state, width).text
        assert cell_len(line) == width
        assert "prefill · token 1/4 @0 · layer 0 of 2 · ● 2" in line
    state.running = True
    assert "running · token 1/4" in header_row(state, 80).text


def test_the_header_says_what_a_step_goes_to_if_not_to_modules():
    assert "step" not in header_row(state_after("next", "set depth module"), 120).text
    fine = state_after("next", "set depth line")
    assert "· steps by line" in header_row(fine, 120).text
    assert "· lines" in header_row(fine, 80).text
    assert "· ops" in header_row(state_after("next", "set depth op"), 80).text


def test_a_narrow_header_says_the_setting_that_was_changed_first_and_counts_what_it_leaves_out():
    state = state_after("next", "next", "set temperature 0.5 top_p 0.9", "set top_k 3", temperature=0.8)
    for width in (80, 90, 120, 200):
        line = header_row(state, width).text
        assert cell_len(line) == width
        assert "top-k 3" in line
        left_out = sum(each not in line for each in ("cpu float32", "temperature 0.5", "top-p 0.9"))
        assert (f" +{left_out} " in line) == bool(left_out), line
    assert state.snapshot.changed_settings == {"top-k 3"}
    plain = state_after("next", "next", temperature=0.8)
    assert plain.snapshot.changed_settings == frozenset()
    long = replace(plain.snapshot, model="SmolLM2-135M-Instruct", sampling="temperature 0.8 · top-k 50")
    plain.arrive(replace(long, changed_settings=frozenset(("top-k 50",))))
    line = header_row(plain, 80).text
    assert line.startswith(" SmolLM2-135M-Instruct · top-k 50 +2 ")
    plain.arrive(
        replace(long, changed_settings=frozenset(("repetition penalty 1.2",)), sampling="repetition penalty 1.2")
    )
    line = header_row(plain, 76).text
    assert line.startswith(" Smol") and "… · repetition penalty 1.2 +1 " in line, "the model's name is cut before that"


@pytest.mark.parametrize(
    ("width", "what", "words"),
    [
        (80, {"unsaved": "No space left on device"}, "! not saved · "),
        (120, {"unsaved": "No space left on device"}, "not being saved · "),
        (80, {"left_out": "breakpoint 3 is left out"}, "! not all saved · "),
        (120, {"left_out": "breakpoint 3 is left out"}, "not all is saved · "),
        (120, {"unsaved": "No space left on device", "left_out": "all"}, "not being saved · "),
    ],
)
def test_the_header_says_that_the_session_is_not_saved_for_as_long_as_it_holds(width, what, words):
    state = state_after("continue")
    assert "saved" not in header_row(state, width).text
    state.arrive(replace(state.shown, **what))
    line = header_row(state, width).text
    assert words in line
    assert cell_len(line) == width


def test_a_run_from_an_end_counts_its_own_tokens_and_not_the_old_ones():
    state = state_after("continue")
    old = state.snapshot.tokens[-4:]
    state.running = True
    assert "running · token" not in header_row(state, 80).text
    assert "4 tokens" not in status_row(state, 80).text
    state.run = RunProgress(tokens=old[:1])
    assert "running · token 2/4" in header_row(state, 80).text
    assert "1 token of at most 4 ·" in status_row(state, 80).text


def test_a_run_shows_how_far_it_is():
    state = state_after()
    state.running, state.run = True, RunProgress(layer=1, layers=2)
    line = status_row(state, 80).text
    assert "prefill" in line
    assert "layer 1 of 2" in line
    assert "█" * 12 in line
    state.run = RunProgress((TokenRow(11, 5, "x", "x", False, 0),), (0.5,))
    assert "1 token of at most 4 ·" in status_row(state, 80).text


def test_while_another_run_is_opened_its_name_is_said():
    state = state_after()
    state.running, state.run = True, RunProgress(opening="smollm2 \x1b[2J --dtype float32")
    line = status_row(state, 40).text
    assert line.startswith(" opening smollm2 ")
    assert "\x1b" not in line
    assert cell_len(line) <= 40


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_the_footer_fits_and_comes_from_the_actions(width):
    footer = footer_row(ACTIONS, width).text
    assert cell_len(footer) <= width
    if width >= 80:
        assert all(
            word in footer for word in ("s into", "n over", "f out", "c continue", "b break", "? help", "q quit")
        )
