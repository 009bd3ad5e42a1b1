"""What `print` shows costs what it shows, whatever it is of."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdbg.debugger.inspection.bounded_repr import bounded_repr
from llmdbg.debugger.user_code import _PrintedLines
from tests.sessions import do, tiny_session

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(bytearray(b"x"))
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.sets(st.integers() | st.text())
    ),
)


@given(values)
def test_it_is_pythons_own(value):
    assert bounded_repr(value, 10**9) == repr(value)


@given(values, st.integers(1, 40))
def test_it_is_cut_where_it_is_too_long(value, most):
    shown, whole = bounded_repr(value, most), repr(value)
    assert len(shown) <= most + 1
    assert (shown == whole) == (len(whole) <= most) or shown == whole
    assert shown.endswith("…") or shown == whole


def test_what_holds_itself_ends():
    value: list[object] = [1]
    value.append(value)
    assert bounded_repr(value, 100) == repr(value) == "[1, [...]]"


def test_a_class_of_the_users_own_shows_itself():
    class Own(list[int]):
        def __repr__(self):
            return "mine" * 100

    assert bounded_repr(Own([1]), 8) == "minemine…"
    assert bounded_repr([Own([1])], 8) == "[minemin…"


MANY = "a" * 50_000_000


@pytest.mark.parametrize("value", [MANY, MANY.encode(), [MANY], {MANY: 1}, [0] * 5_000_000, (MANY, MANY)])
def test_no_copy_is_made_of_what_is_not_shown(value):
    tracemalloc.start()
    try:
        assert len(bounded_repr(value, 4000)) == 4001
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", [MANY, f"x\n{MANY}", f"{MANY}\n{MANY}"])
def test_what_is_printed_is_passed_on_a_line_at_a_time(text):
    passed = []
    lines = _PrintedLines(lambda line: passed.append(len(line)))
    tracemalloc.start()
    try:
        lines.write(text)
        lines.finish()
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert sum(passed) == len(text) - text.count("\n") and max(passed) == 4000


def test_print_shows_the_beginning():
    answer = do(tiny_session(), "print 'a' * 10 ** 7")
    assert len(str(answer.data)) < 5_000
