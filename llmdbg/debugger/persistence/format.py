"""A saved session as JSON: readable for people, and strictly validated.

A file may come from anywhere. It is only data: reading it runs nothing and looks nothing up. Every field must be
present, known, of its type and within the bounds of `model.py`, and the file's size bounds the cost of reading it.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, NoReturn

import msgspec

from llmdbg.debugger.breakpoints.breakpoints import BreakpointKind
from llmdbg.debugger.persistence.model import SavedSession
from llmdbg.errors import SessionFileError
from llmdbg.formatting import byte_count
from llmdbg.models.spec import ATTENTION, DTYPES, ENGINES, QUANTIZATION

FORMAT = 6
"""The version of the format, increased with every change of the records. Only this version is read."""
MOST_BYTES = 4 * 2**20
_DEEPEST_LAYOUT = 20
_MOST_WORDS = 200  # characters of an error


def to_json(saved: SavedSession) -> str:
    """Everything but the prompt as JSON in ASCII, one field a line.

    Raises SessionFileError for anything that `from_json` would refuse.
    """
    _refuse_depth(saved.layout)
    try:
        document = msgspec.to_builtins(saved)
        _read(document)
        del document["prompt"]
        # Raises for half a surrogate pair, which `json.dumps` would write.
        msgspec.json.encode(document)
        lines = [
            f'"{name}": {json.dumps(value, allow_nan=False)}' for name, value in (document | {"format": FORMAT}).items()
        ]
    except (TypeError, ValueError) as error:
        damaged(f"a value cannot be written ({error})")
    return "{" + ",\n ".join(lines) + "}\n"


def from_json(text: str, prompt: str) -> SavedSession:
    """Parse and validate what `to_json` wrote. Raises SessionFileError, naming the field."""
    if len(text) > MOST_BYTES:
        damaged(f"it is larger than {byte_count(MOST_BYTES)}")
    try:
        document = json.loads(text, parse_constant=_finite, parse_float=_finite)
        # Half a surrogate pair, as the escape `\ud800` gives one, could not be written again.
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        damaged(f"a text in it is not Unicode (U+{ord(error.object[error.start]):04X})")
    except RecursionError:
        damaged("it is nested too deep")
    except ValueError as error:
        damaged(f"it is not JSON ({error})")
    if not isinstance(document, dict) or type(version := document.pop("format", None)) is not int or version < 1:
        damaged("it does not say its format")
    if version > FORMAT:
        raise SessionFileError("it was written by a newer llmdbg: update this one to open it")
    if version < FORMAT:
        raise SessionFileError("it was written by an older llmdbg, whose sessions this one does not read")
    if "prompt" in document:
        damaged("prompt: the prompt belongs in a file of its own")
    return _read(document | {"prompt": prompt})


def is_readable(part: Any) -> bool:
    """Whether a record of a session, or its layout, could be read again if it were written."""
    try:
        _refuse_depth(part)
        document = msgspec.to_builtins(part)
        json.dumps(document, allow_nan=False)
        msgspec.json.encode(document)
        msgspec.convert(document, type(part))
    except (SessionFileError, msgspec.MsgspecError, TypeError, ValueError):
        return False
    return True


def damaged(what: str) -> NoReturn:
    """Raise the SessionFileError for a damaged file."""
    raise SessionFileError(what, damaged=True)


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        damaged(f"{word[:20]} is not a finite number")
    return number


def _read(document: dict[str, Any]) -> SavedSession:
    _refuse_depth(document.get("layout"))
    try:
        saved = msgspec.convert(document, SavedSession)
    except msgspec.ValidationError as error:
        what, _, where = str(error)[:_MOST_WORDS].partition(" - at `$.")
        what = f"{what[:1].lower()}{what[1:]}"
        damaged(f"{where.rstrip('`')}: {what}" if where else what)
    _refuse_other_fields(document, saved, "")
    _check_session(saved)
    _check_branches(saved)
    return saved


def _refuse_other_fields(given: dict[str, Any], record: Any, path: str) -> None:
    """Refuse missing and unknown fields: msgspec uses a default for the one and ignores the other."""
    names = {each.name for each in fields(record)}
    if unknown := sorted(given.keys() - names):
        damaged(f"{path}{unknown[0][:40]!a}: there is no such field")
    if missing := sorted(names - given.keys()):
        damaged(f"{path}{missing[0]} is missing")
    for name in names:
        value = getattr(record, name)
        if is_dataclass(value):
            _refuse_other_fields(given[name], value, f"{path}{name}.")
        elif isinstance(value, tuple):
            for index, each in enumerate(value):
                if is_dataclass(each):
                    _refuse_other_fields(given[name][index], each, f"{path}{name}[{index}].")


def _check_session(saved: SavedSession) -> None:
    """Refuse values that the types allow but no session has."""
    choices = {"dtype": DTYPES, "attn": (*ATTENTION, None), "quantize": (*QUANTIZATION, None), "engine": ENGINES}
    for name, allowed in choices.items():
        if getattr(saved.spec, name) not in allowed:
            damaged(f"spec.{name} is none of {', '.join(map(str, allowed))}")
    for name in ("created", "updated"):
        _check_time(name, getattr(saved, name))
    if len({each.number for each in saved.breakpoints}) != len(saved.breakpoints):
        damaged("breakpoints: a number occurs twice")
    for index, each in enumerate(saved.breakpoints):
        if each.kind == BreakpointKind.WATCH and len(each.expressions) != 1:
            damaged(f"breakpoints[{index}] watches {len(each.expressions)} expressions, but a watch has one")
    # A replay runs to the place, which cannot be beyond the generated tokens.
    if saved.place.token > len(saved.generated):
        damaged(f"place.token is {saved.place.token}, but only {len(saved.generated)} tokens were generated")
    if not saved.prompt.strip():
        damaged("the prompt is empty")


def _check_branches(saved: SavedSession) -> None:
    seen: set[int] = set()
    names: set[str] = set()
    for index, each in enumerate(saved.branches):
        name = f"branches[{index}]"
        if each.number in seen or each.name in names:
            damaged(f"{name} has a number or name that occurs twice")
        # So no branch can be its own ancestor.
        if each.parent is not None and each.parent not in seen:
            damaged(f"{name}.parent is not an earlier branch")
        if max(each.fork, each.place.token) > len(each.generated):
            damaged(f"{name} forks or stands beyond its {len(each.generated)} tokens")
        # Where sampling cannot be changed, no branch has any settings.
        with_settings = bool(saved.branches[0].settings)
        if bool(each.settings) != with_settings or (with_settings and each.settings[0].since != 0):
            damaged(f"{name}.settings do not start at token 0")
        seen.add(each.number)
        names.add(each.name)


def _check_time(name: str, text: str) -> None:
    try:
        aware = datetime.fromisoformat(text).tzinfo is not None
        datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        aware = False
    if not aware:
        damaged(f"{name} is not an ISO time with an offset")


def _refuse_depth(layout: Any) -> None:
    """Refuse a layout that is nested too deep. Not recursive, so any depth, even a cycle, can be refused."""
    level = [layout]
    for _ in range(_DEEPEST_LAYOUT + 1):
        level = [each for each in level if isinstance(each, dict | list | tuple)]
        if not level:
            return
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    damaged(f"layout is nested deeper than {_DEEPEST_LAYOUT}")
