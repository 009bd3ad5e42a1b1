"""The marks in an engine's output: taken out wherever they are cut, and nothing else touched."""

from hypothesis import given
from hypothesis import strategies as st

from llmdbg.frontends.detached.output_marks import OutputMarks
from llmdbg.frontends.wire.engine_link import mark

PARTS = st.lists(st.one_of(st.binary(max_size=20), st.integers(1, 10**9), st.just(b"\x1b[31mred\x1b]11;?\x1b\\")))


@given(PARTS, st.integers(1, 40))
def test_marks_are_found_wherever_they_are_cut(parts, size):
    stream = b"".join(mark(each) if isinstance(each, int) else each for each in parts)
    marks, found, output = OutputMarks(), [], b""
    marks.expecting = True
    for start in range(0, len(stream), size):
        for each in marks.take(stream[start : start + size]):
            if isinstance(each, int):
                found.append(each)
            else:
                output += each
    output += marks.rest()
    assert found == [each for each in parts if isinstance(each, int)]
    assert output == b"".join(each for each in parts if isinstance(each, bytes))


def test_nothing_is_held_back_where_no_mark_is_expected():
    assert list(OutputMarks().take(b"text\x1b")) == [b"text\x1b"]
