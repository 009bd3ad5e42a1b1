"""Answers are written by their type, and the writers are imported only when there is something to write."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum

import numpy as np
import pytest

from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.frontends.answers import answer_json, answer_lines, answer_tables
from llmdbg.frontends.answers.tables import as_csv
from llmdbg.models.stages import Stage, StageKind
from tests.sessions import do, tiny_session


@dataclass(frozen=True)
class Inner:
    share: float


@dataclass(frozen=True)
class Unregistered:
    name: str
    inner: Inner
    ids: tuple[int, ...] = (1, 2)


class Colour(Enum):
    RED = "red"


def test_a_type_without_a_writer_has_no_text_and_is_written_field_by_field() -> None:
    value = Unregistered("a", Inner(0.5))
    with pytest.raises(TypeError, match=r"Unregistered: see frontends/answers/writers\.py"):
        answer_lines(value)
    assert answer_json(value) == {"name": "a", "inner": {"share": 0.5}, "ids": [1, 2]}
    assert as_csv(answer_tables(value)).splitlines() == ["name,inner.share,ids", 'a,0.5,"[1, 2]"']
    assert as_csv(answer_tables((value, value))).count("\n") == 3


def test_a_subclass_is_written_as_its_base() -> None:
    class Finer(Stage):
        pass

    assert answer_json(Finer(StageKind.LAYER, "3", "model.layers.3", 3)) == {
        "kind": "layer",
        "address": "3",
        "module": "model.layers.3",
        "layer": 3,
        "depth": 1,
    }


def test_texts_tuples_and_nothing_have_lines_of_their_own() -> None:
    assert answer_lines(None) == ["nothing here"]
    assert answer_lines("one\ntwo \x1b[31m") == ["one", "two ␛[31m"]
    assert answer_lines(("one", ("two", None))) == ["one", "two", "nothing here"]
    assert answer_lines(()) == ["none"]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (float("nan"), "NaN"),
        (-float("inf"), "-Infinity"),
        (complex(1, float("inf")), [1.0, "Infinity"]),
        (Colour.RED, "red"),
        ({1: {2.5, 1.5}}, {"1": [1.5, 2.5]}),
        (np.array([[1.23456789, float("nan")]], dtype=np.float32), [[1.23457, "NaN"]]),
        (True, True),
        (None, None),
    ],
)
def test_any_value_becomes_strict_json(value: object, plain: object) -> None:
    assert answer_json(value) == plain
    json.dumps(answer_json(value), allow_nan=False)


def test_of_a_large_array_the_last_columns_are_written() -> None:
    found = answer_json(np.arange(400_000.0).reshape(4, 100_000))
    assert (found["shape"], found["last_columns"]) == ([4, 100_000], 25_000)
    assert found["values"][0][-1] == 99_999


@pytest.mark.parametrize("module", ["cli", "frontends.answers", "frontends.batch.events", "frontends.tui.app"])
def test_the_writers_are_not_imported_before_they_are_needed(module: str) -> None:
    code = f"import sys, llmdbg.{module}; print([name for name in ('torch', 'matplotlib') if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_help_says_what_info_can_be_asked() -> None:
    command, *topics = answer_lines(do(tiny_session(), "help info").data)
    assert command.startswith("info TOPIC")
    assert len(topics) == len(TOPICS)
    for line, (name, topic) in zip(topics, TOPICS.items(), strict=True):
        assert line.startswith(f"info {name} ") and topic.takes in line and line.endswith(f"  {topic.summary}")


def test_statistics_of_scores_have_the_whole_tensor_and_the_tokens_in_play() -> None:
    session = tiny_session(temperature=0.9, top_k=3)
    do(session, "goto sample.top_k")
    tensor = session.stop.tensor
    fields = answer_json(tensor)
    assert (fields["min"], fields["inf"], fields["cut"], fields["in_play"]["inf"]) == ("-Infinity", 125, 125, 0)
    assert fields["in_play"]["min"] > -100
    assert len(answer_lines(tensor)) == 1 and "nan:0 inf:0 cut:125" in answer_lines(tensor)[0]
    do(session, "goto logits")
    assert "cut" not in answer_json(session.stop.tensor)
