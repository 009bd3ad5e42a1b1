"""The JSON Lines contract: one object for each thing that happens, of plain Python values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmdbg.errors import LlmdbgError, WeightsError
from llmdbg.frontends.answers import answer_json
from llmdbg.frontends.answers.json_fields import stop_fields, token_fields
from llmdbg.frontends.answers.json_values import json_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmdbg.debugger.execution.stop import End, Stop, TokenRow

Event = dict[str, Any]


def tokens_event(rows: Iterable[TokenRow], notes: tuple[str, ...] = ()) -> Event:
    """The sequence that the model is fed."""
    event: Event = {"event": "tokens", "tokens": [token_fields(row) for row in rows]}
    return {**event, "notes": list(notes)} if notes else event


def stop_event(stop: Stop) -> Event:
    """The engine is suspended at a stage."""
    return {"event": "stop", **stop_fields(stop)}


def result_event(command: str, data: object) -> Event:
    """What a command answered."""
    return {"event": "result", "command": command, "data": answer_json(data)}


def end_event(end: End) -> Event:
    """The generation is over, or was quit."""
    event: Event = {"event": "end", "stopped_by": end.stopped_by, "ids": list(end.ids), "text": end.text}
    if end.ended_with is not None:
        event["ended_with"] = end.ended_with
    if end.not_finite_since is not None:
        event["not_finite_since"] = end.not_finite_since
    return {**event, "notes": list(end.notes)} if end.notes else event


def warning_event(message: str) -> Event:
    """What the user should know: about how the model was loaded, about its decoding, or about what it computes."""
    return {"event": "warning", "message": message}


def error_event(kind: str, message: str, error: Exception | None = None) -> Event:
    """Something went wrong. Weights that do not fit are named in full under `weights`."""
    remedy = error.remedy if isinstance(error, LlmdbgError) else LlmdbgError.remedy
    event: Event = {"event": "error", "type": kind, "message": message, "remedy": remedy}
    if isinstance(error, WeightsError):
        event["weights"] = json_value(error.differences)
    return event
