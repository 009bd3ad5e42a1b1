"""Rows of text as values."""

import pytest
from rich.cells import cell_len

from llmdbg.frontends.tui.overlay import text_rows
from llmdbg.frontends.tui.widgets.rows import Row, bar_of, changed_cells, fitted, row, wrapped
from tests.frontends.tui.states import text


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


def test_bars_and_fitting():
    assert bar_of(1.0, 4) == "████"
    assert bar_of(0.5, 4) == "██  "
    assert bar_of(float("nan"), 4) == "    "
    assert fitted("abcdef", 4) == "abc…"
    assert fitted("日本語", 4) == "日 …"
    assert wrapped("one two three", 7) == ["one two", "three"]
    assert wrapped("abcdefghij", 4) == ["abcd", "efgh", "ij"]
    assert wrapped("", 4) == [""]
    assert wrapped("    if key in d:", 12) == ["    if key", "in d:"]
    assert wrapped("  ", 4) == ["  "]
    assert wrapped('it says " is" or " "', 9) == ["it says", '" is" or', '" "'], (
        "a space that is quoted stays in its quotes"
    )
    assert wrapped('ends in "', 9) == ['ends in "']
    assert all(cell_len(line) <= 5 for line in wrapped("日本語日本語 a", 5))
    assert text(text_rows("a\n\nb", 10)) == "a\n\nb"
