"""Validators of what llmdbg writes as JSON."""

from __future__ import annotations

from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from llmdbg.frontends.answers.json_schema import DIALECT, Definitions
from llmdbg.frontends.batch.event_shapes import batch_schema
from llmdbg.frontends.server.schema import protocol_schema


@cache
def batch_event() -> Draft202012Validator:
    """Of a line of `--batch --json`."""
    return Draft202012Validator(batch_schema())


@cache
def message() -> Draft202012Validator:
    """Of a line that `serve --json` writes."""
    return Draft202012Validator({**protocol_schema(), "anyOf": [{"$ref": "#/$defs/Message"}]})


@cache
def request() -> Draft202012Validator:
    """Of a line that a client writes to `serve --json`."""
    return Draft202012Validator({**protocol_schema(), "anyOf": [{"$ref": "#/$defs/Request"}]})


@cache
def of_type(kind: Any) -> Draft202012Validator:
    """Of a value of one type, as JSON."""
    definitions = Definitions()
    definitions.answer()
    return Draft202012Validator({"$schema": DIALECT, **definitions.of(kind), "$defs": definitions.found})
