"""The JSON Lines contract: one object for each thing that happens, of plain Python values.

NaN and infinite numbers are written as strings, since JSON has no word for them.
"""

from __future__ import annotations

import dataclasses
import json
import math
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmdbg.debugger.execution.stop import End, Stop, TokenRow
    from llmdbg.models.stages import Stage
    from llmdbg.probes.candidates import Candidate, Candidates
    from llmdbg.probes.statistics import Numbers, Statistics

Event = dict[str, Any]

_MOST_NUMBERS = 100_000
"""Of an array in one answer: half a megabyte."""


def line(event: Event) -> str:
    """One event as one line of strict JSON. Lone surrogates, which UTF-8 cannot carry, come out escaped."""
    return json.dumps(plain(event), ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace").decode()


def plain(value: Any) -> Any:
    """Turn frozen values, enums and numbers into what JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _of_type(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return (
            value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        )
    if isinstance(value, complex):
        return [plain(value.real), plain(value.imag)]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, np.ndarray):
        return _array(value)
    return value


def _array(value: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Any:
    """Nested lists, floats to 6 digits. Of an array too large for one line the last columns, and it says so."""
    if value.size <= _MOST_NUMBERS or value.ndim < 2:
        return _nested(value.tolist())
    columns = max(1, _MOST_NUMBERS * value.shape[-1] // value.size)
    return {"shape": list(value.shape), "last_columns": columns, "values": _nested(value[..., -columns:].tolist())}


def _nested(value: Any) -> Any:
    if isinstance(value, list):
        return [_nested(item) for item in value]
    return plain(float(f"{value:.6g}")) if isinstance(value, float) else value


def _of_type(value: Any) -> Any:
    writer = _WRITERS.get(type(value).__name__)
    if writer is not None:
        return writer(value)
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {name: plain(item) for name, item in fields.items() if not callable(item)}


def tokens_event(rows: Iterable[TokenRow], notes: tuple[str, ...] = ()) -> Event:
    """The sequence the model is fed."""
    event: Event = {"event": "tokens", "tokens": [token(row) for row in rows]}
    return {**event, "notes": list(notes)} if notes else event


def stop_event(stop: Stop) -> Event:
    """The engine stands still."""
    return {"event": "stop", **stop_fields(stop)}


def result_event(command: str, data: Any) -> Event:
    """What a command answered."""
    return {"event": "result", "command": command, "data": plain(data)}


def end_event(end: End) -> Event:
    """The generation is over, or was left."""
    return {"event": "end", "stopped_by": end.stopped_by, "ids": list(end.ids), "text": end.text}


def error_event(kind: str, message: str) -> Event:
    """Something went wrong."""
    return {"event": "error", "type": kind, "message": message}


def token(row: TokenRow) -> Event:
    """One token: `text` is what it stands for, `piece` how the vocabulary spells it."""
    return {"index": row.index, "id": row.id, "text": row.text, "piece": row.piece, "special": row.special}


def stop_fields(stop: Stop) -> Event:
    """A stop. Candidates and the chosen token are there only where the stage has them."""
    fields: Event = {
        "reason": stop.reason.value,
        "breakpoint": stop.breakpoint,
        "token": stop.token,
        "phase": stop.phase.value,
        "stage": stage(stop.stage),
        "tensor": None if stop.tensor is None else tensor(stop.tensor),
        "ms": stop.ms,
    }
    if stop.candidates is not None:
        fields |= candidates(stop.candidates)
    if stop.chosen is not None:
        chosen = stop.chosen
        fields["chosen"] = {"id": chosen.id, "text": chosen.text, "prob": chosen.prob, "rank": chosen.rank}
    if stop.values:
        fields["values"] = {name: plain(value) for name, value in stop.values}
    if stop.differs:
        fields["differs"] = True
    return fields


def stage(value: Stage) -> Event:
    """A stage's kind, address, module path, layer and depth."""
    return {
        "kind": value.kind.value,
        "address": value.address,
        "module": value.module,
        "layer": value.layer,
        "depth": value.depth,
    }


def tensor(value: Statistics) -> Event:
    """A tensor's statistics; those of the focus position stand beside them."""
    focus = None if value.focus is None else {"position": value.focus_position, **_numbers(value.focus)}
    return {
        "shape": list(value.shape),
        "dtype": value.dtype,
        "device": value.device,
        **_numbers(value.numbers),
        "focus": focus,
    }


def candidates(value: Candidates) -> Event:
    """The likeliest tokens here, and what the logits processors did to each."""
    return {
        "candidates": [_candidate(row) for row in value.rows],
        "entropy": value.entropy,
        "left": value.left,
        "cut": dict(value.cuts),
    }


def _candidate(row: Candidate) -> Event:
    path = [{"stage": step.address, "logit": step.logit, "prob": step.prob} for step in row.path]
    return {
        "rank": row.rank,
        "id": row.id,
        "text": row.text,
        "logit": row.logit,
        "prob": row.prob,
        "cut_by": row.cut_by,
        "path": path,
    }


def _numbers(value: Numbers | None) -> Event:
    names = ("min", "max", "mean", "std", "norm", "nan", "inf")
    return {name: None if value is None else getattr(value, name) for name in names}


_WRITERS: dict[str, Any] = {
    "Stop": lambda value: plain(stop_fields(value)),
    "Stage": stage,
    "Statistics": lambda value: plain(tensor(value)),
    "Candidates": lambda value: plain(candidates(value)),
    "TokenRow": token,
    "Breakpoint": lambda value: {
        "number": value.number,
        "address": value.target.text,
        "stages": sorted(value.target.addresses),
        "token": value.target.token,
        "phase": value.target.phase,
        "temporary": value.temporary,
        "enabled": value.enabled,
        "hits": value.hits,
        "kind": value.kind.value,
        "condition": None if value.condition is None else value.condition.text,
        "expressions": [each.text for each in value.expressions],
        "ignore": value.ignore,
        "commands": list(value.commands),
    },
    "Edit": lambda value: {
        "number": value.number,
        "edit": value.text,
        "does": value.change.describe(),
        "stages": sorted(value.stages),
        "since": value.since,
        "token": value.token,
        "enabled": value.enabled,
    },
    "BranchRow": lambda value: {
        "number": value.number,
        "name": value.name,
        "parent": value.parent,
        "fork": value.fork,
        "why": value.why,
        "current": value.current,
        "at": {"address": value.place.address, "token": value.place.token},
        "ids": list(value.ids),
        "text": value.text,
    },
    "Command": lambda value: {
        "name": value.name,
        "aliases": list(value.aliases),
        "usage": value.usage,
        "summary": value.summary,
        "example": value.example,
    },
    "TokenTable": lambda value: {"tokens": [token(row) for row in value.rows], "notes": list(value.notes)},
}
