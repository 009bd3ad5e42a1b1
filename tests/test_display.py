"""How values show themselves: short in a REPL, whole when printed, as HTML in a notebook."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import pytest

from llmdbg.debugger.commands import Answer, Command, Moved
from llmdbg.debugger.execution.stop import End, TokenRow
from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.display import Displayed, short, summary
from llmdbg.frontends.answers.writers import blocks
from llmdbg.probes.statistics import Statistics
from llmdbg.probes.value_statistics import ValueStatistics
from tests.html_fragments import read_fragment
from tests.sessions import do, tiny_session

PLAIN = (object, type(None), str, tuple, Command)


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True, repr=False)
class Inner(Displayed):
    name: str


@dataclass(frozen=True, slots=True, repr=False)
class Shown(Displayed):
    words: str
    rows: tuple[object, ...] = ()
    part: float = 1 / 3
    colour: Colour = Colour.RED
    numbers: object = None
    hidden: int = field(default=1, repr=False)


WRITTEN = [each for each in blocks.registry if each not in PLAIN]


@pytest.mark.parametrize("kind", WRITTEN, ids=lambda kind: kind.__name__)
def test_every_type_that_has_a_writer_shows_itself(kind: type) -> None:
    assert issubclass(kind, Displayed)
    shown_by: Callable[..., str] = kind.__repr__
    assert inspect.unwrap(shown_by).__code__.co_filename.endswith(".py"), "this is the repr of data classes"
    assert "__dict__" not in dir(kind), "a base without slots would give each value a dict"


def test_a_summary_is_short_and_says_what_there_is() -> None:
    rows = tuple(Inner(str(n)) for n in range(30))
    assert summary(Shown("a\x1b", rows, numbers=np.zeros((2, 3), np.float32))) == (
        r"Shown(words='a\x1b', rows=<30 Inner>, part=0.3333, colour='red', numbers=float32[2, 3])"
    )
    assert repr(Shown("a", (1, "two", None, 4.0))) == (
        "Shown(words='a', rows=(1, 'two', None, 4), part=0.3333, colour='red', numbers=None)"
    )


def test_a_summary_is_one_line_of_limited_length() -> None:
    line = repr(Shown("x" * 10_000, tuple(["y" * 500] * 500), numbers=dict.fromkeys(range(99), "z" * 99)))
    assert len(line) <= 240
    assert "\n" not in repr(Shown("a\nb"))


def test_a_value_without_a_writer_prints_as_its_repr_and_has_no_html() -> None:
    class Unwritten(Displayed):
        __slots__ = ()

        def __repr__(self) -> str:
            return "<Unwritten>"

    from llmdbg import display

    assert display.text(3) == "3"
    assert display.html(3) is None
    with pytest.raises(TypeError, match="Unwritten"):
        str(Unwritten())


def test_the_short_form_of_any_value() -> None:
    assert short("a" * 200).count("a") < 60
    assert short(1 / 3) == "0.3333"
    assert short(()) == "()"
    assert short(Inner("a")) == "Inner(name='a')"


def test_a_tensor_is_one_line() -> None:
    numbers = ValueStatistics(min=-8.1, max=12.0, mean=0.001, std=0.912, norm=41.234, nan=1, inf=0)
    value = Statistics((1, 13, 4096), "bfloat16", "cuda:0", numbers)

    assert value.line() == "bfloat16[1, 13, 4096] ≈0.001 ±0.912 [≥-8.1, ≤12] ‖41.23‖ nan:1 inf:0"
    assert repr(value) == f"<Statistics {value.line()}>"
    assert str(value) == f"{value.line()} cuda:0"
    assert repr(Statistics((1, 7), "int64", "cpu", numbers)) == "<Statistics int64[1, 7]>"


def test_tokens_and_ends() -> None:
    assert repr(TokenRow(5, 312, "Ġfox", " fox\u202e", special=False, generated=2)) == (
        r"<TokenRow 5 ' fox\u202e' id 312, generated 2>"
    )
    assert repr(End("length", (1, 2), "two\nlines")) == r"<End length, 2 tokens: 'two\nlines'>"
    assert str(End("eos", (1,), "a\x1b")) == "end  eos  1 token  (the model ended its answer)\na␛"


def test_a_stop_says_where_why_and_what() -> None:
    session = tiny_session(max_new_tokens=3)
    assert repr(session.stop) == "<Stop tokenize@0 prefill, step: int64[1, 11]>"
    do(session, "break 1@1")
    moved = do(session, "continue")
    assert isinstance(moved, Moved)
    assert repr(moved) == f"<Moved to {moved.stop!r}>"
    assert repr(moved.stop).startswith("<Stop 1@1 decode, breakpoint 1: float32[1, 1, 32] ≈")
    do(session, "goto logits@1")
    assert repr(session.stop).count("%") == 3
    assert repr(session.stop.candidates).startswith("<Candidates at logits: '")
    do(session, "token")
    assert session.stop.chosen is not None
    assert f": chose {session.stop.chosen.text!r} " in repr(session.stop)


def test_a_stop_is_printed_with_its_reason_and_its_candidates() -> None:
    session = tiny_session()
    do(session, "break logits")
    do(session, "continue")
    lines = str(session.stop).splitlines()

    assert lines[0] == "logits (lm_head): token 0, prefill"
    assert "reason: breakpoint 1" in lines
    assert lines[-10].startswith("   1 ")
    # What `info stage` says is the stage alone.
    assert len(str(do(session, "info stage")).splitlines()) < len(lines)


def test_a_stop_in_a_notebook_has_its_numbers_and_its_candidates_as_tables() -> None:
    session = tiny_session()
    do(session, "goto logits")
    shown = read_fragment(session.stop._repr_html_())

    assert shown.lines[0] == "logits (lm_head): token 0, prefill"
    numbers, table = shown.tables
    assert session.stop.tensor is not None and session.stop.tensor.numbers is not None
    assert numbers[0] == ["tensor", "mean", "std", "min", "max", "norm", "NaN", "inf"]
    assert numbers[1][:2] == ["float32[1, 128] cpu", f"{session.stop.tensor.numbers.mean:.3g}"]
    assert table[0][:3] == ["rank", "id", "text"]
    assert session.stop.candidates is not None
    assert [row[1] for row in table[1:]] == [str(each.id) for each in session.stop.candidates.rows]
    assert read_fragment(Moved(session.stop)._repr_html_()) == shown


def test_an_answer_shows_its_data_and_what_was_done() -> None:
    session = tiny_session()
    do(session, "break 1")
    gone = do(session, "delete 1")
    assert str(gone) == "deleted breakpoint 1 at 1, hit 0 times"
    assert repr(gone) == "<Answer deleted <Breakpoint 1 at 1, hit 0 times>>"
    assert read_fragment(gone._repr_html_()).lines == [str(gone)]
    assert repr(Answer("a\x1b")) == r"<Answer 'a\x1b'>"
    assert str(do(session, "quit")) == "left"


@pytest.mark.parametrize("topic", TOPICS)
def test_every_answer_is_one_short_line_in_a_repl(topic: str) -> None:
    session = tiny_session()
    do(session, "break *.mlp if norm > 100 and layer >= 1")
    do(session, "goto logits")
    outcome = do(session, f"info {topic}")
    assert len(repr(outcome)) <= 300
    assert "\n" not in repr(outcome)


def test_a_stop_s_repr_has_what_was_watched_and_how_it_ended() -> None:
    session = tiny_session(max_new_tokens=3)
    do(session, "watch token at 1")
    do(session, "continue")
    assert repr(session.stop).startswith("<Stop 1@1 decode, watch 1 before=0 now=1: float32[1, 1, 32] ≈")
    do(session, "delete")
    do(session, "continue")
    assert repr(session.stop).startswith("<Stop sample@2 decode, end (length): chose ")


def test_the_statistics_of_token_ids_are_not_shown() -> None:
    session = tiny_session(max_new_tokens=3)
    do(session, "token")
    assert "≈" not in str(session.stop)
    assert str(session.stop).startswith("sample: token 0, prefill\nint64[1] cpu\n")


def test_edits_branches_and_commands_are_one_short_line_each() -> None:
    session = tiny_session(max_new_tokens=3)
    do(session, "until 0@1")
    do(session, "zero 0-1")
    assert repr(do(session, "edits")) == "<Answer <Edit 1 zero 0-1 (2 stages), from token 1 on>>"
    do(session, "edits off 1")
    assert str(do(session, "edits")) == "edit 1 zero 0-1 (2 stages), from token 1 on, off"
    do(session, "branch other")
    main, other = session.branching.rows()
    assert repr(main).startswith("<Branch 1 main: ") and repr(main).endswith(", at 0@1>")
    assert repr(other).startswith("<Branch 2 other from token 1 of branch 1, branch: 0 tokens '', current, at 0@1>")
    assert repr(do(session, "help watch")) == "<Answer <Command watch EXPRESSION [at ADDRESS]>>"
    assert repr(do(session, "help")).endswith(" Command>>")
    assert repr(do(session, "quit")) == "<Quit>"
