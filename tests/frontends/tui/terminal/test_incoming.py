"""What the terminal sends, before Textual hears of it: pastes and answers, cut anywhere."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdbg.frontends.tui.input.prompt import one_line
from llmdbg.frontends.tui.terminal.incoming import Incoming, is_light

BEGIN, END = "\x1b[200~", "\x1b[201~"
ANSWER = "\x1b]11;rgb:ffff/fafa/0000\x1b\\"


def passed(*pieces, expecting=False):
    told: list[str] = []
    incoming = Incoming(told.append, expecting=expecting)
    return "".join(incoming.take(piece) for piece in pieces), told


@given(st.lists(st.integers(0, 60)))
def test_a_paste_is_one_wherever_it_is_cut(cuts):
    text = f"\x1b[Ab{BEGIN}one\x1b[31m\ntwo\x1b{END}\x1b[B{BEGIN}{END}c"
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[first:last] for first, last in pairwise(edges)]

    assert passed(*pieces) == (f"\x1b[Ab{BEGIN}one␛[31m\ntwo␛{END}\x1b[B{BEGIN}{END}c", [])


@given(st.lists(st.integers(0, 60)), st.sampled_from([ANSWER, ANSWER.replace("\x1b\\", "\x07")]))
def test_an_answer_is_told_and_not_typed_wherever_it_is_cut(cuts, answer):
    text = f"a\x1b[A{answer}\x1b]b"
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[first:last] for first, last in pairwise(edges)]

    assert passed(*pieces, expecting=True) == ("a\x1b[A\x1b]b", ["rgb:ffff/fafa/0000"])


def test_keys_wait_only_while_an_answer_may_come():
    assert passed("\x1b") == ("\x1b", [])
    assert passed("\x1b]") == ("\x1b]", [])
    incoming = Incoming(lambda _: None, expecting=True)
    assert incoming.take("x\x1b") == "x"
    assert incoming.waited() == "\x1b"
    assert incoming.waited() == ""
    incoming.take(ANSWER)
    assert incoming.take("\x1b") == "\x1b", "one answer is all there is"


def test_a_late_answer_is_not_typed_either():
    assert passed(f"a{ANSWER}b") == ("ab", ["rgb:ffff/fafa/0000"])


def test_a_paste_that_has_not_ended_is_waited_for():
    incoming = Incoming(lambda _: None)
    assert incoming.take(f"{BEGIN}one\x1b[201") == f"{BEGIN}one"
    assert incoming.waited() == ""
    assert incoming.take("~c") == f"{END}c"


@pytest.mark.parametrize(
    ("color", "light"),
    [
        ("rgb:ffff/ffff/ffff", True),
        ("rgb:fd/f6/e3", True),
        ("rgba:0000/0000/0000/ffff", False),
        ("rgb:1a1a/1c1c/2020", False),
        ("rgb:f/f/0", True),
        ("rgb:00/00/ff", False),
        ("#ffffff", None),
        ("", None),
        ("rgb:fffff/0/0", None),
    ],
)
def test_light_and_dark(color, light):
    assert is_light(color) is light


def test_what_is_pasted_becomes_one_line_of_data():
    assert one_line("until 1\r\nnext\tx\ry\x1b[0m\u202e") == "until 1 next x y␛[0m‹U+202E›"
    assert one_line("日本 é") == "日本 é"
