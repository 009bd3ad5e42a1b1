"""The schemas are made of the types, and what is really written holds to them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from llmdbg.debugger.commands import COMMANDS, Answer, Moved
from llmdbg.debugger.execution.stop import Stop
from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.errors import LlmdbgError
from llmdbg.frontends.answers import answer_json
from llmdbg.frontends.answers.json_schema import SHAPES, Definitions, answer_types
from llmdbg.frontends.answers.writers import json_value
from llmdbg.frontends.batch.event_shapes import batch_schema
from llmdbg.frontends.server.schema import protocol_schema
from tests import schemas
from tests.sessions import do, tiny_session

pytestmark = pytest.mark.untraced


def everything_defined():
    return protocol_schema()["$defs"].items()


def test_every_field_of_every_type_is_described():
    lacking = [
        f"{name}.{field}"
        for name, schema in everything_defined()
        for field, each in schema.get("properties", {}).items()
        if not each.get("description")
    ]
    assert lacking == []
    assert [
        name for name, schema in everything_defined() if not schema.get("description") and "properties" in schema
    ] == []


def test_a_field_without_a_docstring_is_found():
    @dataclass
    class Undescribed:
        """A value."""

        here: int
        """Is described."""
        lacking: int

    found = Definitions().fields(Undescribed)["properties"]
    assert (found["here"]["description"], found["lacking"]["description"]) == ("Is described.", "")


@pytest.mark.parametrize("schema", [batch_schema, protocol_schema])
def test_the_schemas_are_valid_and_refer_to_what_is_there(schema):
    whole = schema()
    Draft202012Validator.check_schema(whole)
    text = json.dumps(whole)
    named = {each.split('"')[0] for each in text.split('"#/$defs/')[1:]}
    assert named <= set(whole["$defs"])


def test_every_type_that_is_written_otherwise_than_by_its_fields_has_a_shape():
    """Without one, its schema would be that of its fields."""
    written = {each for each in json_value.registry if dataclasses.is_dataclass(each)}
    assert written == set(SHAPES)


def holds(value):
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        wrong = best_match(schemas.of_type(kind).iter_errors(answer_json(value)))
        assert wrong is None, f"{kind.__name__}: {wrong.message[:300]} at {list(wrong.absolute_path)}"
        return {kind}
    if isinstance(value, tuple):
        return {each for item in value for each in holds(item)}
    assert value is None or isinstance(value, str)
    return set()


NOT_HERE = {
    *("Comparison", "WeightDifferences", "End", "AdapterShares", "FrameRow"),
    *("LaneTable", "BeamFamily", "RowComparison", "RankTable", "RankCheck"),
}
"""What `diff`, loading, an adapter, `frame` in a program, its batch and several ranks give; batches hold the end."""


def test_what_every_question_and_every_command_answers_holds_to_its_schema(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen: set[type] = set()
    settings: dict[str, Any] = {"temperature": 0.9, "top_k": 5, "max_new_tokens": 6}
    for place in ("tokenize", "0.self_attn", "0.self_attn.q_proj", "1", "logits", "sample.top_k", "sample@2", "1@3"):
        session = tiny_session(**settings)
        do(session, "break 1 if norm > 1000000", "scale 0 1.0", f"goto {place}")
        seen |= holds(session.stop)
        lines = [f"info {topic}" for topic in TOPICS] + ["x 0", "x 0[0,-1,:3]", "explain", "explain residual stream"]
        for line in [*lines, *(each.example for each in COMMANDS if each.name != "quit")]:
            try:
                outcome = do(session, line)
            except LlmdbgError:
                continue
            seen |= holds(outcome.data) if isinstance(outcome, Answer) else set()
            seen |= holds(outcome.stop) if isinstance(outcome, Moved) else set()
    plain = tiny_session()
    do(plain, "until 1@2")
    seen |= holds(tuple(plain.run.tokens()))
    for line in ("verify", "info kv 0", "zero 0", "branch other", "compare main", "info edits", "info effect"):
        outcome = do(plain, line)
        seen |= holds(outcome.stop if isinstance(outcome, Moved) else outcome.data)
    missing = {each.__name__ for each in answer_types()} - {each.__name__ for each in seen}
    assert missing <= NOT_HERE, missing


def test_json_that_is_not_so_is_refused():
    stop = answer_json(tiny_session().stop)
    check = schemas.of_type(Stop)
    assert not list(check.iter_errors(stop))
    for wrong in ({**stop, "surprise": 1}, {**stop, "token": "0"}, {key: stop[key] for key in stop if key != "stage"}):
        assert list(check.iter_errors(wrong))
