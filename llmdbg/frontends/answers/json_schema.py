"""JSON Schemas (2020-12) of what `json_value` writes, made of the types: fields, annotations and docstrings.

A float may be a string, since JSON has no word for NaN and infinity. No object has a property that is not listed.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import types
from collections.abc import Mapping
from enum import Enum
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np

from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
from llmdbg.debugger.commands import Answer, Command, Moved, Quit
from llmdbg.debugger.comparison.outcome import ComparedStage
from llmdbg.debugger.editing.edits import Edit
from llmdbg.debugger.execution.branches import BranchRow
from llmdbg.debugger.execution.stop import Stop, TokenRow
from llmdbg.debugger.inspection.topics import TokenTable
from llmdbg.frontends.answers import json_shapes
from llmdbg.frontends.answers.described_types import described_fields, description_of
from llmdbg.frontends.answers.writers import blocks
from llmdbg.models.stages import Stage
from llmdbg.probes.candidates import Candidates
from llmdbg.probes.statistics import Statistics

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

SHAPES: Mapping[type, type] = {
    BranchRow: json_shapes.BranchFields,
    Breakpoint: json_shapes.BreakpointFields,
    Candidates: json_shapes.CandidatesFields,
    Command: json_shapes.CommandFields,
    ComparedStage: json_shapes.ComparedStageFields,
    Edit: json_shapes.EditFields,
    Stage: json_shapes.StageFields,
    Statistics: json_shapes.TensorFields,
    Stop: json_shapes.StopFields,
    TokenRow: json_shapes.TokenFields,
    TokenTable: json_shapes.TokenTableFields,
}
"""The types that are written other than field by field, and what stands for their JSON."""

SHAPED = {json_shapes.__name__, "llmdbg.frontends.batch.event_shapes", "llmdbg.frontends.server.requests"}
"""The modules of classes that describe JSON in which a field that has its default may be missing."""

_OUTCOMES = (Answer, Moved, Quit)
_NUMBER = {
    "description": "A number; NaN and infinite ones are strings.",
    "anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}],
}
_NUMBERS = {
    "description": "The numbers of an array, nested by its dimensions; of a large one only its last columns.",
    "anyOf": [
        {"type": "array"},
        {
            "type": "object",
            "properties": {
                "shape": {"type": "array", "items": {"type": "integer"}, "description": "The whole array's shape."},
                "last_columns": {"type": "integer", "description": "How many of its last columns are here."},
                "values": {"type": "array", "description": "Their numbers, nested."},
            },
            "required": ["shape", "last_columns", "values"],
            "additionalProperties": False,
        },
    ],
}
_PLAIN = {bool: "boolean", int: "integer", str: "string", type(None): "null", object: None}
_LISTS = (tuple, list, set, frozenset, collections.abc.Sequence, collections.abc.Iterable)


def answer_types() -> tuple[type, ...]:
    """Every type that a command may answer with: those that have a writer."""
    registered: list[type] = list(blocks.registry)
    return tuple(each for each in registered if dataclasses.is_dataclass(each) and each not in _OUTCOMES)


class Definitions:
    """Collects the schemas of types, each once, under `$defs`."""

    def __init__(self) -> None:
        self.found: dict[str, Schema] = {}
        self.types: dict[str, type] = {}

    def answer(self) -> Schema:
        """What a command answers: a value of a type with a writer, a text, nothing, or a list of them."""
        if "Answer" not in self.found:
            self.found["Answer"] = {}
            kinds = [self.of(each) for each in answer_types()]
            plain = [{"type": "string"}, {"type": "null"}, {"type": "array", "items": {"$ref": "#/$defs/Answer"}}]
            self.found["Answer"] = {
                "description": "What a command answers: a value, a sentence, nothing, or a list of these.",
                "anyOf": [*kinds, *plain],
            }
        return {"$ref": "#/$defs/Answer"}

    def of(self, kind: Any) -> Schema:
        """The schema of a type's JSON. Raises TypeError for a type that JSON has no form of."""
        if isinstance(kind, type) and kind in SHAPES:
            return self.of(SHAPES[kind])
        if isinstance(kind, TypeVar) or kind is Any:
            return {}
        if get_origin(kind) is not None:
            return self._generic(get_origin(kind), get_args(kind))
        if kind in _PLAIN or kind is None:
            return {"type": _PLAIN[kind if kind is not None else type(None)]}
        if kind is float:
            return self._named("Float", _NUMBER)
        if kind is complex:
            return {"type": "array", "items": self.of(float)}
        if isinstance(kind, type) and issubclass(kind, Enum):
            return {"enum": [each.value for each in kind]}
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self._object(kind)
        if isinstance(kind, type) and issubclass(kind, _LISTS):
            return {"type": "array"}
        raise TypeError(f"{kind!r} has no form in JSON")

    def _generic(self, origin: Any, arguments: tuple[Any, ...]) -> Schema:
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.of(each) for each in arguments]}
        if origin is Literal:
            return {"enum": list(arguments)}
        if origin is np.ndarray:
            return self._named("Array", _NUMBERS)
        if issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        if issubclass(origin, _LISTS):
            if origin is tuple and Ellipsis not in arguments:
                return {"type": "array", "prefixItems": [self.of(each) for each in arguments]}
            return {"type": "array", "items": self.of(arguments[0])}
        raise TypeError(f"{origin!r} has no form in JSON")

    def _named(self, name: str, schema: Schema) -> Schema:
        self.found[name] = schema
        return {"$ref": f"#/$defs/{name}"}

    def _object(self, kind: type) -> Schema:
        name = kind.__name__.removesuffix("Fields")
        if self.types.setdefault(name, kind) is not kind:
            name = f"{kind.__module__.rpartition('.')[2]}.{name}"
            self.types[name] = kind
        if name not in self.found:
            self.found[name] = {}  # it may hold others of its kind
            self.found[name] = self.fields(kind)
        return {"$ref": f"#/$defs/{name}"}

    def fields(self, kind: type) -> Schema:
        """The schema of a data class itself, not a reference to it."""
        written = [each for each in described_fields(kind) if get_origin(each.type) is not collections.abc.Callable]
        # A shape leaves out what has its default; any other value is written with all its fields.
        is_shape = kind.__module__ in SHAPED
        always = [each.name for each in written if not (each.optional and is_shape)]
        return {
            "type": "object",
            "description": description_of(kind),
            "properties": {each.name: self._described(each.type, each.description) for each in written},
            "required": always,
            "additionalProperties": False,
        }

    def _described(self, kind: Any, description: str) -> Schema:
        return {"description": description, **self.of(kind)}
