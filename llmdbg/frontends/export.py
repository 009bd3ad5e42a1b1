"""Answers written to files. The file's extension decides how: text, CSV, JSON, or for some answers a picture."""

from __future__ import annotations

from pathlib import Path

from llmdbg.debugger.commands.grammar.files import AS_PICTURE, check_file_type
from llmdbg.errors import CommandError
from llmdbg.files import write_private
from llmdbg.frontends.answers import answer_json, answer_lines, answer_tables
from llmdbg.frontends.sanitize import json_text


def export(value: object, path: Path) -> str:
    """Write an answer to `path`, for its owner alone to read, and return a sentence that says so.

    Raises CommandError, having written nothing, for an extension that is unknown or that this answer does not have,
    and for a file that cannot be written or is a link.
    """
    check_file_type(path)
    suffix = path.suffix.lower()
    if suffix in AS_PICTURE:
        from llmdbg.frontends.pictures import picture

        written = picture(value, suffix[1:])
    else:
        written = _as_text(value, suffix).encode("utf-8", "backslashreplace")
    try:
        write_private(path, written)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from error
    return f"wrote {path} ({len(written):,} bytes){_what_is_missing(value)}"


def _what_is_missing(value: object) -> str:
    """What to say of an answer that holds only some of a tensor's values; empty for any other."""
    from llmdbg.debugger.inspection.values_answer import Values

    if not isinstance(value, Values) or len(value.numbers) >= value.size:
        return ""
    return f": {len(value.numbers):,} of {value.size:,} numbers; `save tensor` writes all of a stage's"


def _as_text(value: object, suffix: str) -> str:
    if suffix == ".json":
        return json_text(answer_json(value), indent=1) + "\n"
    if suffix == ".csv":
        return _as_csv(value)
    return "\n".join(answer_lines(value)) + "\n"


def _as_csv(value: object) -> str:
    from llmdbg.frontends.answers.tables import as_csv

    tables = answer_tables(value)
    if not any(table.columns for table in tables):
        raise CommandError("this answer is not a table: write it as .txt or .json")
    return as_csv(tables)
