"""File names, and questions whose answer may be written to a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.base import Grammar
from llmdbg.debugger.quoting import pieces
from llmdbg.errors import CommandError

AS_TEXT = (".txt", ".csv", ".json")
"""The extensions of files that any answer can be written to; `.csv` only if it has a table."""
AS_PICTURE = (".svg", ".png")
"""The extensions of files that some answers can be drawn in."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question of `info` or `x`."""

    text: str
    """Its arguments."""
    path: Path | None = None
    """The file for the answer; None to show it."""
    topic: str = ""
    """The topic of `info`; empty for `x`."""


class Exported(Grammar[Question]):
    """A question whose answer can be written to a file."""

    def effect(self, parsed: Question) -> Effect:
        """Writes a file if one is named."""
        return Effect(0) if parsed.path is None else Effect.WRITES_FILE


def split_export(text: str) -> tuple[str, Path | None]:
    """Split `QUESTION > FILE`; the file is None without `>`.

    Raises CommandError if `>` is not followed by one file of a known type.
    """
    question, *named = pieces(f"{text} ", " > ")
    if not named:
        return question.strip(), None
    if len(named) > 1 or not named[0].strip().strip("\"'"):
        raise CommandError("name one file after `>`, as in `info lens > lens.csv`")
    path = file_path(named[0].strip())
    check_file_type(path)
    return question.strip(), path


def check_file_type(path: Path) -> None:
    """Raise CommandError for a file whose extension does not say how an answer is written."""
    if path.suffix.lower() not in (*AS_TEXT, *AS_PICTURE):
        raise CommandError(
            f"what kind of file is {path.name!r}? Its extension says how it is written: {', '.join(AS_TEXT)}, or "
            f"{' or '.join(AS_PICTURE)} for a lens, an attribution or attention"
        )


def file_path(text: str) -> Path:
    """The file that a text names, with or without quotes. Raises CommandError for an impossible name."""
    name = text.strip("\"'")
    try:
        unfit = b"\0" in os.fsencode(name)
    except UnicodeEncodeError:
        unfit = True
    if unfit:
        raise CommandError(f"{name!r} cannot be the name of a file")
    return Path(name)


def expanded(path: Path) -> Path:
    """Expand a leading `~`. Raises CommandError for an unknown user."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise CommandError(f"{path} cannot be expanded: there is no such user") from error
