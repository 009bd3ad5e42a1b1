"""A saved session as JSON: easy to read for people, and strict with what it is given to read.

A file may come from anywhere. It is data alone: nothing in it is run or looked up while it is read, every field must be
there, known, of its type and within bounds, and what it may take to read is bounded by its size.
A change of the fields is a new FORMAT; of a newer one nothing is believed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from types import UnionType
from typing import Any, NoReturn, cast, get_args, get_origin, get_type_hints

from llmdbg.debugger.breakpoints.breakpoints import BreakpointKind
from llmdbg.debugger.limits import MOST_BREAKPOINTS, MOST_LEFT_PAD, MOST_LINE, MOST_LINES
from llmdbg.debugger.persistence.model import FORMAT, SavedSession
from llmdbg.errors import SessionFileError, SettingsError
from llmdbg.models.spec import ATTENTION, DTYPES, QUANTIZATION

MOST_BYTES = 4 * 2**20
_MOST_NUMBER = 2**53
_MOST_PID = 2**31 - 1
_MOST_ADDRESS_CHARACTERS = 300
_MOST_BRANCHES = 1000
_MOST_NAME = 60  # characters
_DEEPEST_LAYOUT = 20


def to_json(saved: SavedSession) -> str:
    """Everything but the prompt as JSON in ASCII, one field a line.

    Raises SessionFileError for what `from_json` would not take back.
    """
    _check(saved)
    try:
        lines = [
            f'"{each.name}": {json.dumps(getattr(saved, each.name), default=_by_field, allow_nan=False)}'
            for each in fields(saved)
            if each.name != "prompt"
        ]
    except ValueError as error:
        damaged(f"a value cannot be written ({error})")
    return "{" + ",\n ".join(lines) + "}\n"


def from_json(text: str, prompt: str) -> SavedSession:
    """Read what `to_json` wrote, believing nothing: every field is there, known, of its type and within bounds.

    Raises SessionFileError, naming the field.
    """
    if len(text) > MOST_BYTES:
        damaged(f"it is larger than {MOST_BYTES >> 20} MB")
    try:
        document = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        damaged("it is nested too deep")
    except ValueError as error:
        damaged(f"it is no JSON ({error})")
    if not isinstance(document, dict) or type(document.get("format")) is not int or document["format"] < 1:
        damaged("it does not say its format")
    if document["format"] > FORMAT:
        raise SessionFileError("it was written by a newer llmdbg: update this one to open it")
    if document["format"] < FORMAT:
        raise SessionFileError("it was written by an older llmdbg, whose sessions this one does not read")
    if "prompt" in document:
        damaged("prompt: the prompt belongs in a file of its own")
    saved = cast("SavedSession", _record(SavedSession, document | {"prompt": prompt}, ""))
    _check(saved)
    return saved


def damaged(what: str) -> NoReturn:
    """Raise the error for a file that is itself at fault."""
    raise SessionFileError(what, damaged=True)


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        damaged(f"{word[:20]} is no number")
    return number


def _by_field(record: Any) -> dict[str, Any]:
    if not is_dataclass(record):
        raise TypeError(f"{type(record).__name__} is no JSON value")
    return {each.name: getattr(record, each.name) for each in fields(record)}


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _record(kind: type, value: Any, name: str) -> Any:
    """Make a dataclass of a JSON object with exactly its fields."""
    if not isinstance(value, dict):
        damaged(f"{name or 'the whole'} is no object")
    prefix = f"{name}." if name else ""
    hints = _hints(kind)
    if unknown := sorted(value.keys() - hints.keys()):
        damaged(f"{prefix}{unknown[0][:40]!a}: there is no such field")
    if missing := sorted(hints.keys() - value.keys()):
        damaged(f"{prefix}{missing[0]} is missing")
    try:
        return kind(**{each: _value(hint, value[each], f"{prefix}{each}") for each, hint in hints.items()})
    except SettingsError as error:
        damaged(f"{name}: {error}")


def _value(hint: Any, value: Any, name: str) -> Any:
    """Check a JSON value against a type hint."""
    if get_origin(hint) is UnionType:
        return None if value is None else _value(get_args(hint)[0], value, name)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            damaged(f"{name} is no list")
        item = get_args(hint)[0]
        return tuple(_value(item, each, f"{name}[{index}]") for index, each in enumerate(value))
    if get_origin(hint) is dict:
        hint = dict
    if is_dataclass(hint):
        return _record(cast("type", hint), value, name)
    if hint is float and type(value) is int:
        value = float(value) if abs(value) <= _MOST_NUMBER else value
    if type(value) is not hint:
        damaged(f"{name} must be of type {hint.__name__}, not {type(value).__name__}")
    if hint is int and not 0 <= value <= _MOST_NUMBER:
        damaged(f"{name} must be between 0 and {_MOST_NUMBER}")
    return value


def _check(saved: SavedSession) -> None:
    """Refuse what the types allow and no session has."""
    spec, numbers = saved.spec, [each.number for each in saved.breakpoints]
    choices = {"dtype": DTYPES, "attn": (*ATTENTION, None), "quantize": (*QUANTIZATION, None)}
    for name, allowed in choices.items():
        if getattr(spec, name) not in allowed:
            damaged(f"spec.{name} is none of {', '.join(map(str, allowed))}")
    for name in ("created", "updated"):
        _check_time(name, getattr(saved, name))
    if saved.owner.pid > _MOST_PID:
        damaged(f"owner.pid is more than {_MOST_PID}")
    if len(numbers) > MOST_BREAKPOINTS or len(set(numbers)) != len(numbers):
        damaged(f"breakpoints: more than {MOST_BREAKPOINTS}, or a number twice")
    if any(len(each) > _MOST_ADDRESS_CHARACTERS for each in _addresses(saved)):
        damaged(f"an address is longer than {_MOST_ADDRESS_CHARACTERS} characters")
    _check_breakpoints(saved)
    _check_branches(saved)
    # A replay runs to the place: it can be no further than what was generated.
    if saved.place.token > len(saved.generated):
        damaged(f"place.token is {saved.place.token}, and {len(saved.generated)} tokens were generated")
    if saved.left_pad > MOST_LEFT_PAD:
        damaged(f"left_pad is more than {MOST_LEFT_PAD}")
    if not saved.prompt.strip():
        damaged("the prompt is empty")
    if _depth(saved.layout) > _DEEPEST_LAYOUT:
        damaged(f"layout is nested deeper than {_DEEPEST_LAYOUT}")


def _check_breakpoints(saved: SavedSession) -> None:
    for index, each in enumerate(saved.breakpoints):
        texts = (each.condition or "", *each.expressions, *each.commands)
        if each.kind not in tuple(BreakpointKind):
            damaged(f"breakpoints[{index}].kind is none of {', '.join(BreakpointKind)}")
        if max(len(each.commands), len(each.expressions)) > MOST_LINES or any(len(t) > MOST_LINE for t in texts):
            damaged(f"breakpoints[{index}] has more than {MOST_LINES} lines, or one longer than {MOST_LINE} characters")
        if each.kind == BreakpointKind.WATCH and len(each.expressions) != 1:
            damaged(f"breakpoints[{index}] watches {len(each.expressions)} expressions, and a watch has one")


def _check_branches(saved: SavedSession) -> None:
    if len(saved.branches) > _MOST_BRANCHES:
        damaged(f"branches: more than {_MOST_BRANCHES}")
    seen: set[int] = set()
    names: set[str] = set()
    for index, each in enumerate(saved.branches):
        name = f"branches[{index}]"
        if each.number in seen or each.name in names or len(each.name) > _MOST_NAME or not each.name:
            damaged(f"{name} has a number or name that is there twice, or is empty or too long")
        # So that no branch is above itself.
        if each.parent is not None and each.parent not in seen:
            damaged(f"{name}.parent is no branch before it")
        if max(each.fork, each.place.token) > len(each.generated):
            damaged(f"{name} begins or stands further than its {len(each.generated)} tokens")
        if not each.settings or each.settings[0].since != 0:
            damaged(f"{name}.settings do not say what holds from token 0 on")
        lines = (each.why, *(edit.line for edit in each.edits))
        if len(each.edits) > MOST_LINES or any(len(line) > MOST_LINE for line in lines):
            damaged(f"{name} has more than {MOST_LINES} edits, or a line longer than {MOST_LINE} characters")
        seen.add(each.number)
        names.add(each.name)


def _addresses(saved: SavedSession) -> Iterator[str]:
    yield saved.place.address
    yield from (each.address for each in saved.breakpoints)
    yield from (each.place.address for each in saved.branches)


def _check_time(name: str, text: str) -> None:
    try:
        aware = datetime.fromisoformat(text).tzinfo is not None
        datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        aware = False
    if not aware:
        damaged(f"{name} is no ISO time with an offset")


def _depth(value: Any) -> int:
    """How deep a JSON value is nested, as far as that matters. Not recursive: no value is too deep to be measured."""
    level, depth = [value], 0
    while depth <= _DEEPEST_LAYOUT and (level := [each for each in level if isinstance(each, dict | list)]):
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth
