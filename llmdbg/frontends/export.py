"""Answers written to files: text, CSV or JSON by the file's name, and SVG or PNG where an answer has a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmdbg.errors import CommandError

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
    return f"wrote {path} ({len(written):,} bytes)"


def _as_text(value: Any, suffix: str) -> str:
    if suffix == ".json":
        from llmdbg.frontends.batch.events import plain

        return json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    if suffix == ".csv":
        return _as_csv(value)
    from llmdbg.frontends.text import answer_lines

    return "\n".join(answer_lines(value)) + "\n"


def _as_csv(value: Any) -> str:
    from llmdbg.frontends.answers import tables
    from llmdbg.frontends.tables import as_csv

    make = tables().get(type(value).__name__)
    if make is None:
        raise CommandError("this answer is no table: write it as .txt or .json")
    return as_csv(make(value))
