"""The JSON Schema of every line of `llmdbg serve --json`, made of the types."""

from __future__ import annotations

from typing import Any, get_args

from llmdbg.frontends.answers.described_types import described_fields
from llmdbg.frontends.answers.json_schema import DIALECT, Definitions, Schema
from llmdbg.frontends.batch.event_shapes import BATCH_EVENTS, events_schema
from llmdbg.frontends.server.messages import MESSAGES, SERVER_EVENTS, Reply
from llmdbg.frontends.server.requests import LARGEST_MOST, LEAST_MOST, REQUESTS, Request


def protocol_schema() -> Schema:
    """A schema whose `$defs` has `Request`, what a client writes, and `Message`, what the server writes."""
    definitions = Definitions()
    event = events_schema(definitions, (*BATCH_EVENTS, *SERVER_EVENTS))
    messages = [definitions.of(each) for each in MESSAGES]
    definitions.found["Event"] = event
    definitions.found[Reply.__name__]["properties"]["events"]["items"] = {"$ref": "#/$defs/Event"}
    definitions.found["Message"] = {"description": "A line that the server writes.", "oneOf": messages}
    requests = [_request_line(each, definitions) for each in REQUESTS.values()]
    definitions.found["Request"] = {"description": "A line that a client writes.", "oneOf": requests}
    return {
        "$schema": DIALECT,
        "title": "llmdbg serve --json",
        "description": "A client writes lines of $defs/Request and reads lines of $defs/Message.",
        "anyOf": [{"$ref": "#/$defs/Request"}, {"$ref": "#/$defs/Message"}],
        "$defs": definitions.found,
    }


def arguments_schema(kind: type[Request], definitions: Definitions | None = None) -> Schema:
    """The schema of a request's arguments. They hold no other data classes, so it stands by itself."""
    definitions = Definitions() if definitions is None else definitions
    found = definitions.fields(kind)
    found["properties"]["most"] |= {"minimum": LEAST_MOST, "maximum": LARGEST_MOST}
    # A number a client writes is a number: only what is written may be NaN or infinite.
    return {**found, "properties": {name: _plain_numbers(each) for name, each in found["properties"].items()}}


def reply_schema() -> Schema:
    """The schema of a reply, as the output of a tool: of events only their names, since all are 100 kB."""
    definitions = Definitions()
    found = definitions.fields(Reply)
    names = [get_args(_types_of(each)["event"])[0] for each in (*BATCH_EVENTS, *SERVER_EVENTS)]
    found["properties"]["events"]["items"] = {
        "type": "object",
        "properties": {
            "event": {"enum": names, "description": "Which event: `schema` describes `StopEvent` and others."}
        },
        "required": ["event"],
    }
    return {**found, "$defs": definitions.found}


def _types_of(kind: type) -> dict[str, Any]:
    return {each.name: each.type for each in described_fields(kind)}


def _request_line(kind: type[Request], definitions: Definitions) -> Schema:
    found = arguments_schema(kind, definitions)
    line = {
        "do": {"const": kind.do, "description": "What to do."},
        "id": {"type": ["string", "integer", "null"], "description": "Repeated in the answer."},
    }
    return {**found, "properties": {**line, **found["properties"]}, "required": ["do", *found["required"]]}


def _plain_numbers(schema: Schema) -> Schema:
    if schema.get("$ref") == "#/$defs/Float":
        return {"description": schema.get("description", ""), "type": "number"}
    if "anyOf" in schema:
        return {**schema, "anyOf": [{"type": "number"} if "$ref" in each else each for each in schema["anyOf"]]}
    return schema
