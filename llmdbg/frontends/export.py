"""Answers written to files: text, CSV or JSON by the file's name, and SVG or PNG where an answer has a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.frontends.answers.tables import Table

_TEXT = (".txt", ".csv", ".json")
_PICTURES = (".svg", ".png")


def export(value: Any, path: Path) -> str:
    """Write an answer to `path` and say so in a sentence. Raises CommandError, having written nothing."""
    suffix = path.suffix.lower()
    if suffix in _PICTURES:
        from llmdbg.frontends.pictures import picture

        written = picture(value, suffix[1:])
    elif suffix in _TEXT:
        written = _as_text(value, suffix).encode("utf-8", "backslashreplace")
    else:
        raise CommandError(
            f"what is {path.name!r} to be? The name of the file says how it is written: {', '.join(_TEXT)}, or "
            f"{' or '.join(_PICTURES)} for lens and attention"
        )
    try:
        path.write_bytes(written)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from error
    return f"wrote {path} ({len(written):,} bytes){_left_out(value)}"


def _left_out(value: Any) -> str:
    """What an answer that is only a part says of the rest."""
    size, numbers = getattr(value, "size", 0), getattr(value, "numbers", None)
    if not isinstance(size, int) or not isinstance(numbers, tuple) or len(numbers) >= size:
        return ""
    return f": {len(numbers):,} of {size:,} numbers; `save tensor` writes all of a stage's"


def _as_text(value: Any, suffix: str) -> str:
    if suffix == ".json":
        from llmdbg.frontends.batch.events import plain

        return json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    if suffix == ".csv":
        return _as_csv(value)
    from llmdbg.frontends.answers.text import answer_lines

    return "\n".join(answer_lines(value)) + "\n"


def _as_csv(value: Any) -> str:
    from llmdbg.frontends.answers import table_makers
    from llmdbg.frontends.answers.tables import as_csv

    make = table_makers().get(type(value).__name__)
    made = (_fields(value),) if make is None else make(value)
    if not any(table.columns for table in made):
        raise CommandError("this answer is no table: write it as .txt or .json")
    return as_csv(made)


def _fields(value: Any) -> Table:
    """Records of plain values as a table: a column for each field, those of records inside it as `outer.inner`."""
    from llmdbg.frontends.answers.tables import Column, Table
    from llmdbg.frontends.batch.events import plain

    records = value if isinstance(value, tuple) else getattr(value, "rows", (value,))
    flat = [_flat(plain(each)) for each in records]
    names = list(dict.fromkeys(name for each in flat for name in each))
    return Table(tuple(Column(name) for name in names), tuple(tuple(each.get(name) for name in names) for each in flat))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    found: dict[str, Any] = {}
    for name, each in value.items():
        if isinstance(each, dict):
            found |= _flat(each, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = json.dumps(each, ensure_ascii=False) if isinstance(each, list) else each
    return found
