"""The lens pane: what each layer would say, readable at any width, and asked for only while it is in view."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.frontends.tui.panes import pane_named
from tests.frontends.tui.states import pane_lines, state_at
from tests.sessions import do, tiny_session

PANE = pane_named("lens")


def at(line: str, name: str = "llama") -> Debugger:
    session = tiny_session(name)
    do(session, line)
    return session


@pytest.mark.parametrize("width", [20, 36, 50, 80, 118])
def test_it_fits_any_width(width: int) -> None:
    lines = pane_lines(PANE, at("goto sample@2"), width)
    assert all(cell_len(line) <= max(width, 30) for line in lines)
    assert [line.split()[0] for line in lines if line.strip().startswith(("logits", "1 ", "0 ", "embed"))] == [
        "logits", "1", "0", "embed"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("width", "count", "words"),
    [
        (36, 6, "4 more candidates, attn and mlp"),
        (60, 4, "4 more candidates"),
        (71, 3, "3 more candidates"),
        (180, 0, ""),
    ],
)
def test_columns_without_room_are_counted_and_named(width: int, count: int, words: str) -> None:
    lines = pane_lines(PANE, at("goto logits@1"), width)
    title = next(line for line in lines if "likeliest" in line)
    assert (f"likeliest +{count}" in title) == bool(count)
    said = f"+{count}: {words} have no room here; z zooms"
    assert (said in " ".join(" ".join(lines).split())) == bool(count)


def test_its_numbers_are_the_answers() -> None:
    session = at("goto logits@1")
    table, added = TOPICS["lens"].ask(session.inspector, ""), TOPICS["attribution"].ask(session.inspector, "")
    lines = pane_lines(PANE, session, 60)
    for row in table.rows:
        line = next(line for line in lines if line.split()[0] == row.address)
        assert f"{100 * row.top[0].prob:.0f}%" in line
        assert f"#{row.followed[0].rank:,}" in line
    for layer in (0, 1):
        line = next(line for line in lines if line.split()[0] == str(layer))
        values = {term.what: term.value for term in added.terms if term.layer == layer}
        assert line.split()[-2:] == [f"{values['attention']:+.2f}", f"{values['mlp']:+.2f}"]


def test_a_followed_token_is_followed_until_told_otherwise() -> None:
    session = at("goto 1@1")
    do(session, 'info lens "a"')
    assert '"a"' in "\n".join(pane_lines(PANE, session)[:2])
    do(session, "goto logits@1")
    assert '"a"' in "\n".join(pane_lines(PANE, session)[:2])
    prediction = session.stop.candidates
    assert prediction is not None
    do(session, "info lens")
    assert repr(prediction.rows[0].text)[1:-1] in "\n".join(pane_lines(PANE, session)[:2])


def test_a_model_without_a_lens_says_so_in_a_sentence() -> None:
    lines = pane_lines(PANE, at("goto logits", "modernbert_decoder"), 36)
    assert "no lens" in " ".join(lines)


def test_before_anything_has_run_it_says_what_it_will_read() -> None:
    assert "nothing has run yet" in " ".join(pane_lines(PANE, tiny_session()))


def test_a_mixer_has_a_column_of_its_own() -> None:
    lines = pane_lines(PANE, at("goto logits@1", "mamba"), 60)
    title = next(line for line in lines if "likeliest" in line)
    assert "other" in title
    assert "attn" not in title


def test_while_it_is_in_view_the_candidates_before_logits_are_the_lenss() -> None:
    session = at("goto 1@1")
    candidates = pane_named("candidates")
    assert "begin at `logits`" in " ".join(row.text for row in candidates.draw(state_at(session), 36, 20))
    lines = [row.text for row in candidates.draw(state_at(session, "lens"), 36, 20)]
    top = TOPICS["lens"].ask(session.inspector, "").rows[-1].top
    assert lines[0].startswith("if it stopped after 1 (lens)")
    assert [f"{100 * each.prob:.1f}%" in line for each, line in zip(top, lines[1 : 1 + len(top)], strict=True)] == [
        True
    ] * len(top)
