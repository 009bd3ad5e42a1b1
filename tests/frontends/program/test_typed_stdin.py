"""A program's stdin whose lines are typed elsewhere: it reads as any stream does."""

from __future__ import annotations

import io
import os

import pytest

from llmdbg.frontends.program.typed_stdin import TypedStdin
from llmdbg.frontends.typed_lines import TypedLines


@pytest.fixture
def lines() -> TypedLines:
    return TypedLines()


@pytest.fixture
def stdin(lines: TypedLines) -> TypedStdin:
    return TypedStdin(io.StringIO("of the descriptor\n"), lines)


def give(lines: TypedLines, *texts: str) -> None:
    for text in texts:
        lines.type(text)
    lines.end()


def test_a_line_is_asked_for_and_has_its_line_break(lines: TypedLines, stdin: TypedStdin) -> None:
    asked: list[int] = []
    lines.on_ask = lambda: asked.append(1)
    give(lines, "  one ", "")
    assert [stdin.readline(), stdin.readline(), stdin.readline()] == ["  one \n", "\n", ""]
    assert len(asked) == 3


def test_the_end_is_an_end_once(lines: TypedLines, stdin: TypedStdin) -> None:
    give(lines)
    give(lines, "again")
    assert [stdin.readline(), stdin.readline()] == ["", "again\n"]


def test_input_reads_it(lines: TypedLines, stdin: TypedStdin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    give(lines, "yes")
    assert input("sure? ") == "yes"
    with pytest.raises(EOFError):
        input("sure? ")


def test_ctrl_c_is_raised_where_a_line_is_waited_for(lines: TypedLines, stdin: TypedStdin) -> None:
    lines.interrupt()
    with pytest.raises(KeyboardInterrupt):
        stdin.readline()


@pytest.mark.parametrize(
    ("read", "found"),
    [
        (lambda stdin: stdin.read(), "one\ntwo\n"),
        (lambda stdin: [*stdin], ["one\n", "two\n"]),
        (lambda stdin: stdin.readlines(), ["one\n", "two\n"]),
        (lambda stdin: stdin.readlines(2), ["one\n"]),
        (lambda stdin: [stdin.read(2), stdin.readline(), stdin.readline(1), stdin.read()], ["on", "e\n", "t", "wo\n"]),
        (lambda stdin: [stdin.read(6), stdin.read(0), stdin.readline()], ["one\ntw", "", "o\n"]),
        (lambda stdin: [stdin.readline(0), stdin.readline()], ["", "one\n"]),
    ],
)
def test_all_ways_to_read(lines: TypedLines, stdin: TypedStdin, read, found) -> None:
    give(lines, "one", "two")
    assert read(stdin) == found


def test_a_forked_child_reads_the_descriptor(stdin: TypedStdin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert stdin.readline() == "of the descriptor\n"
