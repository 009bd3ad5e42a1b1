"""The cost pane: cheap numbers at every stop, the last measurement below, and nothing measured by looking."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.cells import cell_len

from llmdbg.formatting import byte_count
from llmdbg.frontends.tui.input.actions import shown_key
from llmdbg.frontends.tui.input.key_names import textual_key, typed_key
from llmdbg.frontends.tui.panes import pane_named
from llmdbg.frontends.tui.worker.seen_stages import SeenStages
from tests.frontends.tui.states import pane_lines
from tests.sessions import do, tiny_session

PANE = pane_named("cost")


def test_its_key_is_a_dollar_sign() -> None:
    assert PANE.key == textual_key("$") and typed_key(PANE.key) == shown_key(PANE.key) == "$"


@pytest.mark.parametrize("width", [20, 36, 80])
@pytest.mark.parametrize("line", ["goto 0.mlp", "goto sample@1", ""])
def test_it_fits_before_and_after_a_measurement(width: int, line: str) -> None:
    session = tiny_session()
    if line:
        do(session, line)
    for _ in range(2):
        lines = pane_lines(PANE, session, width)
        assert all(cell_len(each) <= max(width, 28) for each in lines)
        do(session, "info cost")


def test_what_is_cheap_is_this_stops() -> None:
    session, memory = tiny_session(), SeenStages()
    do(session, "step")
    do(session, "step")
    pane_lines(PANE, session, 60, memory)
    do(session, "goto 1@1")
    lines = pane_lines(PANE, session, 60, memory)
    assert lines[0] == f"{session.stop.ms:.2f} ms  1"
    held = sum(each.keys.nbytes + each.values.nbytes for each in session.debuggee.cache.layers)
    assert lines[1].startswith(f"KV cache {byte_count(held)} +")
    assert "seen during this token, watched" in lines and ":info cost" in " ".join(lines)


def test_the_last_measurement_says_of_which_token_it_is() -> None:
    session = tiny_session()
    do(session, "goto 1@2")
    do(session, "info cost")
    do(session, "goto 0.mlp@3")
    lines = pane_lines(PANE, session, 60)
    cost = session.inspector.asked.last_answers["cost"]
    assert f"{cost.alone.ms:.1f} ms" in " ".join(lines) and "decode, token 2, alone" in " ".join(lines)
    layers = next(each for each in cost.outline if each.name == "layers")
    assert any(line.startswith(f"{layers.ms:8.2f}") and line.rstrip().endswith("layers") for line in lines)
    assert any("· mlp" in line for line in lines)
    session.inspector.asked.last_answers["cost"] = replace(cost, notes=("not to be relied on",))
    assert pane_lines(PANE, session, 36).index("not to be relied on") < 8
