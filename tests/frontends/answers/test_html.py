"""Answers as HTML: what a terminal shows, as tables, and nothing that a browser would obey."""

from __future__ import annotations

import pytest

from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.frontends.answers import answer_lines, writers
from llmdbg.frontends.answers.html import as_html
from llmdbg.frontends.answers.tables import Column, Table
from tests.html_fragments import read_fragment
from tests.sessions import do, tiny_session

HOSTILE = '<script>alert("1")</script>&lt;\x1b[31m\u202e\x00\n<b'
HARMLESS = '<script>alert("1")</script>&lt;␛[31m‹U+202E›␀⏎<b'


def test_text_and_tables_come_in_their_order() -> None:
    table = Table((Column("n"), Column("word", left=True)), ((1, "one"), (2, None)), "a title")
    html = as_html(["before", "more", table, "after"])

    shown = read_fragment(html)
    assert shown.lines == ["before", "more", "after"]
    assert shown.captions == ["a title"]
    assert shown.tables == [[["n", "word"], ["1", "one"], ["2", ""]]]
    assert html.index("before") < html.index("a title") < html.index("after")


def test_numbers_are_written_as_in_text_and_stand_on_the_right() -> None:
    html = as_html([Table((Column("share", "{:.1%}".format), Column("word", left=True)), ((0.12345, "a"),))])

    assert read_fragment(html).tables[0][1] == ["12.3%", "a"]
    assert 'text-align:right;white-space:pre">12.3%' in html
    assert 'text-align:left;white-space:pre">a' in html


def test_what_a_model_wrote_is_data_everywhere() -> None:
    html = as_html([HOSTILE, Table((Column(HOSTILE),), ((HOSTILE,),), HOSTILE)])

    shown = read_fragment(html)
    assert shown.lines == [HARMLESS]
    assert shown.tables == [[[HARMLESS], [HARMLESS]]]
    assert shown.captions == [HARMLESS]
    assert "\x1b" not in html
    assert "\u202e" not in html


def test_a_long_table_and_a_long_text_are_shown_without_their_middle() -> None:
    table = Table((Column("n"),), tuple((n,) for n in range(1000)))
    shown = read_fragment(as_html([*map(str, range(5000)), table]))

    assert len(shown.lines) == 81
    assert shown.lines[58:62] == ["58", "59", "… 4,920 more lines …", "4980"]
    assert len(shown.tables[0]) == 82
    assert shown.tables[0][59:63] == [["58"], ["59"], ["… 920 more rows …"], ["980"]]


def test_what_just_fits_is_whole() -> None:
    shown = read_fragment(as_html([Table((Column("n"),), tuple((n,) for n in range(80)))]))
    assert [row[0] for row in shown.tables[0][1:]] == [str(n) for n in range(80)]


def test_nothing_is_an_empty_fragment() -> None:
    assert read_fragment(as_html([])).lines == []


@pytest.mark.parametrize("topic", TOPICS)
def test_every_answer_shows_what_its_lines_say(topic: str) -> None:
    session = tiny_session(text="<b>&amp;")
    do(session, "break 1 if norm > 1")
    do(session, "scale 0.mlp 2")
    do(session, "goto logits")
    data = do(session, f"info {topic}").data
    fragment = read_fragment(as_html(writers.blocks(data)))

    shown = " ".join([*fragment.lines, *(cell for table in fragment.tables for row in table for cell in row)]).split()
    lines = answer_lines(data)
    said = " ".join(lines).split()
    assert sorted(shown) == sorted(said) if len(lines) < 60 else set(shown) <= {*said, "…", "more", "lines"}
    session.close()
