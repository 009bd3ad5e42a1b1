"""The pane on NaN and infinity: what it shows at a stop is this stop's, it never hunts, and it fits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from rich.cells import cell_len

from llmdbg.debugger.debugger import Debugger
from llmdbg.frontends.tui.input.actions import shown_key
from llmdbg.frontends.tui.input.key_names import textual_key, typed_key
from llmdbg.frontends.tui.panes import pane_named
from llmdbg.frontends.tui.worker.seen_stages import SeenStages
from tests.frontends.tui.states import pane_lines, state_at
from tests.sessions import do, tiny_session

PANE = pane_named("nan")


def poisoned() -> Debugger:
    session = tiny_session()
    with torch.no_grad():
        session.inspector.model.get_submodule("model.layers.1.mlp.down_proj").weight[3, 2] = math.nan
    return session


def test_its_key_is_an_exclamation_mark() -> None:
    assert PANE.key == textual_key("!") and typed_key(PANE.key) == shown_key(PANE.key) == "!"


@pytest.mark.parametrize("width", [20, 36, 80])
def test_it_fits_and_says_what_this_stop_gave(width: int) -> None:
    session = tiny_session()
    do(session, "goto 0.mlp")
    lines = pane_lines(PANE, session, width)
    assert len(lines) <= 12 and all(cell_len(line) <= width for line in lines)
    assert " ".join(lines).startswith("output 0 NaN, 0 infinite absmax")
    if width > 20:
        absmax = float(session.run.event.output.abs().max())
        assert f"{absmax:.4g}" in lines[1] and "float32" in lines[1]
    assert ":info nonfinite" in " ".join(lines)


def test_every_tensor_of_a_stage_is_counted() -> None:
    session = tiny_session()
    do(session, "goto model.rotary_emb")
    lines = pane_lines(PANE, session, 60)
    assert lines[0].startswith("output[0] 0 NaN") and lines[2].startswith("output[1] 0 NaN")


def test_the_first_stop_that_was_not_finite_is_remembered_during_the_token() -> None:
    session, memory = poisoned(), SeenStages()
    do(session, "goto 1.mlp.down_proj")
    assert "NaN" in pane_lines(PANE, session, 80, memory)[0]
    do(session, "goto logits")
    assert "first seen not finite during this token: 1.mlp.down_proj" in pane_lines(PANE, session, 80, memory)


def test_the_last_hunt_stays_in_view() -> None:
    session = poisoned()
    do(session, "goto 0.mlp")
    do(session, "info nonfinite")
    said = " ".join(pane_lines(PANE, session, 36))
    assert "last search: NaN first at 1.mlp.down_proj, token 0" in said
    assert "dimension 3" in said and "weight[3, 2] is NaN" in said
    clean = tiny_session()
    do(clean, "goto 0")
    do(clean, "info nonfinite")
    assert "of token 0 (prefill) are finite" in " ".join(pane_lines(PANE, clean, 36))


def test_scores_that_were_cut_are_called_so() -> None:
    session = tiny_session(temperature=1.0, top_k=3)
    do(session, "goto sample.top_k")
    lines = pane_lines(PANE, session, 60)
    assert lines[0] == "output 0 NaN, 0 infinite, 125 cut"
    assert not any("first seen" in line for line in lines)


def test_a_processor_that_is_wrong_is_still_seen_first() -> None:
    memory, session = SeenStages(), tiny_session(temperature=0.9, top_k=3)
    do(session, "goto sample.temperature", "edit out[0, 5] = float('inf')", "goto sample.top_k")
    state_at(session, memory=memory)
    said = " ".join(pane_lines(PANE, session, 80, memory))
    assert "first seen not finite during this token: sample.top_k" in said


def test_text_of_a_model_cannot_command_the_screen() -> None:
    session = poisoned()
    do(session, "goto 0")
    do(session, "info nonfinite")
    hunt: Any = session.inspector.asked.last_answers["nonfinite"]
    assert "\x1b" not in "\n".join(pane_lines(PANE, session, 80)) and hunt.found.text == "H"
