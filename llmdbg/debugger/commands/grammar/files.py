"""Names of files, and questions whose answer may go to one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.base import Grammar
from llmdbg.debugger.quoting import pieces
from llmdbg.errors import CommandError


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the file for its answer, None to show it. `topic` is one of `info`'s, empty for `x`."""

    text: str
    path: Path | None = None
    topic: str = ""


class Exported(Grammar[Question]):
    """A question whose answer can be written to a file."""

    def effect(self, parsed: Question) -> Effect:
        """A file, where one is named."""
        return Effect(0) if parsed.path is None else Effect.WRITES_FILE


def split_export(text: str) -> tuple[str, Path | None]:
    """Split `QUESTION > FILE`. Raises CommandError where no file is named."""
    question, *named = pieces(f"{text} ", " > ")
    if not named:
        return question.strip(), None
    if len(named) > 1 or not named[0].strip().strip("\"'"):
        raise CommandError("name one file behind `>`, as in `info lens > lens.csv`")
    return question.strip(), file_path(named[0].strip())


def file_path(text: str) -> Path:
    """The file that a text names, with or without quotes. Raises CommandError where no file can be called so."""
    name = text.strip("\"'")
    try:
        unfit = b"\0" in os.fsencode(name)
    except UnicodeEncodeError:
        unfit = True
    if unfit:
        raise CommandError(f"{name!r} cannot be the name of a file")
    return Path(name)


def expanded(path: Path) -> Path:
    """With the user's folder for `~`. Raises CommandError for a user there is not."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise CommandError(f"{path} is no file: there is no such user") from error
