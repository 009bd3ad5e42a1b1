"""Files: where an answer or a tensor is written, and where commands are read."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.debugger.commands.grammar.addresses import address_parts, names_stages
from llmdbg.debugger.commands.grammar.base import Described, Grammar, required, starting
from llmdbg.debugger.quoting import pieces
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words

_USAGE = "save is written `save tensor ADDRESS FILE.safetensors`, as in `save tensor 12.mlp mlp.safetensors`"


@dataclass(frozen=True, slots=True)
class TensorFile:
    """The stage whose tensors are written, and the file. A `~` at its beginning is still to be expanded."""

    address: str
    path: Path


class SavedTensor(Grammar[TensorFile]):
    """What `save` takes."""

    usage = "tensor ADDRESS FILE"

    def parse(self, arguments: str, command: Described) -> TensorFile:
        """Read the address and the file between quotes or blanks."""
        words = [each for each in pieces(arguments, " ") if each]
        if len(words) < 3 or words[0] != "tensor":
            raise CommandError(_USAGE)
        path = _path(words[-1])
        if path.suffix != ".safetensors":
            raise CommandError(f"{path.name!r} must end in .safetensors, the format tensors are written in")
        return TensorFile(" ".join(words[1:-1]), path)

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The stage after `tensor`, and a name for the file after that."""
        name, space, rest = typed.partition(" ")
        if not space or name != "tensor":
            return starting(typed, ("tensor ",))
        address, whole, _ = rest.partition(" ")
        if whole and names_stages(address, words):
            file = re.sub("[^0-9A-Za-z_.-]", "-", address)
            return starting(typed, (f"tensor {address} {file}.safetensors",))
        parts = address_parts(rest, words)
        return tuple(f"tensor {each}" if each[-1] in ". " else f"tensor {each} " for each in parts)

    def addresses(self, parsed: TensorFile) -> tuple[str, ...]:
        """The stage's."""
        return (parsed.address,)


class CommandFile(Grammar[Path]):
    """A file of commands. A `~` at its beginning is still to be expanded."""

    usage = "FILE"

    def parse(self, arguments: str, command: Described) -> Path:
        """Take the name, with or without quotes."""
        return _path(required(arguments, command, "FILE"))


def split_export(text: str) -> tuple[str, Path | None]:
    """Split `QUESTION > FILE`. Raises CommandError where no file is named."""
    question, *named = pieces(f"{text} ", " > ")
    if not named:
        return question.strip(), None
    if len(named) > 1 or not named[0].strip().strip("\"'"):
        raise CommandError("name one file behind `>`, as in `info lens > lens.csv`")
    return question.strip(), _path(named[0].strip())


def expanded(path: Path) -> Path:
    """With the user's folder for `~`. Raises CommandError for a user there is not."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise CommandError(f"{path} is no file: there is no such user") from error


def _path(text: str) -> Path:
    name = text.strip("\"'")
    try:
        unfit = b"\0" in os.fsencode(name)
    except UnicodeEncodeError:
        unfit = True
    if unfit:
        raise CommandError(f"{name!r} cannot be the name of a file")
    return Path(name)
