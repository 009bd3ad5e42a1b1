"""Answers in files: each format, from a command, and what cannot be written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.errors import CommandError
from llmdbg.frontends.answers import answer_json, answer_lines
from llmdbg.frontends.answers.tables import Column, Table, aligned, as_csv
from llmdbg.frontends.export import export
from tests.sessions import do, opened, tiny_session


def _session():
    session = tiny_session()
    session.exporter = export
    do(session, "goto 1")
    return session


def test_an_answer_is_written_as_text_and_json(tmp_path: Path) -> None:
    session = _session()
    said = do(session, f"info stats > {tmp_path}/stats.txt").data
    assert said == f"wrote {tmp_path}/stats.txt ({(tmp_path / 'stats.txt').stat().st_size:,} bytes)"
    assert (tmp_path / "stats.txt").read_text().startswith("float32[1, 11, 32] ≈")
    do(session, f"info stats > {tmp_path}/stats.json")
    document = json.loads((tmp_path / "stats.json").read_text())
    assert document["shape"] == [1, 11, 32]
    assert document["max"] == session.stop.tensor.numbers.max


def test_a_lens_is_written_as_csv(tmp_path: Path) -> None:
    session = _session()
    do(session, f"info lens > {tmp_path}/lens.csv")
    rows = list(csv.reader((tmp_path / "lens.csv").read_text().splitlines()))
    assert len(rows) > 3
    assert len({len(row) for row in rows}) == 1


@pytest.mark.parametrize("topic", ["stats", "tokens", "candidates", "stage", "model", "branches"])
def test_records_are_written_as_csv_field_by_field(topic: str, tmp_path: Path) -> None:
    session = _session()
    do(session, "goto logits")
    do(session, f"info {topic} > {tmp_path}/it.csv")
    with (tmp_path / "it.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) > 1
    assert len({len(row) for row in rows}) == 1
    if topic == "candidates":
        found = session.stop.candidates
        assert found is not None
        assert [row[rows[0].index("id")] for row in rows[1:]] == [str(each.id) for each in found.rows]


def test_a_part_of_a_tensor_says_that_it_is_one(tmp_path: Path) -> None:
    session = _session()
    said = do(session, f"x 1[...] > {tmp_path}/x.csv").data
    assert "128 of 352 numbers" in said
    assert "of" not in do(session, f"x 1[0, 0] > {tmp_path}/x.csv").data.partition("bytes)")[2]


@pytest.mark.parametrize("where", ["tokenize", "embed", "1.mlp", "1", "logits", "sample"])
@pytest.mark.parametrize("topic", sorted(TOPICS))
def test_every_answer_can_be_told_as_text_and_as_json(topic: str, where: str) -> None:
    session = tiny_session()
    if where != "tokenize":
        do(session, f"goto {where}")
    data = do(session, f"info {topic}").data
    assert answer_lines(data)
    json.dumps(answer_json(data), allow_nan=False)


def test_a_file_name_may_have_spaces_and_a_text_may_have_the_sign(tmp_path: Path) -> None:
    session = _session()
    do(session, f'info stats > "{tmp_path}/my stats.txt"')
    assert (tmp_path / "my stats.txt").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("info stats >", "name one file"),
        ("info stats > ", "name one file"),
        ("info stats > stats", "says how it is written"),
        ("info stats > /nowhere/at/all.txt", "cannot write"),
        ("info frames nonsense > stats.csv", "takes no arguments"),
        ("info stats > a.txt > b.txt", "name one file"),
        ("info stats everything", "takes no arguments"),
        ("info stats > stats.svg", "no picture"),
    ],
)
def test_what_cannot_be_written_is_said(line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CommandError, match=said):
        do(_session(), line)
    assert list(tmp_path.iterdir()) == []


def test_a_session_that_no_front_end_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="open_session"):
        do(tiny_session(), f"info stats > {tmp_path}/stats.txt")


def test_the_python_api_writes_files(tmp_path: Path, tiny_folder: Path) -> None:
    session = opened(str(tiny_folder), "The quick", max_new_tokens=2)
    do(session, f"info tokens > {tmp_path}/tokens.txt")
    assert "ick" in (tmp_path / "tokens.txt").read_text()


TABLE = Table(
    (Column("token", left=True), Column("prob", lambda prob: f"{prob:.1%}"), Column("rank")),
    ((" is\x1b[31m", 0.123456789, 1), ('say "no", so', 1.0, None)),
    "candidates",
)


def test_a_table_is_aligned_and_harmless() -> None:
    lines = aligned(TABLE)
    assert lines[0] == "candidates"
    assert "\x1b" not in "".join(lines)
    ends = [line.index(part) + len(part) for line, part in zip(lines[1:], ("prob", "12.3%", "100.0%"), strict=True)]
    assert ends == [ends[0]] * 3


def test_wide_characters_take_their_two_cells() -> None:
    table = Table((Column("text", left=True), Column("n")), (("日本", 1), ("abcd", 2)))
    assert aligned(table) == ["text  n", "日本  1", "abcd  2"]


def test_csv_has_numbers_in_full_and_quotes_where_they_must_be() -> None:
    rows = list(csv.reader(as_csv((TABLE,)).splitlines()))
    assert rows == [["token", "prob", "rank"], [" is\x1b[31m", "0.123456789", "1"], ['say "no", so', "1.0", ""]]
