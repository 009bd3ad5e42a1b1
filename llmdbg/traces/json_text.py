"""JSON of a recording: strict. Numbers that are not finite are the strings `NaN`, `Infinity` and `-Infinity`."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec

from llmdbg.errors import TraceError

_Record = TypeVar("_Record")
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_MOST_WORDS = 160  # characters of a reason
_MOST_DIGITS = 100


def parsed(
    raw: bytes, path: Path, where: str = "", *, reals: frozenset[str] = frozenset(), finite_only: bool = True
) -> Any:
    """Parse JSON. Raises TraceError, naming the file, for anything else, and for a key that is there twice.

    `reals` are the keys whose numbers need not be finite. Without `finite_only`, Python's `NaN` and `Infinity` are
    numbers too.
    """

    def damaged(reason: str) -> NoReturn:
        raise TraceError(f"{path} is damaged{where}: {' '.join(reason.split())[:_MOST_WORDS]}")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            damaged(f"{next(name for name in names if names.count(name) > 1)[:60]!r} is there twice")
        for name in reals & found.keys():
            if isinstance(found[name], str):
                if found[name] not in _WORDS:
                    damaged(f"{name} is no number")
                found[name] = _WORDS[found[name]]
        return found

    def finite(word: str) -> float:
        number = float(word)
        if finite_only and not math.isfinite(number):
            damaged(f"{word[:20]} is not a finite number")
        return number

    def whole(digits: str) -> int:
        if len(digits) > _MOST_DIGITS:
            damaged(f"a number has {len(digits):,} digits")
        return int(digits)

    try:
        return json.loads(
            raw.decode(), object_pairs_hook=unique, parse_constant=finite, parse_float=finite, parse_int=whole
        )
    except RecursionError:
        damaged("it is nested too deep")
    except UnicodeDecodeError as error:
        damaged(f"it is not UTF-8 at byte {error.start}")
    except ValueError as error:
        damaged(f"it is not JSON ({error})")


def record_from(document: Any, kind: type[_Record], path: Path, where: str = "") -> _Record:
    """A record of the fields in `document`, checked by type. Raises TraceError, naming file and field."""
    try:
        return msgspec.convert(document, kind)
    except (msgspec.ValidationError, OverflowError) as error:
        reason = " ".join(str(error).split())[:_MOST_WORDS]
        raise TraceError(f"{path} is damaged{where}: {reason[:1].lower()}{reason[1:]}") from error


def text_of(value: Any, **more: Any) -> str:
    """JSON in one line, `more` in front of a record's fields. Those that have their default are left out."""
    return json.dumps(
        more | _plain(value) if more else _plain(value), allow_nan=False, ensure_ascii=False, separators=(",", ":")
    )


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return _real(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        # Half a surrogate pair, which some tokenizers' texts hold, is no UTF-8.
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {str(_plain(str(name))): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in value]
    if dataclasses.is_dataclass(value):
        fields = {each.name: (getattr(value, each.name), each) for each in dataclasses.fields(value)}
        return {name: _plain(found) for name, (found, each) in fields.items() if not _is_default(found, each)}
    return str(value)


def _real(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _is_default(value: Any, field: dataclasses.Field[Any]) -> bool:
    if field.default is not dataclasses.MISSING:
        return bool(value == field.default)
    return field.default_factory is not dataclasses.MISSING and value == field.default_factory()
