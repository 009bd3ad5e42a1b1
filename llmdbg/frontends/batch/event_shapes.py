"""The JSON Lines of a batch as types, of which their schema is made: a field with a default may be missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from llmdbg.frontends.answers.json_schema import DIALECT, Definitions, Schema
from llmdbg.frontends.answers.json_shapes import StopFields, TokenFields
from llmdbg.models.weight_differences import WeightDifferences


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensEvent:
    """The sequence that the model is fed."""

    event: Literal["tokens"]
    """Which event this is."""
    tokens: tuple[TokenFields, ...]
    """The prompt's tokens."""
    notes: tuple[str, ...] = ()
    """What there is to know about them, in sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopEvent(StopFields):
    """The run is suspended after a stage; or a tracepoint logs one in passing."""

    event: Literal["stop"]
    """Which event this is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultEvent:
    """What a command answered."""

    event: Literal["result"]
    """Which event this is."""
    command: str
    """The command line."""
    data: Any
    """The answer: a value, a sentence, nothing, or a list of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndEvent:
    """The generation is over, or was quit."""

    event: Literal["end"]
    """Which event this is."""
    stopped_by: str
    """What ended it: eos, stop_string, criterion, length, time, quit, recording or exit."""
    ids: tuple[int, ...]
    """The generated ids."""
    text: str
    """The generated text."""
    ended_with: str | None = None
    """The stop string or the stopping criterion that ended it."""
    not_finite_since: int | None = None
    """The first token whose logits gave no probabilities."""
    notes: tuple[str, ...] = ()
    """What else there is to know, in sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningEvent:
    """What the user should know."""

    event: Literal["warning"]
    """Which event this is."""
    message: str
    """It, in a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEvent:
    """Something went wrong."""

    event: Literal["error"]
    """Which event this is."""
    type: str
    """The kind: the name of a class in `llmdbg/errors.py`."""
    message: str
    """The reason, in one line."""
    remedy: str
    """What to do about errors of this kind."""
    weights: WeightDifferences | None = None
    """Every tensor that does not fit, where weights do not."""


BATCH_EVENTS = (TokensEvent, StopEvent, ResultEvent, EndEvent, WarningEvent, ErrorEvent)
"""Every event of a batch."""


def events_schema(definitions: Definitions, kinds: tuple[type, ...] = BATCH_EVENTS) -> Schema:
    """The schema of an event that is one of these kinds."""
    found = {"description": "One of the events.", "oneOf": [definitions.of(each) for each in kinds]}
    # What a command answers is listed by the writers, not by a type of its own.
    definitions.found["ResultEvent"]["properties"]["data"].update(definitions.answer())
    return found


def batch_schema() -> Schema:
    """The JSON Schema of every line that a batch writes with `--json`."""
    definitions = Definitions()
    event = events_schema(definitions)
    return {"$schema": DIALECT, "title": "llmdbg --batch --json", **event, "$defs": definitions.found}
